"""Doors of releases."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Response

from services.intake import handlers
from services.intake.api.doors import OR_NONE, READ, REFUSALS, Cursor, Deps, Limit, Only, door
from services.intake.commands import PlanRelease, Releases, ReleaseView
from services.intake.handlers.cursors import PAGE
from shared.doors.caller import Caller
from shared.doors.problems import answered

router = door("releases")


@router.post(
    "/releases",
    status_code=201,
    response_model=ReleaseView,
    responses={**REFUSALS, 200: {"model": ReleaseView, "description": "Exactly this was planned before."}},
    summary="Plan a release",
    description="201 with `Location`; 200 when exactly this was planned before; 409 when the name is taken otherwise.",
)
async def plan_release(
    call: Caller,
    deps: Deps,
    command: Annotated[
        PlanRelease,
        Body(examples=[{"product": "epl", "name": "2026.12", "planned_at": "2026-12-01T08:00:00Z"}]),
    ],
) -> Response:
    return answered(await handlers.plan_release(deps, call, command))


@router.get(
    "/releases",
    responses=READ,
    summary="Releases, newest first",
    description="Of the products that you may see, or of one; a page at a time: `next` is the cursor of the following page.",
)
async def list_releases(
    call: Caller, deps: Deps, product: Only = None, cursor: Cursor = None, limit: Limit = PAGE
) -> Releases:
    return await handlers.list_releases(deps, call, product, cursor, limit)


@router.get(
    "/releases/{id}",
    responses=READ,
    summary="One release",
    description="What was planned, and when it was frozen or closed. Its change requests with all their evidence are at"
    " `/reviewer/v1/releases/{id}`.",
)
async def get_release(call: Caller, deps: Deps, id: str) -> ReleaseView:
    return await handlers.get_release(deps, call, id)


@router.post(
    "/releases/{id}/freeze",
    response_model=ReleaseView,
    responses=OR_NONE,
    summary="Freeze a release",
    description="From now on only a release manager changes which CRs are in it and what they bring.",
)
async def freeze_release(call: Caller, deps: Deps, id: str) -> Response:
    return answered(await handlers.freeze_release(deps, call, id))


@router.post(
    "/releases/{id}/close",
    response_model=ReleaseView,
    responses=OR_NONE,
    summary="Close a release",
    description="It is over: nothing is scheduled for it any more, what was in it stays in it, and cases that it still owes"
    " are assigned to the next planned release of the product.",
)
async def close_release(call: Caller, deps: Deps, id: str) -> Response:
    return answered(await handlers.close_release(deps, call, id))
