"""The HTTP door of incidents: parse, call one handler, answer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Response

from services.incidents import handlers
from services.incidents.commands import (
    Acknowledge,
    CaseList,
    CloseIncident,
    Decide,
    Explain,
    IncidentPage,
    IncidentView,
    InvestigationList,
    InvestigationView,
    OpenIncident,
)
from shared.doors.caller import Caller, deps_of
from shared.doors.problems import answered
from shared.doors.strict import StrictRoute

router = APIRouter(prefix="/incidents/v1", route_class=StrictRoute, tags=["incidents"])
Deps = Annotated[handlers.Deps, Depends(deps_of)]

_Only = Annotated[str | None, Query(description="Only those of it, by its id.")]
_Whether = Annotated[bool | None, Query(description="Only those that are, or are not; left out: all.")]
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "No valid key."},
    403: {"description": "This principal may not; the refusal is on the record."},
    409: {"description": "Not in this state, or a twin of this request is under way."},
    422: {"description": "Readable and wrong: `fields` says which and why."},
}
_OR_NONE: dict[int | str, dict[str, Any]] = {**_REFUSALS, 404: {"description": "There is no such thing here."}}


@router.post(
    "/incidents",
    status_code=201,
    response_model=IncidentView,
    responses=_REFUSALS,
    summary="Open an incident",
    description="Every incident owes regression cases to the next release of its product: one is made when none is named.",
)
async def open_incident(call: Caller, deps: Deps, command: OpenIncident) -> Response:
    return answered(await handlers.open_incident(deps, call, command))


@router.get(
    "/incidents",
    responses=_REFUSALS,
    summary="List incidents, newest first",
    description="Of the products that you may see, a page at a time: `next` is the cursor of the following page.",
)
async def list_incidents(
    call: Caller,
    deps: Deps,
    product: _Only = None,
    change_request: _Only = None,
    is_open: _Whether = None,
    cursor: Annotated[str | None, Query(max_length=500, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many on a page.")] = 50,
) -> IncidentPage:
    return await handlers.list_incidents(
        deps, call, product=product, cr=change_request, is_open=is_open, after=cursor, limit=limit
    )


@router.get(
    "/incidents/{id}",
    responses=_OR_NONE,
    summary="One incident with the cases it owes",
    description="Where it came from (a person, or a deviation), how grave it is, and each regression case with its proof.",
)
async def get_incident(call: Caller, deps: Deps, id: str) -> IncidentView:
    return await handlers.get_incident(deps, call, id)


@router.post(
    "/incidents/{id}/close",
    response_model=IncidentView,
    responses=_OR_NONE,
    summary="Close an incident",
    description="The work on it is over. Its regression cases stay owed until they are proven.",
)
async def close_incident(call: Caller, deps: Deps, id: str, command: CloseIncident) -> Response:
    return answered(await handlers.close_incident(deps, call, id, command))


@router.get(
    "/regression-cases",
    responses=_REFUSALS,
    summary="Regression cases owed and proven",
    description="A case is debt until it was seen to fail on the faulty version and to pass on another: mark the test with"
    " the JUnit property `daymark.case` and post its reports.",
)
async def list_cases(
    call: Caller, deps: Deps, product: _Only = None, release: _Only = None, is_debt: _Whether = None
) -> CaseList:
    return await handlers.list_cases(deps, call, product=product, release=release, is_debt=is_debt)


@router.get(
    "/investigations",
    responses=_REFUSALS,
    summary="List investigations, newest first",
    description="A deviation opens one by itself, and so does a look that has no answer: no data, inconclusive, overdue.",
)
async def list_investigations(
    call: Caller, deps: Deps, change_request: _Only = None, is_open: _Whether = None
) -> InvestigationList:
    return await handlers.list_investigations(deps, call, cr=change_request, is_open=is_open)


@router.get(
    "/investigations/{id}",
    responses=_OR_NONE,
    summary="One investigation with its clocks",
    description="Owner, each step with its deadline and who took it when, what was explained and what was decided.",
)
async def get_investigation(call: Caller, deps: Deps, id: str) -> InvestigationView:
    return await handlers.get_investigation(deps, call, id)


@router.post(
    "/investigations/{id}/acknowledge",
    response_model=InvestigationView,
    responses=_OR_NONE,
    summary="Acknowledge: somebody looks at it now",
    description="Stops the first clock. An engineer or a PTASK engineer of the product; the body may be left out.",
)
async def acknowledge(
    call: Caller, deps: Deps, id: str, command: Annotated[Acknowledge | None, Body(examples=[{}])] = None
) -> Response:
    return answered(await handlers.acknowledge(deps, call, id, command or Acknowledge()))


@router.post(
    "/investigations/{id}/explain",
    response_model=InvestigationView,
    responses=_OR_NONE,
    summary="Explain what happened and why",
    description="Stops the second clock, and acknowledges where nobody had. Keeping a change needs it.",
)
async def explain(call: Caller, deps: Deps, id: str, command: Explain) -> Response:
    return answered(await handlers.explain(deps, call, id, command))


@router.post(
    "/investigations/{id}/decide",
    response_model=InvestigationView,
    responses=_OR_NONE,
    summary="Decide: roll back, or keep with a reason",
    description="Only the PTASK engineer of the change request decides. Keeping needs an explanation first; a rollback may"
    " be decided at once and is said as `rollback.requested`.",
)
async def decide(call: Caller, deps: Deps, id: str, command: Decide) -> Response:
    return answered(await handlers.decide(deps, call, id, command))
