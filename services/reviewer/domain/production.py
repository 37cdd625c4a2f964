"""What happened in production: deployments and their corrections, the looks after them, deviations, investigations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.reviewer.domain.known import Facts
from shared.contracts import (
    AlsoDeployed,
    ComparedSLI,
    CRDeployed,
    CRRolledBack,
    DeviationDetected,
    DeviationWithdrawn,
    IncidentClosed,
    IncidentOpened,
    InvestigationAcknowledged,
    InvestigationClosed,
    InvestigationDecided,
    InvestigationEscalated,
    InvestigationExplained,
    InvestigationOpened,
    ObservationClosed,
    ObservationKind,
    ObservationSuperseded,
    Outcome,
    RegressionCaseOwed,
    RollbackRequested,
    Severity,
    SnapshotOverdue,
    SnapshotTaken,
)
from shared.contracts.investigations import Step


@dataclass(frozen=True)
class Observation:
    """One look at production: `after` a deploy or at the `recovery`. Superseded ones stay readable."""

    kind: ObservationKind
    deployment: int
    revision: int
    state: Literal["closed", "overdue"]
    sentence: str
    at: datetime
    outcome: Outcome | None = None
    comparisons: tuple[ComparedSLI, ...] = ()
    benchmark_id: str | None = None
    snapshot_id: str | None = None
    judge_version: str | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    superseded: str | None = None  #: why it no longer holds
    creep: str = ""  #: what was seen against the anchor
    limits: str = ""  #: whose limits the judge used
    also_deployed: tuple[AlsoDeployed, ...] = ()  #: other CRs of the product whose day meets this one
    overdue: str | None = None  #: what could not be read until patience ended
    overdue_at: datetime | None = None

    @property
    def holds(self) -> bool:
        return self.superseded is None


@dataclass(frozen=True)
class Deviation:
    """The fact that an after snapshot moved away from the benchmark."""

    deviation_id: str
    deployment: int
    revision: int
    severity: Severity
    sli: str
    title: str
    unit: str
    before: float | None
    after: float | None
    effect_relative: float | None
    limit: float | None
    slis_moved: int
    slis_judged: int
    sentence: str
    detected_at: datetime
    withdrawn: str | None = None  #: why it no longer holds
    early_min: float | None = None  #: minutes after the deploy, when an early look raised it


@dataclass(frozen=True)
class Duty:
    """One clock of an investigation."""

    step: Step
    due_at: datetime
    done_at: datetime | None = None
    done_by: str | None = None
    escalated_at: datetime | None = None
    escalated_to: tuple[str, ...] = ()
    is_over: bool = False  #: the investigation ended without it


@dataclass(frozen=True)
class Investigation:
    """An owner, three clocks and one end: rollback, or keep with a reason."""

    investigation_id: str
    deployment: int
    deviation_id: str | None
    incident_id: str | None
    severity: Severity | None
    owner: str | None
    because: str
    opened_at: datetime
    duties: tuple[Duty, ...]
    explanation: str | None = None
    decision: Literal["rollback", "keep"] | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None
    rollback_requested_at: datetime | None = None
    closed: str | None = None  #: why it ended without a decision
    look: ObservationKind = "after"  #: whose answer was bad, or did not come

    @property
    def is_acknowledged(self) -> bool:
        return any(duty.step in ("acknowledge", "explain") and duty.done_at for duty in self.duties)


@dataclass(frozen=True)
class Incident:
    """What a change left behind as somebody's work, and the regression cases it owes."""

    incident_id: str
    title: str
    severity: Severity
    origin: str
    opened_at: datetime
    closed_at: datetime | None
    case_ids: tuple[str, ...]


@dataclass(frozen=True)
class Rollback:
    rolled_back_at: datetime
    reported_at: datetime
    reason: str
    revision: int
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Deploy:
    """One deployment as it is known now: the newest revision; older ones were corrected."""

    deployment: int
    revision: int
    deployed_at: datetime
    reported_at: datetime
    deployer: str
    commit: str | None
    artifact: str | None
    against_process: tuple[str, ...]
    corrected: tuple[datetime, ...]  #: deploy times that older revisions said
    rollback: Rollback | None


