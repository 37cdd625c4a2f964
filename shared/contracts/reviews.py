"""Said by the reviewer: operations' input, the PTASK engineer's answer, what the gate said. Keyed by CR."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.contracts.envelope import Fact, Instant
from shared.contracts.policy import Enforcement

Verdict = Literal["ready", "not_ready", "need_more"]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class ReviewItem(BaseModel):
    """One thing that operations wants answered."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    id: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    text: _Text


class ItemAnswer(BaseModel):
    """The PTASK engineer's word on one item of one review."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    review_id: str
    item_id: str
    answer: _Text


class GateReason(BaseModel):
    """Why the gate does not simply say go."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    code: str
    sentence: str


class _Review(Fact):
    cr_id: str
    product_id: str
    digest: str  #: of the pre-deploy part of the dossier that was seen
    parts: dict[str, str] = Field(
        default_factory=dict
    )  #: the digest of each part of it, so that what changed since can be named
    at: Instant


class ReviewRequested(_Review, type="review.requested.v1", topic="daymark.reviews", owner="reviewer", key="cr_id"):
    pass


class ReviewGiven(_Review, type="review.given.v1", topic="daymark.reviews", owner="reviewer", key="cr_id"):
    review_id: str
    verdict: Verdict
    comment: str
    items: tuple[ReviewItem, ...] = ()
    by: str


class ReviewVoided(_Review, type="review.voided.v1", topic="daymark.reviews", owner="reviewer", key="cr_id"):
    review_id: str
    digest_now: str
    changed: tuple[str, ...]  #: parts of the dossier that differ from what was seen


class ReviewAcknowledged(
    _Review, type="review.acknowledged.v1", topic="daymark.reviews", owner="reviewer", key="cr_id"
):
    review_id: str
    by: str
    answers: tuple[ItemAnswer, ...] = ()


class GoDecided(_Review, type="go.decided.v1", topic="daymark.reviews", owner="reviewer", key="cr_id"):
    decision: Literal["go", "no_go"]
    reason: str
    by: str


class GateAnswered(_Review, type="gate.answered.v1", topic="daymark.reviews", owner="reviewer", key="cr_id"):
    answer_id: str
    go: bool
    is_ready: bool
    enforcement: Enforcement
    reasons: tuple[GateReason, ...]
    as_of: Instant | None
    asked_by: str
