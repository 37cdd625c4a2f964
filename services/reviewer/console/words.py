"""How facts read on a page: times, people, numbers, stages, evidence in rows. Pure; templates do the rest.

Every colour comes with a word and a sign, so that nothing is said by colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

from services.reviewer.console.steps import steps as steps  # what pages draw is found here
from services.reviewer.domain.benchmark import Benchmark
from services.reviewer.domain.document import BeforeDocument, DeploymentDocument, Line
from services.reviewer.domain.evidence import Case, Suite
from services.reviewer.domain.production import Deviation, Duty, Observation
from shared.contracts import ComparedSLI

Tone = Literal["good", "bad", "wait", "none", "info"]

SIGNS: dict[Tone, str] = {"good": "✓", "bad": "✕", "wait": "!", "none": "–", "info": "●"}

STAGES: dict[str, tuple[Tone, str]] = {
    "registered": ("none", "registered"),
    "in_review": ("info", "in review"),
    "not_ready": ("wait", "not ready"),
    "ready": ("good", "ready"),
    "deployed": ("info", "deployed"),
    "observing": ("info", "observing"),
    "verified": ("good", "verified"),
    "deviating": ("bad", "deviating"),
    "investigating": ("bad", "investigating"),
    "needs_person": ("wait", "needs a person"),
    "kept": ("wait", "kept, with a reason"),
    "rolled_back": ("wait", "rolled back"),
    "recovering": ("wait", "recovering"),
    "recovered": ("good", "rolled back and recovered"),
    "withdrawn": ("none", "withdrawn"),
}
OUTCOMES: dict[str, tuple[Tone, str]] = {
    "steady": ("good", "steady"),
    "moved": ("bad", "moved"),
    "inconclusive": ("wait", "inconclusive"),
    "no_data": ("wait", "no data"),
}
VERDICTS: dict[str, tuple[Tone, str]] = {
    "ready": ("good", "ready"),
    "not_ready": ("bad", "not ready"),
    "need_more": ("wait", "needs more"),
}
ENFORCEMENT: dict[str | None, str] = {
    "observe": "judges and shows, blocks nothing",
    "advise": "says what is missing, blocks nothing",
    "enforce": "the gate answers no until everything is there",
    None: "no policy is known",
}
#: What happens in production right now, and what already came to an end.
NOW_STAGES = ("deviating", "investigating", "needs_person", "recovering", "rolled_back", "observing", "deployed")
ENDED_STAGES = ("verified", "recovered", "kept")


def clock(at: datetime) -> str:
    """`23 Nov 2026, 09:00 UTC`."""
    return f"{at.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def relative(at: datetime, now: datetime) -> str:
    """`in 3 hours`, `2 days ago`, `just now`."""
    seconds = (at - now).total_seconds()
    words = span(abs(seconds))
    if abs(seconds) < 5:
        return "just now"
    return f"in {words}" if seconds > 0 else f"{words} ago"


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `3 hours`, `2 days`: two digits of truth are enough."""
    for limit, unit_s, one, many in (
        (90, 1, "s", "s"),
        (90 * 60, 60, "min", "min"),
        (36 * 3600, 3600, "hour", "hours"),
        (60 * 86400, 86400, "day", "days"),
    ):
        if seconds < limit:
            n = round(seconds / unit_s)
            return f"{n} {one if n == 1 else many}"
    return f"{round(seconds / (30 * 86400))} months"


def person(who: str | None) -> str:
    """The subject of `issuer|subject`; the whole stands in its title."""
    return "nobody" if not who else who.rpartition("|")[2]


def http_url(link: str | None) -> str | None:
    """The link when it is one that a page may carry: http or https, with a host. Anything else is only text."""
    if not link:
        return None
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    return link if parts.scheme in ("http", "https") and parts.netloc else None


#: The unit of shares 0 to 1. People read them in percent; everything that is stored or answered keeps them as they are.
SHARE = "ratio"