def deploys(facts: Facts) -> tuple[Deploy, ...]:
    """The CR's deployments by number."""
    said: dict[int, list[CRDeployed]] = {}
    for fact in facts.of(CRDeployed):
        said.setdefault(fact.data.deployment, []).append(fact.data)
    back: dict[int, CRRolledBack] = {}
    for rolled in facts.of(CRRolledBack):
        known = back.get(rolled.data.deployment)
        if known is None or known.revision < rolled.data.revision:
            back[rolled.data.deployment] = rolled.data
    found = []
    for number in sorted(said):
        revisions = sorted(said[number], key=lambda one: one.revision)
        last, rollback = revisions[-1], back.get(number)
        found.append(
            Deploy(
                number,
                last.revision,
                last.deployed_at,
                last.reported_at,
                last.deployer,
                last.commit,
                last.artifact,
                last.against_process,
                tuple(one.deployed_at for one in revisions[:-1] if one.deployed_at != last.deployed_at),
                None
                if rollback is None
                else Rollback(
                    rollback.rolled_back_at,
                    rollback.reported_at,
                    rollback.reason,
                    rollback.revision,
                    rollback.against_process,
                ),
            )
        )
    return tuple(found)


def observations(facts: Facts) -> tuple[Observation, ...]:
    """Every verdict and every overdue look, by deployment, kind and revision; what a correction overtook says so."""
    gone: dict[tuple[int, str, int], tuple[int, str]] = {
        (fact.data.deployment, fact.data.kind, fact.data.revision): (fact.sequence, fact.data.reason)
        for fact in facts.of(ObservationSuperseded)
    }
    late = {(fact.data.deployment, fact.data.kind, fact.data.revision): fact for fact in facts.of(SnapshotOverdue)}
    deployed = {deploy.deployment: deploy.revision for deploy in deploys(facts)}
    windows = {fact.data.snapshot_id: fact.data for fact in facts.of(SnapshotTaken)}
    closed = facts.of(ObservationClosed)
    newest: dict[tuple[int, str], int] = {}
    for one in closed:
        place = (one.data.deployment, one.data.kind)
        newest[place] = max(newest.get(place, 0), one.data.revision)

    def superseded(deployment: int, kind: str, revision: int, sequence: int) -> str | None:
        ended, reason = gone.get((deployment, kind, revision), (0, ""))
        if ended > sequence:  # a look that was armed again, after a rollback was corrected, has its verdict later
            return reason
        if revision < newest.get((deployment, kind), 0):
            return "a later look holds"
        if kind == "after" and revision < deployed.get(deployment, 0):
            return "the deploy time was corrected"
        return None

    found = []
    for one in closed:
        data, taken = one.data, windows.get(one.data.snapshot_id)
        overdue = late.get((data.deployment, data.kind, data.revision))
        found.append(
            Observation(
                data.kind,
                data.deployment,
                data.revision,
                "closed",
                data.sentence,
                data.closed_at,
                data.outcome,
                data.comparisons,
                data.benchmark_id,
                data.snapshot_id,
                data.judge_version,
                taken.window_start if taken else None,
                taken.window_end if taken else None,
                superseded(data.deployment, data.kind, data.revision, one.sequence),
                data.creep,
                data.limits,
                data.also_deployed,
                overdue.data.reason if overdue else None,
                overdue.data.overdue_at if overdue else None,
            )
        )
    answered = {(one.deployment, one.kind, one.revision) for one in found}
    for look, unanswered in late.items():
        if look in answered:
            continue
        said = unanswered.data
        found.append(
            Observation(
                said.kind,
                said.deployment,
                said.revision,
                "overdue",
                f"The look was due at {said.due_at:%Y-%m-%d %H:%M} UTC and is overdue: {said.reason}",
                said.overdue_at,
                superseded=superseded(*look, unanswered.sequence),
                overdue=said.reason,
                overdue_at=said.overdue_at,
            )
        )
    return tuple(sorted(found, key=lambda one: (one.deployment, one.kind, one.revision)))


