"""The doors of drafts and pins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from services.snapshotter import handlers
from services.snapshotter.api.refusals import ACTING, READING
from services.snapshotter.commands import (
    DraftSnapshot,
    EndPin,
    PinBenchmark,
    PinList,
    PinView,
    PublishDraft,
    SnapshotView,
    UpholdBenchmark,
)
from shared.doors.caller import Caller, deps_of
from shared.doors.problems import answered
from shared.doors.strict import StrictRoute

router = APIRouter(prefix="/snapshotter/v1", route_class=StrictRoute, tags=["benchmarks"])
Deps = Annotated[handlers.Deps, Depends(deps_of)]
_Snapshot = Annotated[str, Path(pattern=r"^SNAP-[0-9]{1,18}$")]
_Pin = Annotated[str, Path(pattern=r"^PIN-[0-9]{1,18}$")]


@router.post(
    "/drafts",
    status_code=201,
    response_model=SnapshotView,
    responses={
        **ACTING,
        409: {"description": "No SLI can be read at all and waiting will not help; `fields` gives each reason."},
        503: {"description": "No SLI can be read because a source is down; `fields` gives each reason. Try again."},
    },
    summary="Draft a benchmark now",
    description=(
        "Reads every SLI of the policy over 24 hours (the last ones without `window_end`) and keeps them as a draft with its"
        " health: gaps, flat lines, a deviation of its own against the days before. A draft is no benchmark and satisfies"
        " nothing until operations publishes it. One is drafted by itself when a review is requested and no good benchmark"
        " is there."
    ),
)
async def draft_snapshot(call: Caller, deps: Deps, command: DraftSnapshot) -> Response:
    return answered(await handlers.draft_snapshot(deps, call, command))


@router.post(
    "/drafts/{id}/publish",
    status_code=201,
    response_model=SnapshotView,
    responses={
        **ACTING,
        409: {
            "description": "It is no draft, was published already, is too old, or something speaks against it that"
            " `despite` does not answer: `fields` names each."
        },
    },
    summary="Publish a draft as the benchmark",
    description=(
        "By operations, after looking at its health. The benchmark has a number of its own, the draft's window,"
        " readings and hash, and names the draft. What speaks against it must be answered in `despite`, each with a"
        " reason; that its window lies in a run that deviated, or that is still observed, is such a thing as well."
    ),
)
async def publish_draft(call: Caller, deps: Deps, id: _Snapshot, command: PublishDraft) -> Response:
    return answered(await handlers.publish_draft(deps, call, id, command))


@router.post(
    "/benchmarks/{id}/uphold",
    status_code=201,
    response_model=SnapshotView,
    responses={
        **ACTING,
        409: {
            "description": "It is no benchmark, nothing was said against it, it is too old, or something speaks against it"
            " that `despite` does not answer: `fields` names each."
        },
    },
    summary="Answer for a benchmark whose run deviated since",
    description=(
        "A benchmark whose window lies in a run that deviated after it was published is in the state `deviated` and"
        " satisfies nothing. By operations, with a reason for `deviated`, its readings are published anew: a benchmark"
        " with a number of its own, that corrects the old one. What was answered for its own health need not be again."
        " A pinned one is answered for by pinning it anew."
    ),
)
async def uphold_benchmark(call: Caller, deps: Deps, id: _Snapshot, command: UpholdBenchmark) -> Response:
    return answered(await handlers.uphold_benchmark(deps, call, id, command))


@router.post(
    "/pins",
    status_code=201,
    response_model=PinView,
    responses={
        **ACTING,
        409: {"description": "No benchmark of this product, or of a run that deviated or is observed."},
    },
    summary="Pin a benchmark for a product",
    description=(
        "Until it expires, or is ended, this benchmark is the one of every CR of the product that is deployed, whatever"
        " is published meanwhile, and the policy's age limit does not touch it. When it has expired nothing takes its"
        " place by itself: the gate and the review say `expired` until operations publishes or pins one, or ends it."
        " A later pin takes the place of an earlier one. For a CR that was deployed before, a pin changes nothing."
    ),
)
async def pin_benchmark(call: Caller, deps: Deps, command: PinBenchmark) -> Response:
    return answered(await handlers.pin_benchmark(deps, call, command))


@router.post(
    "/pins/{id}/end",
    response_model=PinView,
    responses={**ACTING, 409: {"description": "It holds no longer, or a later pin has taken its place."}},
    summary="Take a pin off",
    description="The latest published benchmark counts again. An expired pin need not be ended: publish or pin anew.",
)
async def end_pin(call: Caller, deps: Deps, id: _Pin, command: EndPin) -> Response:
    return answered(await handlers.end_pin(deps, call, id, command))


@router.get(
    "/pins",
    response_model=PinList,
    responses=READING,
    summary="The pins of a product",
    description="Newest first, ended and expired ones included. The first one is the one that decides.",
)
async def list_pins(
    call: Caller, deps: Deps, product: Annotated[str, Query(min_length=1, max_length=64, description="Whose.")]
) -> Response:
    return answered(await handlers.list_pins(deps, call, product))
