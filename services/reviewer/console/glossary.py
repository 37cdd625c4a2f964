"""The words of the process, as every page uses them."""

from __future__ import annotations

from typing import NamedTuple


class Word(NamedTuple):
    word: str
    means: str
    is_not: str = ""

    @property
    def anchor(self) -> str:
        return self.word.split(" / ")[0].lower().replace(" ", "-").replace(",", "")


GLOSSARY = (
    Word("CR", "change request: one change that is to go to production", "ticket, task"),
    Word(
        "PTASK engineer",
        "the engineer responsible for the CR's production task; gets operations' input and decides",
        "the author (may be the same person, never the reviewer)",
    ),
    Word("EPL, EPL-X, SCP", "the products under this process"),
    Word("observability", "what metrics say about a running system from outside", "monitoring tool"),
    Word("SLI", "one measured series that says how well the product serves", "KPI"),
    Word("window", "half-open [start, end), UTC", "range, period"),
    Word("reading", "a series, or the reason why it is missing", "datapoint"),
    Word("snapshot", "all readings of one window", "sample"),
    Word("draft", "readings that operations may publish as a benchmark; it satisfies nothing until then", "candidate"),
    Word("pin", "operations' word that one benchmark holds for a product until a date"),
    Word("benchmark", "the approved snapshot from before the deploy", "baseline (statistics word)"),
    Word(
        "comparison / outcome", "the judge's answer for one SLI: steady, moved, inconclusive or no data", "check, score"
    ),
    Word("deviation", "the fact that an after snapshot moved", "anomaly"),
    Word("investigation", "what a deviation opens: an owner, deadlines, and one end: rollback, or keep because"),
    Word("incident", "something wrong in production, as somebody's work", "issue"),
    Word(
        "regression case",
        "what an incident leaves behind: seen to fail on the faulty version and to pass on the fixed one",
        "check",
    ),
    Word("debt", "regression cases owed and not yet proven"),
    Word(
        "evidence",
        "test results and the record of the code review: required, fresh, complete, or missing with its reason",
    ),
    Word("review / input", "operations' word on a dossier: ready, not ready, or need more", "approval"),
    Word("go", "the PTASK engineer's decision, bound to the dossier as it was seen"),
    Word("dossier", "all facts of one CR in one place, with a digest of its pre-deploy part", "bundle"),
    Word(
        "digest", "a hash of the pre-deploy part of a dossier: input and go are bound to it, and void when it changes"
    ),
    Word("stage", "where a CR stands, computed from its dossier", "status"),
    Word("enforcement", "how far the gate goes for a product: observe, then advise, then enforce; only enforce blocks"),
    Word("gate", "the one answer a deployer asks for: may this CR go?"),
    Word("as of", "the time up to which every service was heard: facts said later may not be on the page yet"),
    Word("anchor", "the verified release that creep is measured against", "golden run"),
    Word("principal", "(issuer, subject): one person or program that acts", "user id"),
    Word("ledger", "every fact in order", "log"),
    Word("waiver", "a dated, reasoned exception by two people", "override"),
)