def deviations(facts: Facts) -> tuple[Deviation, ...]:
    withdrawn = {fact.data.deviation_id: fact.data.reason for fact in facts.of(DeviationWithdrawn)}
    found = {}
    for fact in facts.of(DeviationDetected):
        data = fact.data
        found[data.deviation_id] = Deviation(
            data.deviation_id,
            data.deployment,
            data.revision,
            data.severity,
            data.sli,
            data.title,
            data.unit,
            data.before,
            data.after,
            data.effect_relative,
            data.limit,
            data.slis_moved,
            data.slis_judged,
            data.sentence,
            data.detected_at,
            withdrawn.get(data.deviation_id),
            data.early_min,
        )
    return tuple(sorted(found.values(), key=lambda one: (one.deployment, one.revision, one.deviation_id)))


def investigations(facts: Facts) -> tuple[Investigation, ...]:
    """Every investigation of the CR, oldest first. Steps heard before the opening wait for it."""
    acknowledged = {fact.data.investigation_id: fact.data for fact in facts.of(InvestigationAcknowledged)}
    explained = {fact.data.investigation_id: fact.data for fact in facts.of(InvestigationExplained)}
    decided = {fact.data.investigation_id: fact.data for fact in facts.of(InvestigationDecided)}
    closed = {fact.data.investigation_id: fact.data for fact in facts.of(InvestigationClosed)}
    requested = {fact.data.investigation_id: fact.data for fact in facts.of(RollbackRequested)}
    missed: dict[tuple[str, str], InvestigationEscalated] = {
        (fact.data.investigation_id, fact.data.step): fact.data for fact in facts.of(InvestigationEscalated)
    }
    found = {}
    for fact in facts.of(InvestigationOpened):
        data = fact.data
        name = data.investigation_id
        ack, why, end, over = acknowledged.get(name), explained.get(name), decided.get(name), closed.get(name)
        done = {
            "acknowledge": (ack.at, ack.by) if ack else None,
            "explain": (why.at, why.by) if why else None,
            "decide": (end.at, end.by) if end else None,
        }
        duties = []
        due: dict[Step, datetime] = {
            "acknowledge": data.acknowledge_by,
            "explain": data.explain_by,
            "decide": data.decide_by,
        }
        for step, due_at in due.items():
            at_by, escalated = done[step], missed.get((name, step))
            duties.append(
                Duty(
                    step,
                    due_at,
                    at_by[0] if at_by else None,
                    at_by[1] if at_by else None,
                    escalated.at if escalated else None,
                    escalated.to if escalated else (),
                    at_by is None and (over is not None or end is not None),
                )
            )
        found[name] = Investigation(
            name,
            data.deployment,
            data.deviation_id,
            data.incident_id,
            data.severity,
            data.owner_person,
            data.because,
            data.at,
            tuple(duties),
            why.explanation if why else None,
            end.decision if end else None,
            end.by if end else None,
            end.at if end else None,
            end.reason if end else None,
            requested[name].at if name in requested else None,
            over.reason if over else None,
            data.look,
        )
    return tuple(sorted(found.values(), key=lambda one: (one.opened_at, one.investigation_id)))


def incidents(facts: Facts, cr_id: str) -> tuple[Incident, ...]:
    """Incidents that name this CR."""
    closed = {fact.data.incident_id: fact.data.closed_at for fact in facts.of(IncidentClosed)}
    owed: dict[str, set[str]] = {}
    for case in facts.of(RegressionCaseOwed):
        owed.setdefault(case.data.incident_id, set()).add(case.data.case_id)
    found = {
        fact.data.incident_id: Incident(
            fact.data.incident_id,
            fact.data.title,
            fact.data.severity,
            fact.data.origin,
            fact.data.opened_at,
            closed.get(fact.data.incident_id),
            tuple(sorted(owed.get(fact.data.incident_id, ()))),
        )
        for fact in facts.of(IncidentOpened)
        if fact.data.cr_id == cr_id
    }
    return tuple(sorted(found.values(), key=lambda one: (one.opened_at, one.incident_id)))
