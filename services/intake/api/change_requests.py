"""Doors of change requests."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Body, Header, Query, Response

from services.intake import handlers
from services.intake.api.doors import OR_NONE, READ, REFUSALS, Cursor, Deps, Limit, Only, door
from services.intake.commands import CRDetail, CRReported, CRs, CRView, RecordCodeReview
from services.intake.handlers.cursors import PAGE
from shared.access import person
from shared.contracts.inbound import ChangeCR, RegisterCR, ReportDeployed, ReportRolledBack, WithdrawCR
from shared.doors.caller import Caller
from shared.doors.problems import answered
from shared.errors import Invalid

router = door("change requests")

_CR = {
    "product": "epl",
    "release": "epl-2026.12",
    "source": "servicenow",
    "external_id": "CHG0041",
    "title": "Cache the rate tables",
    "author": "corp|ada",
    "ptask": "corp|grace",
    "kind": "normal",
    "planned_start": "2026-12-01T08:00:00Z",
    "planned_end": "2026-12-01T10:00:00Z",
    "backout_plan": "Deploy the image before it.",
    "commit": "4f2c9d1",
    "link": "https://servicenow.example/CHG0041",
}


@router.post(
    "/change-requests",
    status_code=201,
    response_model=CRView,
    responses={**REFUSALS, 200: {"model": CRView, "description": "Exactly this was registered before."}},
    summary="Register a CR",
    description="(source, external_id) is one CR, by whichever door it comes: the same content again answers 200 with the"
    " existing one, other content 409. Into a frozen release only a release manager may register.",
)
async def register_cr(call: Caller, deps: Deps, command: Annotated[RegisterCR, Body(examples=[_CR])]) -> Response:
    return answered(await handlers.register_cr(deps, call, command))


@router.get(
    "/change-requests",
    responses=READ,
    summary="CRs, newest first",
    description="Of the products that you may see, a page at a time; each filter given must hold. `author` and `ptask` are"
    " `issuer|subject`, or a subject of the local issuer.",
)
async def list_crs(
    call: Caller,
    deps: Deps,
    product: Only = None,
    release: Only = None,
    source: Only = None,
    external_id: Only = None,
    author: Only = None,
    ptask: Only = None,
    state: Annotated[
        Literal["registered", "deployed", "rolled_back", "withdrawn"] | None, Query(description="Only in this state.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = PAGE,
) -> CRs:
    wanted = handlers.CRFilter(
        product_id=product,
        release_id=release,
        source=source,
        external_id=external_id,
        author=author and person(author),
        ptask=ptask and person(ptask),
        state=state,
    )
    return await handlers.list_crs(deps, call, wanted, cursor, limit)


@router.get(
    "/change-requests/{id}",
    responses=READ,
    summary="One CR with its deployments, rollbacks, test results and code reviews",
    description="What was said of it here. How it stands, with review, snapshots and verdict: its dossier at"
    " `/reviewer/v1/change-requests/{id}/dossier`.",
)
async def get_cr(call: Caller, deps: Deps, id: str) -> CRDetail:
    return await handlers.get_cr(deps, call, id)


@router.patch(
    "/change-requests/{id}",
    response_model=CRReported,
    responses=OR_NONE,
    summary="Change a CR",
    description="Reschedule it, move it to another release, name its people, its commit. A field left out stays; null"
    " empties. `If-Match` (or `revision`) refuses with 409 `stale` when the CR changed since. What is in production, or in"
    " a frozen release (there: for all but a release manager), keeps its kind, author, release, planned window, commit"
    " and artifact; the words and the PTASK engineer may still be put right.",
)
async def change_cr(
    call: Caller,
    deps: Deps,
    id: str,
    command: Annotated[ChangeCR, Body(examples=[{"planned_start": "2026-12-02T08:00:00Z", "planned_end": None}])],
    if_match: Annotated[str | None, Header(description='The revision you saw, for example `"3"`.')] = None,
) -> Response:
    return answered(await handlers.change_cr(deps, call, id, _matching(command, if_match)))


def _matching(command: ChangeCR, if_match: str | None) -> ChangeCR:
    if if_match is None or if_match.strip() == "*":
        return command
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid('If-Match is one revision, for example "3".')
    if command.revision is not None and command.revision != int(text):
        raise Invalid("If-Match and revision say different things.")
    return command.model_copy(update={"revision": int(text)})


@router.post(
    "/change-requests/{id}/deployed",
    response_model=CRReported,
    responses=OR_NONE,
    summary="Report that it was deployed",
    description="Never refused because of the CR's state; what went against the process is flagged in `against_process`."
    " May come late. The same again changes nothing; another time is a correction: the deployment's `revision` rises and"
    " everything that hangs on it moves. After a rollback, a later time is the next deployment.",
)
async def report_deployed(
    call: Caller,
    deps: Deps,
    id: str,
    command: Annotated[ReportDeployed, Body(examples=[{"deployed_at": "2026-12-01T08:12:00Z", "commit": "4f2c9d1"}])],
) -> Response:
    return answered(await handlers.report_deployed(deps, call, id, command))


@router.post(
    "/change-requests/{id}/rolled-back",
    response_model=CRReported,
    responses=OR_NONE,
    summary="Report that it was rolled back",
    description="About the latest deployment unless `deployment` says another. Corrected like a deployment. 409 only when"
    " no deployment was ever reported.",
)
async def report_rolled_back(
    call: Caller,
    deps: Deps,
    id: str,
    command: Annotated[
        ReportRolledBack, Body(examples=[{"rolled_back_at": "2026-12-02T09:00:00Z", "reason": "p99 doubled"}])
    ],
) -> Response:
    return answered(await handlers.report_rolled_back(deps, call, id, command))


@router.post(
    "/change-requests/{id}/withdrawn",
    response_model=CRReported,
    responses=OR_NONE,
    summary="Withdraw it before it is deployed",
    description="The gate says no from then on. What is deployed all the same is recorded and flagged; once it was deployed"
    " the answer is 409.",
)
async def withdraw_cr(
    call: Caller,
    deps: Deps,
    id: str,
    command: Annotated[WithdrawCR, Body(examples=[{"reason": "Not needed any more"}])],
) -> Response:
    return answered(await handlers.withdraw_cr(deps, call, id, command))


@router.post(
    "/change-requests/{id}/code-review",
    status_code=201,
    response_model=CRReported,
    responses=OR_NONE,
    summary="Record that engineering reviewed it",
    description="By an engineer; neither caller nor reviewer may be (or have been) its author, have registered it, or belong"
    " to operations. It counts for the revision that the CR has now.",
)
async def record_code_review(
    call: Caller,
    deps: Deps,
    id: str,
    command: Annotated[
        RecordCodeReview,
        Body(examples=[{"reviewed_at": "2026-11-30T15:00:00Z", "where": "https://git.example/epl/merge/812"}]),
    ],
) -> Response:
    return answered(await handlers.record_code_review(deps, call, id, command))
