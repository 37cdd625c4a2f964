"""The JSON doors of the reviewer. Bearer key in `Authorization`; `Idempotency-Key` on every POST."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict

from services.reviewer import handlers
from services.reviewer.commands import AcknowledgeReview, DecideGo, GiveReview
from services.reviewer.domain.document import DossierDocument, ReleaseDocument
from shared.answers import Answer
from shared.contracts import Enforcement, GateReason, ItemAnswer, ReviewItem
from shared.contracts.reviews import Verdict
from shared.doors.caller import Caller, deps_of
from shared.doors.problems import answered
from shared.doors.strict import StrictRoute
from shared.jsons import dumps

router = APIRouter(prefix="/reviewer/v1", route_class=StrictRoute, tags=["reviewer"])
Deps = Annotated[handlers.Deps, Depends(deps_of)]
CRId = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$", examples=["CR-7"])]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class GateView(_View):
    """The one answer for deployers."""

    answer_id: str
    cr_id: str
    go: bool
    is_ready: bool
    enforcement: Enforcement
    reasons: tuple[GateReason, ...]
    digest: str
    policy_version: str | None
    as_of: datetime | None
    at: datetime


class ReviewView(_View):
    """An input as it was taken."""

    review_id: str
    cr_id: str
    verdict: Verdict
    digest: str
    items: tuple[ReviewItem, ...]
    by: str
    at: datetime


class AcknowledgedView(_View):
    cr_id: str
    reviews: tuple[str, ...]
    answers: tuple[ItemAnswer, ...]
    by: str
    at: datetime


class GoView(_View):
    cr_id: str
    decision: Literal["go", "no_go"]
    reason: str
    digest: str
    by: str
    at: datetime


class ReleasesView(_View):
    releases: tuple[ReleaseDocument, ...]


def _nos(**more: str) -> dict[int | str, dict[str, Any]]:
    """The noes that a door can give, for the document; all are `application/problem+json`."""
    known = {"401": "No valid key.", "503": "The database does not answer; nothing was changed.", **more}
    return {
        int(status.removeprefix("s")): {
            "description": words,
            "content": {"application/problem+json": {"schema": {"type": "object"}}},
        }
        for status, words in known.items()
    }


_SEEN = {"s404": "No such thing is known here, or not to you."}
_ACTED = {
    **_SEEN,
    "s403": "Your role, or your hand in the change, does not allow it. Written to the record.",
    "s409": "`stale`: the dossier changed since your digest, with what changed. `conflict`: deployed, withdrawn, unanswered.",
    "s422": "A field is missing, unknown or out of range; or the Idempotency-Key was used for another body.",
}


@router.get(
    "/change-requests/{cr_id}/dossier",
    summary="Everything on one CR",
    description="Facts, evidence, input, decision, deployments and what came of them, with the stage and the digest of the"
    " pre-deploy part. `as_of` is the time up to which every service was heard.",
    response_model=DossierDocument,
    responses=_nos(**_SEEN),
)
async def read_dossier(call: Caller, deps: Deps, cr_id: CRId) -> Response:
    return _shown(await handlers.read_dossier(deps, call, cr_id))


@router.get(
    "/gate/{cr_id}",
    summary="May this CR go?",
    description="`go` is the answer; `is_ready` says whether anything is missing. Under `observe` and `advise` the gate says what"
    " is missing and lets go. No (stale) when facts are older than the policy allows, or one of them is parked. Every new"
    " answer is stored and is a fact; `heard` waits up to 10 s for an event id that a write returned in `daymark-events`.",
    response_model=GateView,
    responses=_nos(**_SEEN, s403="The key is not scoped for `ask_gate`."),
)
async def ask_gate(
    call: Caller,
    deps: Deps,
    cr_id: CRId,
    heard: Annotated[
        str | None,
        Query(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$", description="an event id to wait for"),
    ] = None,
) -> Response:
    return answered(await handlers.ask_gate(deps, call, cr_id, heard))


@router.post(
    "/reviews",
    status_code=201,
    summary="Operations gives its input on a CR",
    description="Bound to the dossier's digest: when it is no longer the present one, the answer is 409 `stale` and says what"
    " changed. Nobody who wrote, registered, changed or deployed the change gives input on it. `not_ready` and `need_more`"
    " raise items that the PTASK engineer must answer before a go.",
    response_model=ReviewView,
    responses=_nos(**_ACTED),
)
async def give_review(call: Caller, deps: Deps, command: GiveReview) -> Response:
    return answered(await handlers.give_review(deps, call, command))


@router.post(
    "/change-requests/{cr_id}/acknowledge",
    summary="The PTASK engineer acknowledges an input and answers its items",
    description="Each item is named by its id, and by `review_id` where several inputs are open. Once all items are answered"
    " the PTASK engineer may decide; operations may give another input.",
    response_model=AcknowledgedView,
    responses=_nos(**_ACTED),
)
async def acknowledge(call: Caller, deps: Deps, cr_id: CRId, command: AcknowledgeReview) -> Response:
    return answered(await handlers.acknowledge_review(deps, call, cr_id, command))


@router.post(
    "/change-requests/{cr_id}/go",
    summary="The PTASK engineer decides go or no-go",
    description="Bound to the dossier's digest. Refused while an item of operations is unanswered; `answers` in the same body"
    " answer them in the same breath.",
    response_model=GoView,
    responses=_nos(**_ACTED),
)
async def decide_go(call: Caller, deps: Deps, cr_id: CRId, command: DecideGo) -> Response:
    return answered(await handlers.decide_go(deps, call, cr_id, command))


@router.get(
    "/releases",
    summary="Everything scheduled, all products",
    description="Every release of the products you may see that is not closed, each CR with evidence, debt, input, snapshots,"
    " deviation, stage and the gate's reasons (computed; asking here stores no answer).",
    response_model=ReleasesView,
    responses=_nos(),
)
async def read_releases(
    call: Caller, deps: Deps, closed: Annotated[bool, Query(description="closed releases as well")] = False
) -> Response:
    return _shown({"releases": await handlers.read_releases(deps, call, with_closed=closed)})


@router.get(
    "/releases/{release_id}",
    summary="One release and every CR scheduled for it",
    description="The release page as JSON: each CR with evidence, debt, input, snapshots, deviation, stage and the gate's"
    " reasons, and what the product owes from past incidents.",
    response_model=ReleaseDocument,
    responses=_nos(**_SEEN),
)
async def read_release(
    call: Caller,
    deps: Deps,
    release_id: Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$", examples=["epl-26.11"])],
) -> Response:
    return _shown(await handlers.read_release(deps, call, release_id))


def _shown(document: object) -> Response:
    return answered(Answer(200, dumps(document)))
