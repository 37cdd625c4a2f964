"""Investigations: opened by facts, walked by people, watched by clocks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from services.incidents import domain, store
from services.incidents.commands import Acknowledge, Decide, Explain, InvestigationList, InvestigationView
from services.incidents.domain import STEPS, Expected, Investigation
from services.incidents.handlers.debt import open_with_debt
from services.incidents.handlers.expecting import answered, expect
from services.incidents.handlers.saving import Deps, may_read, save
from services.incidents.handlers.views import investigation_view
from shared import policies
from shared.access import Call
from shared.answers import Answer
from shared.contracts import (
    CRChanged,
    CRDeployed,
    CRRegistered,
    CRRolledBack,
    DeviationDetected,
    DeviationWithdrawn,
    Event,
    Fact,
    ObservationClosed,
    ObservationSuperseded,
    Severity,
    SnapshotOverdue,
)
from shared.db import Appointment, Tx
from shared.errors import NotFound, TryLater

_OfALook = DeviationDetected | DeviationWithdrawn | ObservationClosed | ObservationSuperseded | SnapshotOverdue
_ROLLED_BACK = "rolled back before a decision was recorded"


async def acknowledge(deps: Deps, call: Call, id: str, command: Acknowledge) -> Answer:
    async with deps.db.tx(call) as tx:
        found = await _investigation(tx, id, "acknowledge_investigation")
        return await _stepped(tx, found, *domain.acknowledge(found, tx.actor, tx.now))


async def explain(deps: Deps, call: Call, id: str, command: Explain) -> Answer:
    async with deps.db.tx(call) as tx:
        found = await _investigation(tx, id, "explain_investigation")
        return await _stepped(tx, found, *domain.explain(found, tx.actor, command.explanation, tx.now))


async def decide(deps: Deps, call: Call, id: str, command: Decide) -> Answer:
    async with deps.db.tx(call) as tx:
        found = await _investigation(tx, id, "decide_investigation")
        return await _stepped(tx, found, *domain.decide(found, tx.actor, command.decision, command.reason, tx.now))


async def _investigation(tx: Tx, id: str, action: str) -> Investigation:
    found = await store.load(tx, Investigation, id, lock=True)
    if found is None:
        raise NotFound(f"There is no investigation {id}.")
    tx.may(action, found.product_id, of=id)
    return found


async def _stepped(tx: Tx, was: Investigation, now: Investigation, facts: Sequence[Fact]) -> Answer:
    await save(tx, now, was.version, facts, now.policy_version)
    _set_clocks(tx, now)
    _record(tx, now, state=now.state)
    return tx.answer(200, investigation_view(now))


def _record(tx: Tx, now: Investigation, action: str | None = None, **detail: Any) -> None:
    tx.audit(
        now.id,
        action=action,
        revision=now.version,
        product=now.product_id,
        evidence=now.evidence,
        policy_version=now.policy_version,
        deviation=now.deviation_id,
        incident=now.incident_id,
        **detail,
    )


def _evidence(said: _OfALook | Expected) -> tuple[str, ...]:
    """Digests of the snapshot and the benchmark that an answer rests on; an answer that did not come rests on none."""
    if not isinstance(said, (DeviationDetected, ObservationClosed)):
        return ()
    return tuple(one for one in (said.snapshot_hash, said.benchmark_hash) if one is not None)


async def get_investigation(deps: Deps, call: Call, id: str) -> InvestigationView:
    async with deps.db.read(call) as tx:
        found = await store.load(tx, Investigation, id)
        if found is None or not may_read(tx, found.product_id):
            raise NotFound(f"There is no investigation {id}.")
        return investigation_view(found)


async def list_investigations(deps: Deps, call: Call, *, cr: str | None, is_open: bool | None) -> InvestigationList:
    async with deps.db.read(call) as tx:
        assert tx.caller is not None
        found = await store.list_investigations(tx, products=tx.caller.products(), cr=cr, is_open=is_open)
        return InvestigationList(items=[investigation_view(one) for one in found])


async def on_cr(tx: Tx, event: Event[CRRegistered] | Event[CRChanged]) -> None:
    cr = event.data
    store.put_change_request(
        tx, id=cr.cr_id, product_id=cr.product_id, ptask=cr.ptask, title=cr.title, sequence=event.sequence
    )


async def on_deviation_detected(tx: Tx, event: Event[DeviationDetected]) -> None:
    """A deviation is an incident: it owes a regression case, and an investigation opens at once, with its clocks."""
    said = event.data
    if await store.incident_of_deviation(tx, said.deviation_id) is not None:
        return
    policy = await policies.of(tx, said.product_id, event.policy_version)
    cr = await store.change_request(tx, said.cr_id)
    if cr is None:
        raise TryLater(f"{said.cr_id} has not been heard of yet")
    incident, _ = await open_with_debt(
        tx,
        product_id=said.product_id,
        cr_id=said.cr_id,
        title=f"{said.title} moved after {said.cr_id}",
        description=said.sentence,
        severity=said.severity,
        origin="deviation",
        deviation_id=said.deviation_id,
        titles=(f"{said.title} stays at its benchmark ({cr.title})"[:200],),
        policy_version=event.policy_version,
    )
    for other in await _of_look(tx, said, "after"):
        await _close(tx, other, "a verdict has come: the deviation has an investigation of its own")
    clock = getattr(policy.clocks, said.severity)
    await _investigate(
        tx,
        said,
        event.policy_version,
        kind="deviation",
        look="after",  # a deviation is always of the look after the deploy
        owner=cr.ptask,
        severity=said.severity,
        because=said.sentence,
        deadlines=domain.deadlines(tx.now, clock),
        deviation_id=said.deviation_id,
        incident_id=incident.id,
    )


async def on_observation_closed(tx: Tx, event: Event[ObservationClosed]) -> None:
    """No answer needs a person as much as a bad one. An answer ends the search for one."""
    said = event.data
    await answered(tx, said)
    if said.outcome in ("no_data", "inconclusive"):
        severity = domain.unanswered(said.comparisons)
        await _look_into(tx, event, severity, f"The verdict is {said.outcome}: {said.sentence}")
    elif said.outcome == "moved" and said.kind == "recovery":
        # No second deviation and no second debt: the same fault is still there, and somebody must take it up.
        await _look_into(tx, event, domain.unanswered(said.comparisons), said.sentence, kind="not_recovered")
    elif said.outcome == "steady":
        for found in await _of_look(tx, said, said.kind):
            if found.kind == "absence":
                await _close(tx, found, f"the verdict came: {said.sentence}")


async def on_snapshot_overdue(tx: Tx, event: Event[SnapshotOverdue]) -> None:
    said = event.data
    await answered(tx, said)
    await _look_into(tx, event, said.severity, f"The {said.kind} snapshot is overdue: {said.reason}")


async def on_deployed(tx: Tx, event: Event[CRDeployed]) -> None:
    """From now on a look must come. What was asked about the silence of an older revision's is asked no longer."""
    said = event.data
    await expect(tx, event, "after", said.deployed_at)
    for found in await store.investigations_of(tx, said.cr_id, deployment=said.deployment, look="after"):
        if found.kind == "absence" and found.revision < said.revision:
            await _close(tx, found, "the deploy time was corrected")


