"""Values as answers."""

from __future__ import annotations

from collections.abc import Sequence

from services.incidents import domain
from services.incidents.commands import CaseView, ClockView, IncidentView, InvestigationView
from services.incidents.domain import STEPS, Case, Incident, Investigation


def incident_view(incident: Incident, cases: Sequence[Case]) -> IncidentView:
    return IncidentView(
        id=incident.id,
        product=incident.product_id,
        change_request=incident.cr_id,
        title=incident.title,
        description=incident.description,
        severity=incident.severity,
        origin=incident.origin,
        deviation=incident.deviation_id,
        opened_at=incident.opened_at,
        closed_at=incident.closed_at,
        closed_reason=incident.closed_reason,
        regression_cases=[case_view(one) for one in cases],
    )


def case_view(case: Case) -> CaseView:
    return CaseView(
        id=case.id,
        incident=case.incident_id,
        product=case.product_id,
        title=case.title,
        release=case.release_id,
        state=case.state,
        is_debt=case.state != "green" and not case.is_withdrawn,
        red_commit=case.red_commit,
        green_commit=case.green_commit,
        revision=case.version,
    )


def investigation_view(found: Investigation) -> InvestigationView:
    done = {
        "acknowledge": (found.acknowledged_at, found.acknowledged_by),
        "explain": (found.explained_at, found.explained_by),
        "decide": (found.decided_at if found.state == "decided" else None, found.decided_by),
    }
    return InvestigationView(
        id=found.id,
        change_request=found.cr_id,
        product=found.product_id,
        deployment=found.deployment,
        revision=found.revision,
        look=found.look,
        deviation=found.deviation_id,
        incident=found.incident_id,
        severity=found.severity,
        owner=found.owner,
        because=found.because,
        state=found.state,
        opened_at=found.opened_at,
        clocks=[
            ClockView(
                step=step,
                due_at=domain.due(found, step),
                done_at=done[step][0],
                by=done[step][1],
                was_missed=step in found.escalated,
            )
            for step in STEPS
        ],
        explanation=found.explanation,
        decision=found.decision,
        reason=found.reason,
        policy_version=found.policy_version,
    )