def number(value: float | None, unit: str = "") -> str:
    """A number of that unit, as a page shows it beside `unit_of` the unit."""
    if value is None:
        return "–"
    if unit == SHARE:
        value *= 100
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def unit_of(unit: str) -> str:
    return "%" if unit == SHARE else unit


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.0%}" if abs(value) >= 0.1 else f"{value:+.1%}"


def sentence(text: str) -> str:
    """A sentence of the judge as print sets it: its arrows are two characters on a wire, its full stop is left out, and
    no line begins with the % of the one before."""
    return ended(text.replace(" -> ", " → ").replace(" %", "\N{NO-BREAK SPACE}%"))


def many(n: int, thing: str) -> str:
    """`1 reason`, `3 reasons`."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def is_old(as_of: datetime | None, now: datetime) -> bool:
    """Whether a page must say that it may lack something; a minute is what a gate allows where no policy says."""
    return as_of is None or (now - as_of).total_seconds() > 60


def picture(cr_id: str, sli: str, kind: str, deployment: int) -> str:
    """Where the snapshotter draws what an answer rests on."""
    asked = urlencode({"sli": sli, "kind": kind, "deployment": deployment})
    return f"/snapshotter/v1/change-requests/{quote(cr_id, safe='')}/explanation?{asked}"


def short(digest: str | None) -> str:
    return "–" if digest is None else digest[:12]


# -- rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One line of evidence: what, how it stands, in which words."""

    tone: Tone
    name: str
    state: str
    text: str
    at: datetime | None = None


def evidence(before: BeforeDocument) -> list[Row]:
    """Tests, code review, benchmark and debt, with their reasons where something is missing."""
    rows = [_suite(suite) for suite in before.tests]
    review = before.code_review
    if review.took_place:
        rows.append(Row("good", "Code review", "took place", f"{review.how} by engineering", review.reviewed_at))
    elif review.is_required:
        rows.append(Row("wait", "Code review", "missing", review.sentence))
    rows += _benchmark(before.benchmark)
    owed = [each for each in before.debt if each.counts]
    proven = [each for each in before.debt if each.state == "green"]
    if owed:
        cases = "1 case" if len(owed) == 1 else f"{len(owed)} cases"
        rows.append(
            Row("bad", "Debt", f"{cases} owed", "; ".join(f"{each.case_id}: {case(each)}" for each in owed) + ".")
        )
    elif proven:
        rows.append(Row("good", "Debt", "paid", "; ".join(f"{each.case_id}: {case(each)}" for each in proven) + "."))
    else:
        rows.append(Row("good", "Debt", "none", "no regression case is owed"))
    return rows


def marks(line: Line) -> list[Row]:
    """All that a deploy rests on, each in two words: evidence, operations' input, the PTASK engineer's go."""
    before, codes = line.before, {reason.code for reason in line.gate.reasons}
    rows = [replace(row, name=row.name.removesuffix(" tests")) for row in evidence(before)]
    rows = [row for row in rows if row.name != "Draft" and (row.name, row.tone) != ("Benchmark health", "good")]
    if before.go is not None and before.go.counts:
        go = Row("good", "Go", "decided", "") if before.go.decision == "go" else Row("bad", "Go", "no-go", "")
    else:
        go = Row("wait", "Go", "open", "")
    if "review_not_ready" in codes:
        said = Row("bad", "Input", "not ready", "")
    elif "review_need_more" in codes:
        said = Row("wait", "Input", "needs more", "")
    elif any(one.counts and one.verdict == "ready" for one in before.reviews):
        said = Row("good", "Input", "ready", "")
    else:
        said = Row("wait", "Input", "void" if before.reviews else "open", "")
    return [*rows, said, go]


HEALTH: dict[str, tuple[Tone, str]] = {
    "good": ("good", "healthy"),
    "doubtful": ("wait", "doubtful"),
    "unjudged": ("none", "not judged"),
}


