"""Incidents and the regression cases they owe."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from services.incidents import domain, store
from services.incidents.commands import CaseList, CloseIncident, IncidentPage, IncidentView, OpenIncident
from services.incidents.domain import Case, Incident, Release
from services.incidents.handlers.saving import Deps, may_read, save
from services.incidents.handlers.views import case_view, incident_view
from shared import policies
from shared.access import Call
from shared.answers import Answer
from shared.contracts import Event, ReleaseClosed, ReleaseFrozen, ReleasePlanned, Severity, TestsRecorded
from shared.db import Tx
from shared.errors import Invalid, NotFound
from shared.jsons import cursor, from_cursor


async def open_incident(deps: Deps, call: Call, command: OpenIncident) -> Answer:
    async with deps.db.tx(call) as tx:
        tx.may("open_incident", command.product, of=command.title)
        latest = await policies.latest(tx, command.product)
        if latest is None:
            raise Invalid(f"There is no product {command.product} here.")
        if command.change_request is not None:
            cr = await store.change_request(tx, command.change_request)
            if cr is None or cr.product_id != command.product:
                raise Invalid(f"{command.change_request} is not a change request of {command.product}.")
        assert tx.caller is not None
        is_program = "integration" in tx.caller.roles(command.product)
        incident, cases = await open_with_debt(
            tx,
            product_id=command.product,
            cr_id=command.change_request,
            title=command.title,
            description=command.description,
            severity=command.severity,
            origin="system" if is_program else "person",
            deviation_id=None,
            titles=command.regression_cases or (f"{command.title}: does not happen again",),
            policy_version=latest[0],
        )
        tx.audit(incident.id, revision=incident.version, policy_version=latest[0], cases=[one.id for one in cases])
        return tx.answer(201, incident_view(incident, cases), location=f"/incidents/v1/incidents/{incident.id}")


async def close_incident(deps: Deps, call: Call, incident_id: str, command: CloseIncident) -> Answer:
    async with deps.db.tx(call) as tx:
        incident = await store.load(tx, Incident, incident_id, lock=True)
        if incident is None:
            raise NotFound(f"There is no incident {incident_id}.")
        tx.may("close_incident", incident.product_id, of=incident_id)
        closed, facts = domain.close_incident(incident, command.reason, tx.now)
        policy_version = await policies.in_force(tx, incident.product_id)
        await save(tx, closed, incident.version, facts, policy_version)
        tx.audit(incident_id, revision=closed.version, policy_version=policy_version, reason=command.reason)
        return tx.answer(200, incident_view(closed, await store.cases_of(tx, incident_ids=[incident_id])))


async def get_incident(deps: Deps, call: Call, id: str) -> IncidentView:
    async with deps.db.read(call) as tx:
        found = await store.load(tx, Incident, id)
        if found is None or not may_read(tx, found.product_id):
            raise NotFound(f"There is no incident {id}.")
        return incident_view(found, await store.cases_of(tx, incident_ids=[id]))


async def list_incidents(
    deps: Deps,
    call: Call,
    *,
    product: str | None,
    cr: str | None,
    is_open: bool | None,
    after: str | None,
    limit: int,
) -> IncidentPage:
    async with deps.db.read(call) as tx:
        assert tx.caller is not None
        at: tuple[Any, str] | None = None
        if after is not None:
            at = _place(after)
        found = await store.list_incidents(
            tx, products=tx.caller.products(), product=product, cr=cr, is_open=is_open, after=at, limit=limit + 1
        )
        page = found[:limit]
        cases = await store.cases_of(tx, incident_ids=[one.id for one in page])
        more = cursor(page[-1].opened_at.isoformat(), page[-1].id) if len(found) > limit else None
        items = [incident_view(one, [case for case in cases if case.incident_id == one.id]) for one in page]
        return IncidentPage(items=items, next=more)


def _place(after: str) -> tuple[datetime, str]:
    """Where the page before ended. Raises Invalid for a cursor that is none of ours, however it is made up."""
    opened, last = from_cursor(after, str, str)
    try:
        at = datetime.fromisoformat(opened)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Invalid("The cursor is none of ours.", fields=[{"path": "query.cursor", "message": "is none of ours"}])
    return at, last


async def list_cases(
    deps: Deps, call: Call, *, product: str | None, release: str | None, is_debt: bool | None
) -> CaseList:
    async with deps.db.read(call) as tx:
        assert tx.caller is not None
        found = await store.list_cases(
            tx, products=tx.caller.products(), product=product, release=release, is_debt=is_debt
        )
        return CaseList(items=[case_view(one) for one in found])


async def on_release(tx: Tx, event: Event[ReleasePlanned] | Event[ReleaseFrozen] | Event[ReleaseClosed]) -> None:
    """Debt without a release is owed by the next one planned; what a closed one leaves unproven moves on."""
    said = event.data
    state: Literal["planned", "frozen", "closed"] = (
        "planned" if isinstance(said, ReleasePlanned) else "frozen" if isinstance(said, ReleaseFrozen) else "closed"
    )
    await store.lock_product(tx, said.product_id)
    release = Release(said.release_id, said.product_id, said.planned_at, state)
    if not await store.put_release(tx, release, event.sequence) or state == "frozen":
        return
    owing = domain.owing_release(await store.releases_of(tx, said.product_id))
    for case in await store.unproven(tx, said.product_id):
        if case.release_id is None or (state == "closed" and case.release_id == said.release_id):
            owed, facts = domain.owe(case, owing, tx.now)
            if facts:
                await save(tx, owed, case.version, facts, event.policy_version)


async def on_tests_recorded(tx: Tx, event: Event[TestsRecorded]) -> None:
    """A case that was seen to fail is red; seen to pass on another commit after that, it is proven."""
    said = event.data
    if not said.marked or said.outcome == "inconsistent":
        return
    found = await store.locked_cases(tx, [one.case_id for one in said.marked])
    for marked in said.marked:
        case = found.get(marked.case_id)
        if case is None or case.product_id != said.product_id:
            continue
        seen, facts = domain.see_case(
            case, marked.outcome, commit=said.commit or said.artifact, result_id=said.result_id, now=tx.now
        )
        if facts:
            await save(tx, seen, case.version, facts, event.policy_version)
            found[case.id] = seen


async def open_with_debt(
    tx: Tx,
    *,
    product_id: str,
    cr_id: str | None,
    title: str,
    description: str,
    severity: Severity,
    origin: Literal["person", "deviation", "system"],
    deviation_id: str | None,
    titles: Sequence[str],
    policy_version: str | None,
) -> tuple[Incident, list[Case]]:
    """An incident and the cases it owes, each to the release that must pay."""
    await store.lock_product(tx, product_id)
    fresh = Incident(
        await store.next_id(tx, "incident"), product_id, cr_id, title[:200], description, severity, origin,
        deviation_id, tx.now,
    )  # fmt: skip
    incident, facts = domain.open_incident(fresh)
    await save(tx, incident, 0, facts, policy_version)
    release = domain.owing_release(await store.releases_of(tx, product_id))
    cases = []
    for name in titles:
        case, facts = domain.owe(
            Case(await store.next_id(tx, "case"), incident.id, product_id, name, None, "owed", incident.opened_at),
            release,
            tx.now,
        )
        await save(tx, case, 0, facts, policy_version)
        cases.append(case)
    return incident, cases
