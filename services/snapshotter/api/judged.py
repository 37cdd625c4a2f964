"""The doors around verdicts: the anchor, computing a verdict again."""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from services.snapshotter import handlers
from services.snapshotter.api.refusals import READING
from services.snapshotter.commands import (
    AnchorView,
    BacktestView,
    CalibrationView,
    ChooseAnchor,
    RecomputationView,
    RunBacktest,
)
from shared.contracts import ObservationKind
from shared.doors.caller import Caller, deps_of
from shared.doors.problems import answered
from shared.doors.strict import StrictRoute

router = APIRouter(prefix="/snapshotter/v1", route_class=StrictRoute, tags=["verdicts"])
Deps = Annotated[handlers.Deps, Depends(deps_of)]
_Id = Annotated[str, Path(min_length=1, max_length=64)]
_STYLE = base64.b64encode(hashlib.sha256(handlers.SMALL_STYLE.encode()).digest()).decode()
_PICTURE_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE}'"


@router.post(
    "/products/{id}/anchor",
    status_code=201,
    response_model=AnchorView,
    responses={
        **READING,
        403: {"description": "Not of operations; the refusal is on the record."},
        409: {
            "description": "It is no benchmark of this product, the anchor already, or of a run that deviated or is"
            " observed and `despite` does not answer that: `fields` names each."
        },
    },
    summary="Choose the anchor of a product",
    description=(
        "From now on every deploy of the product is held against this benchmark beside its own, so that small steps that"
        " each passed are seen when they add up. The anchor never moves because a CR was verified: this act moves it, with"
        " its reason, on the record. Deploys before it stay held against the anchor of their time. Until operations"
        " chooses, it is the day after the release that was verified first within the policy's `observation.anchor_days`"
        " (a steady final look, no rollback); with none there is no anchor, and verdicts say that creep was not looked at."
        " A benchmark of a run that deviated or is observed needs a reason in `despite`, and shows it for as long"
        " as it holds; when the run deviates after the choice, the anchor is doubted until operations chooses again."
    ),
)
async def choose_anchor(call: Caller, deps: Deps, id: _Id, command: ChooseAnchor) -> Response:
    return answered(await handlers.choose_anchor(deps, call, id, command))


@router.get(
    "/products/{id}/anchor",
    response_model=AnchorView,
    responses=READING,
    summary="The anchor of a product",
    description=(
        "What a deploy now would be held against for creep: the benchmark that operations chose, with who and why, or the"
        " release that was verified first within the horizon; else why there is none. And every choice before."
    ),
)
async def read_anchor(call: Caller, deps: Deps, id: _Id) -> Response:
    return answered(await handlers.read_anchor(deps, call, id))


@router.get(
    "/products/{id}/calibration",
    response_model=CalibrationView,
    responses=READING,
    summary="Which limits hold for a product",
    description=(
        "A product calibrates itself: each day is kept and held against the day before. Once `needed` non-overlapping pairs without"
        " a deploy or an incident are there (by those facts, never by the judge's verdict), its own limit holds, split"
        " conformal at `alpha`; until then the shipped one. Shows n, the false-alarm rate on later pairs with its interval,"
        " and each pair with why it is left out."
    ),
)
async def read_calibration(call: Caller, deps: Deps, id: _Id) -> Response:
    return answered(await handlers.read_calibration(deps, call, id))


@router.post(
    "/products/{id}/backtest",
    response_model=BacktestView,
    responses={
        **READING,
        403: {"description": "Not of operations, engineering or release management; the refusal is on the record."},
    },
    summary="Judge stored verdicts under a changed policy",
    description=(
        "Which verdicts of the product would flip if this policy were in force: its limits, directions, shadows, settle"
        " delay, history, age of the benchmark and horizon of the anchor, on the samples that were stored. Nothing is read from a"
        " source and nothing changes. What cannot be tested, such as an SLI with another query, is named in `notes`."
    ),
)
async def backtest(call: Caller, deps: Deps, id: _Id, command: RunBacktest) -> Response:
    return answered(await handlers.backtest(deps, call, id, command))


@router.get(
    "/change-requests/{id}/recomputation",
    response_model=RecomputationView,
    responses={**READING, 409: {"description": "There is no verdict yet, or its grounds are not kept any more."}},
    summary="Compute the verdicts on a CR again",
    description=(
        "From the stored samples of the after snapshot, the benchmark, the anchor and the days before, under the policy"
        " and limits of then: the same outcomes and views, and every stored number within 1e-8, or each difference."
    ),
)
async def recompute(call: Caller, deps: Deps, id: _Id) -> Response:
    return answered(await handlers.recompute(deps, call, id))


@router.get(
    "/change-requests/{id}/explanation",
    response_class=Response,
    responses={
        **READING,
        200: {"content": {"image/svg+xml": {}}, "description": "The picture, with its sentence as its description."},
        409: {"description": "There is no verdict of this kind that holds (yet)."},
    },
    summary="The picture behind an answer",
    description=(
        "Before, after, earlier days and the anchor of one SLI laid over each other by the clock, from stored samples, with"
        " the minutes that were left out, from when the change is seen, and what fired. SVG without scripts or links."
    ),
)
async def explain(
    call: Caller,
    deps: Deps,
    id: _Id,
    sli: Annotated[str, Query(min_length=1, max_length=64, description="Id of an SLI.")],
    kind: Annotated[ObservationKind, Query(description="Which look at that deployment.")] = "after",
    deployment: Annotated[int | None, Query(ge=1, le=1_000_000, description="The last one when not given.")] = None,
    small: Annotated[bool, Query(description="Lines and axes alone, for a page that says the rest.")] = False,
) -> Response:
    drawn = await handlers.explain(deps, call, id, sli, kind=kind, deployment=deployment, is_small=small)
    return Response(drawn, media_type="image/svg+xml", headers={"Content-Security-Policy": _PICTURE_POLICY})