def _benchmark(one: Benchmark) -> list[Row]:
    """The benchmark, what its own readings say of it, and a draft that waits to become one."""
    state: str = one.state
    tone: Tone = "wait"
    text = one.sentence
    if one.state == "counts" and one.missing_deciding:
        state = "incomplete"
    elif one.state == "counts":
        made = "readings uploaded and published" if one.origin == "uploaded" else "published"
        state, tone, text = "counts", "good", f"{one.snapshot_id}, {made} by {person(one.published_by)}"
    if one.pin is not None and one.state == "counts":
        text += f"; pinned by {person(one.pin.pinned_by)} until {clock(one.pin.expires_at)}: {one.pin.reason}"
        state = "pinned" if tone == "good" else state
    if one.corrects is not None:
        text += f"; it corrects {one.corrects}"
    rows = [Row(tone, "Benchmark", state, text, one.published_at)]
    if one.health is not None and one.snapshot_id is not None:
        tone, word = HEALTH[one.health.state]
        why = "".join(f" Published despite that: {reason}" for _, reason in one.despite)
        rows.append(Row(tone, "Benchmark health", word, one.health.sentence + why))
    if one.draft is not None:
        _, word = HEALTH[one.draft.health.state]
        said = f"{one.draft.snapshot_id} waits for operations to publish it. {one.draft.health.sentence}"
        rows.append(Row("info", "Draft", word, said, one.draft.drafted_at))
    return rows


def _suite(suite: Suite) -> Row:
    name = f"{suite.kind.capitalize()} tests"
    if suite.state == "passed":
        skipped = f", {suite.skipped} skipped" if suite.skipped else ""
        of = (suite.commit or suite.artifact or "")[:12]
        return Row(
            "good",
            name,
            "passed",
            f"{suite.passed} of {suite.total} passed{skipped}{f' on {of}' if of else ''}",
            suite.run_at,
        )
    tone: Tone = "bad" if suite.state == "failed" else "wait" if suite.is_required else "none"
    return Row(tone, name, suite.state, suite.sentence, suite.run_at)


def is_open(line: Line) -> bool:
    """Whether a deploy is still to come: none was, or somebody works on the next attempt after a rollback."""
    return not line.deployments or line.before.attempt > line.deployments[-1].deployment


# -- what is looked at first ------------------------------------------------------------------------------------------


#: Of several reasons the one that somebody waits for is said first.
_FIRST = ("withdrawn", "no_go", "tests_failed", "review_not_ready", "review_need_more", "tests_not_run", "debt_open")


def ended(text: str) -> str:
    """A sentence with its full stop; the judge's own come without."""
    return text if text.endswith((".", "!", "?", "”")) else f"{text}."


def case(one: Case) -> str:
    """What a regression case still lacks, beside its name."""
    if one.state == "green":
        return f"seen to fail on {(one.red_commit or '')[:12]} and to pass on {(one.green_commit or '')[:12]}"
    if not one.counts:
        return "its incident opened after this release was frozen: the next release's"
    return (
        "seen to fail, not yet to pass on a fixed version"
        if one.state == "red"
        else "not yet seen to fail on the faulty version"
    )


