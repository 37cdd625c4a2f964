"""The doors to snapshots and to the observation of a CR."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from services.snapshotter import handlers
from services.snapshotter.api.refusals import LISTING, READING
from services.snapshotter.commands import ObservationView, PublishSnapshot, SamplesView, SnapshotPage, SnapshotView
from shared.contracts import SnapshotKind
from shared.doors.caller import Caller, deps_of
from shared.doors.problems import answered
from shared.doors.strict import StrictRoute

router = APIRouter(prefix="/snapshotter/v1", route_class=StrictRoute, tags=["snapshots"])
Deps = Annotated[handlers.Deps, Depends(deps_of)]
_Id = Annotated[str, Path(min_length=1, max_length=64)]
_Filter = Annotated[str | None, Query(min_length=1, max_length=64, description="Only those of it, by its id.")]


@router.post(
    "/snapshots",
    status_code=201,
    response_model=SnapshotView,
    responses={
        **READING,
        403: {"description": "Not of operations, or author or deployer of this CR; the refusal is on the record."},
        409: {
            "description": "No SLI can be read at all and waiting will not help, or something speaks against the window that"
            " `despite` does not answer: `fields` gives each, `detail` says which window or benchmark is clear of it."
        },
        503: {"description": "No SLI can be read because a source is down; `fields` gives each reason. Try again."},
    },
    summary="Publish a benchmark now",
    description=(
        "Reads every SLI of the product's policy over 24 hours, the last ones if `window_end` does not say otherwise, which"
        " takes up to a minute, and publishes the readings as the benchmark of one CR, or of a product for all its CRs. SLIs"
        " that cannot be read are named with their reason. A window may not lie in a run that is still observed: ask for the"
        " 24 hours before it. With an `Idempotency-Key`, a repeat gets the first answer and reads nothing again."
        " A benchmark that is published after the deploy is *late*: it is kept, and satisfies nothing."
    ),
)
async def publish_snapshot(call: Caller, deps: Deps, command: PublishSnapshot) -> Response:
    return answered(await handlers.publish_snapshot(deps, call, command))


@router.get(
    "/snapshots",
    response_model=SnapshotPage,
    responses=LISTING,
    summary="List snapshots, newest first",
    description="Of one CR (`change_request`: benchmarks made for it, looks after its deploys), of a `product`, or all.",
)
async def list_snapshots(
    call: Caller,
    deps: Deps,
    change_request: _Filter = None,
    product: _Filter = None,
    kind: Annotated[SnapshotKind | None, Query(description="Only of this kind.")] = None,
    cursor: Annotated[
        str | None, Query(pattern=r"^SNAP-[0-9]{1,18}$", description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many on a page.")] = 50,
) -> Response:
    return answered(
        await handlers.list_snapshots(
            deps, call, cr_id=change_request, product_id=product, kind=kind, cursor=cursor, limit=limit
        )
    )


@router.get(
    "/snapshots/{id}",
    response_model=SnapshotView,
    responses=READING,
    summary="One snapshot",
    description="Window, hash, author, and per SLI: query, source, numbers over its samples or why there are none.",
)
async def read_snapshot(call: Caller, deps: Deps, id: _Id) -> Response:
    return answered(await handlers.read_snapshot(deps, call, id))


@router.get(
    "/snapshots/{id}/series",
    response_model=SamplesView,
    responses={
        **READING,
        200: {
            "description": "As JSON, CSV (`sli,at,value`) or an Arrow IPC stream of the same columns.",
            "content": {"text/csv": {}, "application/vnd.apache.arrow.stream": {}},
        },
        503: {"description": "The samples lie in an object store that does not answer. Try again."},
    },
    summary="Samples of a snapshot, streamed",
    description=(
        "`?sli=latency-p95&sli=errors` for some SLIs, all without it. One value per step from `start_s` on; null (NaN in"
        " Arrow, nothing in CSV) where there is no number. `format`, or else `Accept`, chooses JSON, CSV or Arrow."
        "\n\n`with=SNAP-2` puts another snapshot beside, each of its steps where the clock shows the same time of day (UTC)."
        " `points=800` gives at most so many steps, each with the least and the largest sample in it: no spike is lost."
        " When the raw samples of either have expired, `resolution` is `hourly`: min, median, p95 and max of each hour."
    ),
)
async def read_series(
    call: Caller,
    deps: Deps,
    id: _Id,
    sli: Annotated[list[str] | None, Query(description="Ids of SLIs; all when none is given.", max_length=500)] = None,
    beside: Annotated[
        str | None, Query(alias="with", pattern=r"^SNAP-[0-9]{1,18}$", description="Another snapshot.")
    ] = None,
    points: Annotated[int | None, Query(ge=2, le=20_000, description="At most so many steps.")] = None,
    format: Annotated[
        Literal["json", "csv", "arrow"] | None, Query(description="Left out: what `Accept` says.")
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    chosen = format or _wanted(accept)
    found = await handlers.read_series(
        deps, call, id, slis=list(dict.fromkeys(sli or ())), beside=beside, points=points, form=chosen
    )
    return StreamingResponse(found.pieces, media_type=found.media_type)


def _wanted(accept: str) -> Literal["json", "csv", "arrow"]:
    """The first of our formats that is named; JSON for whoever does not care."""
    for each in accept.lower().split(","):
        name = each.partition(";")[0].strip()
        if name == "text/csv":
            return "csv"
        if name == "application/vnd.apache.arrow.stream":
            return "arrow"
        if name in ("application/json", "*/*"):
            break
    return "json"


@router.get(
    "/change-requests/{id}/observation",
    response_model=ObservationView,
    responses=READING,
    summary="Where the observation of a CR stands",
    description=(
        "Every deployment with its benchmark and its looks: `after` (24 hours from the deploy) and `recovery` (after a"
        " rollback), with window, due time, state, outcome and a sentence per SLI. What a correction superseded stays"
        " readable. There is no door that says *verified*: only a verdict does."
    ),
)
async def read_observation(call: Caller, deps: Deps, id: _Id) -> Response:
    return answered(await handlers.read_observation(deps, call, id))
