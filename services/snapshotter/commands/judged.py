"""What stands around a verdict: the anchor, computing it again."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.contracts import Instant, ObservationKind, Outcome

_Snapshot = Annotated[str, StringConstraints(pattern=r"^SNAP-[0-9]{1,18}$")]


class ChooseAnchor(BaseModel):
    """Make a benchmark the anchor of its product: creep is measured from it until operations chooses another."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [{"snapshot": "SNAP-17", "reason": "The new region is live: this is how things are now."}]
        },
    )

    snapshot: _Snapshot = Field(description="A benchmark of the product.")
    reason: Annotated[str, StringConstraints(min_length=3, max_length=1000, strip_whitespace=True)] = Field(
        description="Why what has crept since the old anchor is accepted."
    )


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class AnchorChoiceView(_View):
    snapshot: str
    chosen_at: Instant
    chosen_by: str
    reason: str


class AnchorView(_View):
    """The anchor of a product: the benchmark that every deploy is held against beside its own."""

    product: str
    snapshot: str | None = Field(description="Null when no benchmark of the product was ever published.")
    is_chosen: bool = Field(description="False: it is the first benchmark that was published, and nobody chose.")
    sentence: str
    choices: tuple[AnchorChoiceView, ...] = Field(description="Every act of operations, in order.")


class DifferenceView(_View):
    sli: str | None = Field(description="Null: of the verdict as a whole.")
    what: str = Field(description="`outcome`, `view`, or the name of a number.")
    stored: str | float | None
    recomputed: str | float | None


class RecomputedView(_View):
    """One stored verdict, computed again from stored samples."""

    kind: ObservationKind
    deployment: int
    revision: int
    outcome: Outcome
    is_equal: bool = Field(
        description="Same outcomes and views, and every stored number (9 significant digits) within 1e-8 relative."
    )
    sentence: str
    judge_version: str = Field(description="Of the judge that gave the stored verdict.")
    judge_version_now: str
    slis: int
    numbers: int = Field(description="Numbers that were compared.")
    differences: tuple[DifferenceView, ...] = Field(description="The first 100.")


class RecomputationView(_View):
    change_request: str
    is_equal: bool = Field(description="Whether there is a verdict and every one is equal.")
    verdicts: tuple[RecomputedView, ...]