async def miss_look(deps: Deps, appointment: Appointment) -> None:
    """Nothing was heard of a look, and whoever takes it may be down: open what it would have opened. Subject: `CR-1/1/after`.

    Once: what is heard of the look later finds this investigation, and what was heard before ended the appointment.
    """
    cr_id, number, _ = appointment.subject.rsplit("/", 2)
    async with deps.db.tx(appointment) as tx:
        looks = await store.expected_looks(tx, cr_id, int(number))
        for product_id in {each.product_id for each in looks.values()}:
            await store.lock_product(tx, product_id)
        looks = await store.expected_looks(tx, cr_id, int(number))
        found = next((each for each in looks.values() if each.subject == appointment.subject), None)
        if found is None or found.policy_version is None or found.revision != appointment.revision:
            return
        if not domain.is_awaited(found, looks.values()):
            return
        if domain.was_away(found, tx.now) and not appointment.payload:
            # Perhaps all of us were: whoever takes the look is given as long again, and once only.
            tx.schedule(
                miss_look, appointment.subject, tx.now + domain.GRACE, revision=found.revision, payload={"again": True}
            )
            return
        policy = await policies.of(tx, found.product_id, found.policy_version)
        await _open_for(
            tx, found, found.look, found.policy_version, domain.gravity_of_silence(policy), domain.silent(found)
        )


async def on_observation_over(tx: Tx, event: Event[ObservationSuperseded] | Event[DeviationWithdrawn]) -> None:
    """What no longer holds is closed with that reason; an incident that was none owes nothing."""
    said = event.data
    # A recovery has revisions of its own; the deviation that it follows still stands.
    for found in await _of_look(tx, said, said.kind if isinstance(said, ObservationSuperseded) else "after"):
        await _close(tx, found, said.reason)
    if isinstance(said, DeviationWithdrawn):
        incident = await store.incident_of_deviation(tx, said.deviation_id)
        if incident is None:
            raise TryLater(f"{said.deviation_id} has not been heard of yet")
        if incident.closed_at is None:
            closed, facts = domain.close_incident(incident, said.reason, tx.now, is_withdrawn=True)
            await save(tx, closed, incident.version, facts, event.policy_version)
            await store.withdraw_cases(tx, incident.id)


