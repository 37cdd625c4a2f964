"""The door to a dry run of a product's queries."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from services.snapshotter import handlers
from services.snapshotter.api.refusals import LISTING
from services.snapshotter.commands import CheckView
from shared.doors.caller import Caller, deps_of
from shared.doors.problems import answered
from shared.doors.strict import StrictRoute

router = APIRouter(prefix="/snapshotter/v1", route_class=StrictRoute, tags=["sources"])
Deps = Annotated[handlers.Deps, Depends(deps_of)]


@router.get(
    "/products/{id}/sli-check",
    response_model=CheckView,
    responses={
        **LISTING,
        404: {"description": "No policy of this product is known, or you have no role on it."},
    },
    summary="Try a product's queries",
    description=(
        "Asks each query of the product's newest policy over the last `hours` and says which return nothing, several series,"
        " NaN, or gaps; with what the source said. Nothing is kept. It takes up to a minute."
    ),
)
async def check_slis(
    call: Caller,
    deps: Deps,
    id: Annotated[str, Path(min_length=1, max_length=64)],
    hours: Annotated[float, Query(ge=0.05, le=24, description="How far back each query is asked, in hours.")] = 1,
) -> Response:
    return answered(await handlers.check_slis(deps, call, id, hours))
