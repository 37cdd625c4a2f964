"""What is to be said of a deployment beside its evidence: what went against the process, and what nobody knew then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.reviewer.domain.dossier.values import Asked, Before, LateWord
from services.reviewer.domain.known import Facts
from services.reviewer.domain.production import Deploy
from shared.contracts import CodeReviewRecorded, CRRegistered, CRWithdrawn, IncidentOpened, TestsRecorded

_FLAG_WORDS = {"withdrawn": "It was deployed although it had been withdrawn."}


def flags(deploy: Deploy, stood: Before, gate: Asked | None, answers: Sequence[Asked]) -> tuple[str, ...]:
    found = [_FLAG_WORDS.get(flag, f"Against the process: {flag}.") for flag in deploy.against_process]
    if gate is None:
        # A deployer whose clock is behind looks like one that did not ask: then it is said how much later it did.
        late = next((one.at for one in answers if deploy.deployed_at < one.at <= deploy.reported_at), None)
        after = (
            f"; it was asked {(late - deploy.deployed_at).total_seconds():.0f} s after the reported time"
            if late
            else ""
        )
        found.append(f"The gate was never asked before this deploy{after}.")
    elif not gate.go:
        found.append(f"Deployed against the gate, which had answered no at {gate.at:%Y-%m-%d %H:%M} UTC.")
    elif not gate.is_ready:
        found.append(f"The gate had said that it was not ready; {gate.enforcement} blocks nothing.")
    if stood.go is not None and stood.go.counts and stood.go.decision == "no_go":
        found.append("Deployed although the PTASK engineer had decided no-go.")
    named = stood.cr.commit if stood.cr is not None else None
    if named and deploy.commit and named != deploy.commit:
        found.append(f"Deployed commit {deploy.commit}, but the change request names {named}.")
    return tuple(found)


def not_known(facts: Facts, deployed_at: datetime) -> tuple[LateWord, ...]:
    found = []
    for fact in facts.all:
        if fact.time <= deployed_at:
            continue
        data: Any = fact.data
        if isinstance(data, TestsRecorded) and data.run_at <= deployed_at:
            sentence = (
                f"A {data.suite_kind} test report ({data.outcome}) of a run before the deploy was recorded after it."
            )
            found.append(LateWord("tests", fact.time, sentence))
        elif isinstance(data, CodeReviewRecorded) and data.reviewed_at <= deployed_at:
            found.append(
                LateWord("code_review", fact.time, f"A code {data.how} before the deploy was recorded after it.")
            )
        elif isinstance(data, IncidentOpened) and data.opened_at <= deployed_at:
            found.append(
                LateWord("debt", fact.time, f"{data.incident_id} had opened before the deploy and was said after it.")
            )
        elif isinstance(data, CRWithdrawn):
            found.append(
                LateWord("change_request", fact.time, "It was withdrawn when it was in production already, unreported.")
            )
        elif isinstance(data, CRRegistered):
            found.append(LateWord("change_request", fact.time, "It was registered only after its deploy."))
    return tuple(sorted(found, key=lambda word: (word.said_at, word.what, word.sentence)))