async def on_rolled_back(tx: Tx, event: Event[CRRolledBack]) -> None:
    """A rollback nobody decided on here ends the investigation all the same, also one that is heard of later."""
    await expect(tx, event, "recovery", event.data.rolled_back_at)
    store.put_rollback(tx, event.data.cr_id, event.data.deployment)
    for found in await store.investigations_of(tx, event.data.cr_id, deployment=event.data.deployment, look="after"):
        await _close(tx, found, _ROLLED_BACK)


async def _of_look(tx: Tx, said: _OfALook | Expected, look: domain.Look) -> Sequence[Investigation]:
    return await store.investigations_of(tx, said.cr_id, deployment=said.deployment, revision=said.revision, look=look)


async def _look_into(
    tx: Tx,
    event: Event[ObservationClosed] | Event[SnapshotOverdue],
    severity: Severity,
    because: str,
    *,
    kind: Literal["absence", "not_recovered"] = "absence",
) -> None:
    # Deviations and looks come on two topics, so perhaps at once: the second of them must see what the first opened.
    await store.lock_product(tx, event.data.product_id)
    await _open_for(tx, event.data, event.data.kind, event.policy_version, severity, because, kind=kind)


async def _open_for(
    tx: Tx,
    said: ObservationClosed | SnapshotOverdue | Expected,
    look: domain.Look,
    policy_version: str | None,
    severity: Severity,
    because: str,
    *,
    kind: Literal["absence", "not_recovered"] = "absence",
) -> None:
    """One investigation of one look, whatever comes first: that it is overdue, that it says nothing, or its silence."""
    if await _of_look(tx, said, look):
        return
    policy = await policies.of(tx, said.product_id, policy_version)
    cr = await store.change_request(tx, said.cr_id)
    if cr is None:
        raise TryLater(f"{said.cr_id} has not been heard of yet")
    await _investigate(
        tx,
        said,
        policy_version,
        kind=kind,
        look=look,
        owner=cr.ptask,
        severity=severity,
        because=because,
        deadlines=domain.deadlines(tx.now, getattr(policy.clocks, severity)),
        deviation_id=None,
        incident_id=None,
    )


async def escalate(deps: Deps, appointment: Appointment) -> None:
    """A step was not done in time: say so, to whom the policy names. Subject: `INV-1/acknowledge`."""
    id, _, step = appointment.subject.partition("/")
    async with deps.db.tx(appointment) as tx:
        found = await store.load(tx, Investigation, id, lock=True)
        if found is None or step not in STEPS:
            return
        policy = await policies.of(tx, found.product_id, found.policy_version)
        missed, facts = domain.escalate(found, step, getattr(policy.clocks, found.severity), tx.now)
        if facts:
            await save(tx, missed, found.version, facts, found.policy_version)
            _record(tx, missed, "escalate", step=step)


async def _investigate(
    tx: Tx,
    said: _OfALook | Expected,
    policy_version: str | None,
    *,
    kind: Literal["deviation", "absence", "not_recovered"],
    look: domain.Look,
    owner: str,
    severity: Severity,
    because: str,
    deadlines: tuple[datetime, datetime, datetime],
    deviation_id: str | None,
    incident_id: str | None,
) -> None:
    acknowledge_by, explain_by, decide_by = deadlines
    opened, facts = domain.open_investigation(
        Investigation(
            id=await store.next_id(tx, "investigation"),
            cr_id=said.cr_id,
            product_id=said.product_id,
            deployment=said.deployment,
            revision=said.revision,
            kind=kind,
            look=look,
            deviation_id=deviation_id,
            incident_id=incident_id,
            severity=severity,
            owner=owner,
            because=because,
            state="opened",
            opened_at=tx.now,
            acknowledge_by=acknowledge_by,
            explain_by=explain_by,
            decide_by=decide_by,
            policy_version=policy_version,
            evidence=_evidence(said),
        )
    )
    await save(tx, opened, 0, facts, policy_version)
    _set_clocks(tx, opened)
    _record(tx, opened, "open_investigation", because=because)
    # The rollback comes on another topic: heard before this, it ends it as it would have after.
    if look == "after" and await store.was_rolled_back(tx, said.cr_id, said.deployment):
        await _close(tx, opened, _ROLLED_BACK)


async def _close(tx: Tx, investigation: Investigation, reason: str) -> None:
    closed, facts = domain.close(investigation, reason, tx.now)
    if facts:
        await save(tx, closed, investigation.version, facts, investigation.policy_version)
        _set_clocks(tx, closed)


def _set_clocks(tx: Tx, investigation: Investigation) -> None:
    """One appointment per step that is still open; a step that is done has none."""
    for step in STEPS:
        subject = f"{investigation.id}/{step}"
        if domain.is_done(investigation, step) or step in investigation.escalated:
            tx.cancel(escalate, subject)
        else:
            tx.schedule(escalate, subject, domain.due(investigation, step))
