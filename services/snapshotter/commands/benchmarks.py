"""Drafts, publishing them, and pins: what may be asked, and what is answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.snapshotter.domain import Objection
from shared.contracts import BenchmarkHealth, Instant
from shared.contracts.inbound import When

Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
SnapshotId = Annotated[str, StringConstraints(pattern=r"^SNAP-[0-9]{1,18}$")]
Reason = Annotated[str, StringConstraints(min_length=3, max_length=1000, strip_whitespace=True)]

_DESPITE = (
    "What speaks against it (`gaps`, `flat`, `moved`, `deviated`, `observed`) and why it may stand all the same, each with"
    " its reason."
    " Without it such a window is refused, and the answer names what was found."
)
Despite = Annotated[dict[Objection, Reason], Field(default_factory=dict, description=_DESPITE)]
Corrects = Annotated[
    SnapshotId | None, Field(description="The benchmark of the same subject whose place it takes from now on.")
]

WindowEnd = Annotated[
    When | None,
    Field(
        default=None,
        description="End of the 24 hours, down to the policy's step: such as the moment at which a change went live that is"
        " still observed. Not further back than the policy's `benchmark.max_age_h`. The last whole step when not said.",
    ),
]


class DraftSnapshot(BaseModel):
    """Read the last 24 hours now and keep them as a draft: seen by all, satisfying nothing, until operations publishes it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"change_request": "CR-1", "reason": "The review is about to begin."}]},
    )

    change_request: Id | None = Field(default=None, description="The CR it is for; or give `product`.")
    product: Id | None = Field(default=None, description="The product it is for: it would hold for all its CRs.")
    reason: Reason
    window_end: WindowEnd

    @model_validator(mode="after")
    def _one_subject(self) -> DraftSnapshot:
        if (self.change_request is None) == (self.product is None):
            raise ValueError("say either change_request or product")
        return self


class PublishDraft(BaseModel):
    """Make a draft the benchmark of its subject."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"reason": "An ordinary working day, no incident open."},
                {
                    "reason": "The day before the release.",
                    "despite": {"gaps": "The exporter was down for three hours at night; the rest is complete."},
                },
            ]
        },
    )

    reason: Reason = Field(description="Why this window may stand for how production should be.")
    corrects: Corrects = None
    despite: Despite


class UpholdBenchmark(BaseModel):
    """Answer for a benchmark whose run has deviated since it was published: its readings are published anew."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "reason": "What moved was the size of the cache, and that was decided to be kept.",
                    "despite": {"deviated": "INV-3: the new size is how things are now."},
                }
            ]
        },
    )

    reason: Reason = Field(description="Why this window may stand for how production should be.")
    despite: Despite


class PinBenchmark(BaseModel):
    """Hold one benchmark for a product until a date, whatever is published meanwhile."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "product": "epl",
                    "snapshot": "SNAP-7",
                    "reason": "This week's load test would be no measure.",
                    "expires_at": "2026-12-01T09:00:00Z",
                }
            ]
        },
    )

    product: Id
    snapshot: SnapshotId = Field(description="A published benchmark of the product, or of one of its CRs.")
    reason: Reason
    expires_at: When = Field(description="At most the policy's `benchmark.max_pin_days` away.")
    despite: Despite


class EndPin(BaseModel):
    """Take a pin off before it expires: the latest published benchmark counts again."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"reason": "The load test is over."}]}
    )

    reason: Reason


class TakeUpload(BaseModel):
    """What a file of readings is for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    change_request: Id | None = Field(default=None, description="The CR it is for; or give `product`.")
    product: Id | None = Field(default=None, description="The product it is for: it would hold for all its CRs.")
    reason: Reason = Field(description="Where the readings come from, and why they are uploaded.")
    window_end: When | None = Field(
        default=None,
        description="End of the 24 hours that the file covers, on the policy's step. The last whole step when not said.",
    )
    format: Literal["csv", "json", "openmetrics"] | None = Field(
        default=None, description="Where the content type does not say it."
    )

    @model_validator(mode="after")
    def _one_subject(self) -> TakeUpload:
        if (self.change_request is None) == (self.product is None):
            raise ValueError("say either change_request or product")
        return self


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class PinView(_View):
    id: str
    product: str
    snapshot: str
    reason: str
    state: Literal["holds", "expired", "ended"]
    pinned_at: Instant
    pinned_by: str
    expires_at: Instant
    ended_at: Instant | None
    ended_by: str | None
    ended_because: str | None


class PinList(_View):
    items: tuple[PinView, ...] = Field(description="Newest first; the first is the one that decides.")


class ProblemView(_View):
    where: str = Field(description="`row 17` of the file, or the place in a JSON document.")
    reason: str


class UploadView(_View):
    """How far a file of readings has come. All of it becomes a draft, or none of it."""

    id: str
    product: str
    change_request: str | None
    state: Literal["waiting", "reading", "drafted", "refused"]
    format: str
    bytes: int
    sha256: str
    samples: int = Field(description="Read so far.")
    problems: tuple[ProblemView, ...] = Field(description="The first hundred; one is enough to refuse the file.")
    problems_total: int
    window_end: Instant
    reason: str
    uploaded_at: Instant
    uploaded_by: str
    read_at: Instant | None
    draft: str | None = Field(description="The draft that it became; operations may publish it.")


class ProvenanceView(_View):
    """How a draft or a benchmark came to be."""

    origin: Literal["pulled", "uploaded"]
    draft: str | None = Field(description="The draft that this benchmark was.")
    published_as: str | None = Field(description="The benchmark that this draft became.")
    corrects: str | None
    health: BenchmarkHealth | None = Field(description="What its own readings say of it; null when nobody judged them.")
    despite: dict[str, str] = Field(description="What spoke against it, and why it stands all the same.")
