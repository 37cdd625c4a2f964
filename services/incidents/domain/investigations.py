"""Investigations: an owner, three clocks, and one end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.contracts import (
    Clock,
    ComparedSLI,
    Fact,
    InvestigationAcknowledged,
    InvestigationClosed,
    InvestigationDecided,
    InvestigationEscalated,
    InvestigationExplained,
    InvestigationOpened,
    RollbackRequested,
    Severity,
)
from shared.contracts.investigations import Step
from shared.errors import Conflict, Forbidden

InvestigationState = Literal["opened", "acknowledged", "explained", "decided", "closed"]
Look = Literal["after", "recovery"]
STEPS: tuple[Step, ...] = ("acknowledge", "explain", "decide")
_GRAVITY: tuple[Severity, ...] = ("minor", "major", "critical")

#: (state, what happens) -> state. A rollback may be decided at once; keeping needs an explanation first.
MOVES: dict[tuple[InvestigationState, str], InvestigationState] = {
    ("opened", "acknowledge"): "acknowledged",
    ("acknowledged", "explain"): "explained",
    ("opened", "explain"): "explained",
    ("explained", "keep"): "decided",
    ("opened", "rollback"): "decided",
    ("acknowledged", "rollback"): "decided",
    ("explained", "rollback"): "decided",
    ("opened", "close"): "closed",
    ("acknowledged", "close"): "closed",
    ("explained", "close"): "closed",
}


@dataclass(frozen=True, slots=True)
class Investigation:
    """Why production moved, or why nobody can say; with an owner, clocks and one end."""

    id: str
    cr_id: str
    product_id: str
    deployment: int
    revision: int
    kind: Literal["deviation", "absence", "not_recovered"]
    deviation_id: str | None
    incident_id: str | None
    severity: Severity
    owner: str | None
    because: str
    state: InvestigationState
    opened_at: datetime
    acknowledge_by: datetime
    explain_by: datetime
    decide_by: datetime
    policy_version: str | None
    look: Look = "after"  #: the one whose answer was bad, or did not come
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    explained_at: datetime | None = None
    explained_by: str | None = None
    explanation: str | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None
    decision: Literal["rollback", "keep"] | None = None
    reason: str | None = None
    escalated: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()  #: digests of what the bad answer rested on; none where no answer came
    version: int = 0


def deadlines(opened_at: datetime, clock: Clock) -> tuple[datetime, datetime, datetime]:
    """(acknowledge by, explain by, decide by), all counted from the opening."""
    return (
        opened_at + timedelta(minutes=clock.acknowledge_min),
        opened_at + timedelta(minutes=clock.explain_min),
        opened_at + timedelta(minutes=clock.decide_min),
    )


def gravest(severities: Iterable[Severity], default: Severity = "major") -> Severity:
    """The gravest of these; `default` when there is none."""
    found = [_GRAVITY.index(one) for one in severities]
    return _GRAVITY[max(found)] if found else default


def unanswered(comparisons: Sequence[ComparedSLI]) -> Severity:
    """How grave it is that these were not answered: as grave as a deviation on the gravest of them would be."""
    return gravest((one.severity for one in comparisons if one.decides and one.outcome != "steady"), "critical")


def open_investigation(investigation: Investigation) -> tuple[Investigation, list[Fact]]:
    opened = replace(investigation, version=investigation.version + 1)
    return opened, [
        InvestigationOpened(
            investigation_id=opened.id,
            cr_id=opened.cr_id,
            product_id=opened.product_id,
            deployment=opened.deployment,
            at=opened.opened_at,
            deviation_id=opened.deviation_id,
            incident_id=opened.incident_id,
            revision=opened.revision,
            look=opened.look,
            severity=opened.severity,
            owner_person=opened.owner,
            because=opened.because,
            acknowledge_by=opened.acknowledge_by,
            explain_by=opened.explain_by,
            decide_by=opened.decide_by,
        )
    ]


def _moved(investigation: Investigation, what: str) -> InvestigationState:
    state = MOVES.get((investigation.state, what))
    if state is None:
        if what == "keep" and investigation.state in ("opened", "acknowledged"):
            raise Conflict(f"{investigation.id} must be explained before the change is kept.")
        raise Conflict(f"{investigation.id} is {investigation.state}: {what} is not possible now.")
    return state


def acknowledge(investigation: Investigation, by: str, now: datetime) -> tuple[Investigation, list[Fact]]:
    """Raises Conflict when it was acknowledged already or has ended."""
    state = _moved(investigation, "acknowledge")
    moved = replace(
        investigation, state=state, acknowledged_at=now, acknowledged_by=by, version=investigation.version + 1
    )
    return moved, [InvestigationAcknowledged(**_about(moved, now), by=by)]


def explain(investigation: Investigation, by: str, explanation: str, now: datetime) -> tuple[Investigation, list[Fact]]:
    """Raises Conflict when it was explained already or has ended. Explaining acknowledges."""
    state = _moved(investigation, "explain")
    moved = replace(
        investigation,
        state=state,
        acknowledged_at=investigation.acknowledged_at or now,
        acknowledged_by=investigation.acknowledged_by or by,
        explained_at=now,
        explained_by=by,
        explanation=explanation,
        version=investigation.version + 1,
    )
    return moved, [InvestigationExplained(**_about(moved, now), by=by, explanation=explanation)]


def decide(
    investigation: Investigation, by: str, decision: Literal["rollback", "keep"], reason: str, now: datetime
) -> tuple[Investigation, list[Fact]]:
    """Only the CR's PTASK engineer decides (Forbidden). Keeping needs an explanation first (Conflict)."""
    if investigation.owner is None:
        raise Forbidden(f"{investigation.cr_id} names no PTASK engineer; name one before deciding.")
    if by != investigation.owner:
        raise Forbidden(f"Only {investigation.owner}, the PTASK engineer of {investigation.cr_id}, decides.")
    if investigation.look == "recovery" and decision == "rollback":
        raise Conflict(
            f"{investigation.cr_id} was rolled back already; say keep, and why the recovery may stay as it is."
        )
    state = _moved(investigation, decision)
    moved = replace(
        investigation,
        state=state,
        decided_at=now,
        decided_by=by,
        decision=decision,
        reason=reason,
        version=investigation.version + 1,
    )
    facts: list[Fact] = [InvestigationDecided(**_about(moved, now), by=by, decision=decision, reason=reason)]
    if decision == "rollback":
        moved = replace(moved, version=moved.version + 1)
        facts.append(RollbackRequested(**_about(moved, now), by=by, reason=reason))
    return moved, facts


