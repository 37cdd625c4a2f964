"""The stage: where a CR stands. One pure function of its dossier; nothing stores it, so nothing can contradict it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from services.reviewer.domain import gate
from services.reviewer.domain.dossier import Before, Deployment, Dossier
from services.reviewer.domain.waiting import waiting
from shared.contracts import ObservationKind

Stage = Literal[
    "registered",
    "in_review",
    "not_ready",
    "ready",
    "deployed",
    "observing",
    "verified",
    "deviating",
    "investigating",
    "needs_person",
    "kept",
    "rolled_back",
    "recovering",
    "recovered",
    "withdrawn",
]

#: (stage, what happens) -> stage: the line of a CR's life as people draw it. No service holds it; the dossier shows it.
MOVES: dict[tuple[Stage, str], Stage] = {
    ("registered", "the required evidence is there"): "in_review",
    ("registered", "a required test fails"): "not_ready",
    ("in_review", "operations: not ready, or PTASK: no-go"): "not_ready",
    ("in_review", "evidence, input and go are complete"): "ready",
    ("not_ready", "answered, or the evidence changed"): "in_review",
    ("not_ready", "answered and go"): "ready",
    ("ready", "the dossier changed"): "in_review",
    ("ready", "cr.deployed"): "deployed",
    ("in_review", "cr.deployed (against the process)"): "deployed",
    ("deployed", "the settle time is over"): "observing",
    ("observing", "observation.closed: steady"): "verified",
    ("observing", "deviation.detected"): "deviating",
    ("observing", "no_data, inconclusive, overdue, or nothing heard"): "needs_person",
    ("needs_person", "observation.closed: steady (after the silence)"): "verified",
    ("deviating", "investigation.acknowledged"): "investigating",
    ("needs_person", "investigation.acknowledged"): "investigating",
    ("investigating", "investigation.decided: keep"): "kept",
    ("investigating", "cr.rolled_back"): "recovering",
    ("deviating", "cr.rolled_back"): "recovering",
    ("observing", "cr.rolled_back"): "recovering",
    ("recovering", "observation.closed (recovery): steady"): "recovered",
    ("recovering", "observation.closed (recovery): anything else, or nothing heard"): "needs_person",
    ("needs_person", "investigation.decided: keep (recovery)"): "rolled_back",
    ("recovered", "work on the next attempt"): "registered",
    ("registered", "cr.withdrawn"): "withdrawn",
    ("in_review", "cr.withdrawn"): "withdrawn",
    ("not_ready", "cr.withdrawn"): "withdrawn",
    ("ready", "cr.withdrawn"): "withdrawn",
}


def stage(dossier: Dossier, at: datetime) -> Stage:
    """Where the CR stands at `at` (the database's time of asking)."""
    last = dossier.last
    if last is not None and not dossier.has_reopened:
        if last.deploy.rollback is not None:
            return _back(dossier.cr_id, last, at)
        return _in_production(dossier.cr_id, last, at)
    if dossier.withdrawn is not None:
        return "withdrawn"
    return _before(dossier, dossier.before)


def _before(dossier: Dossier, before: Before) -> Stage:
    if not gate.missing(dossier):
        return "ready"
    is_refused = before.go is not None and before.go.counts and before.go.decision == "no_go"
    if is_refused or any(review.open_items for review in before.reviews):
        return "not_ready"
    if any(suite.is_required and suite.state == "failed" for suite in before.tests):
        return "not_ready"
    if before.has_evidence or any(review.counts for review in before.reviews):
        return "in_review"
    return "registered"


def _in_production(cr_id: str, last: Deployment, at: datetime) -> Stage:
    verdict = last.verdict("after")
    has_deviated = any(one.withdrawn is None and one.revision == last.deploy.revision for one in last.deviations)
    if has_deviated or (verdict is not None and verdict.outcome == "moved"):
        return _investigated(last, "after") or "deviating"
    if verdict is None and _is_overdue(cr_id, last, at):
        return _investigated(last, "after") or "needs_person"
    if verdict is None:
        policy = last.stood.policy
        settle_s = policy.observation.settle_min * 60 if policy is not None else 0.0
        return "observing" if (at - last.deploy.deployed_at).total_seconds() >= settle_s else "deployed"
    if verdict.outcome == "steady":
        return "verified"
    return _investigated(last, "after") or "needs_person"


def _is_overdue(cr_id: str, last: Deployment, at: datetime) -> bool:
    """Whether nothing was heard of the look, and the policy's patience is over: silence is no observation."""
    found = waiting(cr_id, last, at)
    return found is not None and found.state == "overdue"


def _investigated(last: Deployment, look: ObservationKind) -> Stage | None:
    """What became of the investigation of this look at the deployment; None while nobody took it up."""
    standing = [one for one in last.investigations if one.closed is None and one.look == look]
    if not standing:
        return None
    newest = standing[-1]
    if newest.decision == "keep":
        return "kept"
    return "investigating" if newest.is_acknowledged or newest.decision == "rollback" else None


def _back(cr_id: str, last: Deployment, at: datetime) -> Stage:
    rollback, verdict = last.deploy.rollback, last.verdict("recovery")
    assert rollback is not None
    if verdict is None and not _is_overdue(cr_id, last, at):
        return "recovering" if rollback.rolled_back_at <= at else "rolled_back"
    if verdict is not None and verdict.outcome == "steady":
        return "recovered"
    taken_up = _investigated(last, "recovery")
    return "rolled_back" if taken_up == "kept" else taken_up or "needs_person"  # nothing is in production to be kept