def headline(line: Line) -> str:
    """The one sentence that says what matters about a CR now."""
    last = line.deployments[-1] if line.deployments else None
    if line.stage == "withdrawn" and line.withdrawn is not None:
        return line.withdrawn.reason
    if last is None or line.stage in ("registered", "in_review", "not_ready", "ready"):
        reasons = [reason for reason in line.gate.reasons if reason.code != "stale"]
        if not reasons:
            return "Everything is there: evidence, input and go."
        reasons.sort(key=lambda reason: _FIRST.index(reason.code) if reason.code in _FIRST else len(_FIRST))
        more = len(reasons) - 1
        return reasons[0].sentence + (f" {more} more to do." if more else "")
    deviation = next((one for one in reversed(last.deviations) if one.withdrawn is None), None)
    verdict = verdict_of(last)
    back = last.deploy.rollback
    if back is not None and line.stage in ("recovered", "recovering", "rolled_back"):
        how_long = span(max(0.0, (back.rolled_back_at - last.deployed_at).total_seconds()))
        end = "and back at the benchmark." if line.stage == "recovered" else "waiting for the recovery snapshot."
        moved = f"{deviated(deviation)} " if deviation is not None else ""
        return f"{moved}Rolled back after {how_long}, {end}"
    if line.stage == "kept" and last.investigations:
        return f"Kept: {last.investigations[-1].reason}"
    if deviation is not None:
        return deviated(deviation)
    if verdict is not None:
        return sentence(verdict.sentence)
    return last.waiting.sentence if last.waiting is not None else "Its look has no answer."


def deviated(one: Deviation) -> str:
    """What moved, in one breath; the judge's whole sentence stands where the comparisons are."""
    if one.before is None or one.after is None:
        return sentence(one.sentence)
    change = f" ({percent(one.effect_relative)})" if one.effect_relative is not None else ""
    more = f", and {many(one.slis_moved - 1, 'more SLI')} moved" if one.slis_moved > 1 else ""
    before, after = number(one.before, one.unit), number(one.after, one.unit)
    return sentence(f"{one.title}: {before} -> {after} {unit_of(one.unit)}{change}{more}")


WAITING: dict[str, tuple[Tone, str]] = {
    "to_come": ("info", "observing"),
    "due": ("wait", "due"),
    "overdue": ("bad", "overdue"),
}


#: Early looks that raised nothing. Never good: they pass nothing.
EARLY: dict[str, Tone] = {"nothing": "info", "no_data": "none"}


def also(one: Observation) -> str:
    """`CR-2, deployed 23 Nov 2026, 09:00 UTC`, for each other change about then."""
    return "; ".join(f"{each.change_request}, deployed {clock(each.deployed_at)}" for each in one.also_deployed)


def verdict_of(deployment: DeploymentDocument, kind: str = "after") -> Observation | None:
    """The look of that kind that holds."""
    return next((one for one in reversed(deployment.observations) if one.kind == kind and one.holds), None)


@dataclass(frozen=True)
class Bars:
    """Two bars on one scale, each as a whole number of percent: `.w-N` in the style sheet."""

    before: int
    after: int


def bars(one: ComparedSLI) -> Bars | None:
    """The comparison of one SLI as lengths; None when a number is missing or below zero, or both are zero.

    Without a mark for the limit: what the judge holds against its limit is a score, not a shift of these numbers.
    """
    if one.before is None or one.after is None or one.before < 0 or one.after < 0 or one.before == one.after == 0:
        return None
    top = max(one.before, one.after)
    return Bars(round(100 * one.before / top), round(100 * one.after / top))


def duty(one: Duty, now: datetime) -> tuple[Tone, str]:
    """How a clock of an investigation stands."""
    if one.done_at is not None:
        late = (one.done_at - one.due_at).total_seconds()
        return ("wait", f"done {span(late)} late") if late > 0 else ("good", "done in time")
    if one.is_over:
        return "none", "no longer needed"
    left = (one.due_at - now).total_seconds()
    return ("bad", f"missed by {span(-left)}") if left < 0 else ("info", f"{span(left)} left")


def counted(lines: tuple[Line, ...]) -> str:
    """`3 changes: 1 verified, 1 deviating, 1 in review`."""
    if not lines:
        return "no change is scheduled yet"
    found: dict[str, int] = {}
    for line in lines:
        word = STAGES[line.stage][1]
        found[word] = found.get(word, 0) + 1
    return f"{many(len(lines), 'change')}: " + ", ".join(f"{n} {word}" for word, n in found.items())