def close(investigation: Investigation, reason: str, now: datetime) -> tuple[Investigation, list[Fact]]:
    """End it without a decision; one that has ended stays as it is."""
    if (investigation.state, "close") not in MOVES:
        return investigation, []
    moved = replace(investigation, state="closed", reason=reason, decided_at=now, version=investigation.version + 1)
    return moved, [InvestigationClosed(**_about(moved, now), reason=reason)]


def is_done(investigation: Investigation, step: Step) -> bool:
    """Whether this step's clock has nothing left to wait for."""
    if investigation.state in ("decided", "closed"):
        return True
    if step == "acknowledge":
        return investigation.acknowledged_at is not None
    return step == "explain" and investigation.explained_at is not None


def due(investigation: Investigation, step: Step) -> datetime:
    """When the clock of this step runs out."""
    by = {
        "acknowledge": investigation.acknowledge_by,
        "explain": investigation.explain_by,
        "decide": investigation.decide_by,
    }
    return by[step]


def escalate(investigation: Investigation, step: Step, clock: Clock, now: datetime) -> tuple[Investigation, list[Fact]]:
    """What is said when a step was missed: once per step, to whom the policy names."""
    if is_done(investigation, step) or step in investigation.escalated:
        return investigation, []
    moved = replace(investigation, escalated=(*investigation.escalated, step), version=investigation.version + 1)
    return moved, [
        InvestigationEscalated(
            **_about(moved, now), step=step, due_at=due(moved, step), to=clock.escalate_to, channels=clock.channels
        )
    ]


def _about(investigation: Investigation, now: datetime) -> dict[str, Any]:
    return {
        "investigation_id": investigation.id,
        "cr_id": investigation.cr_id,
        "product_id": investigation.product_id,
        "deployment": investigation.deployment,
        "at": now,
    }
