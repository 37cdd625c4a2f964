"""What stands around a verdict: the anchor, computing it again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from services.snapshotter.commands.benchmarks import Despite
from shared.contracts import Instant, ObservationKind, Outcome, Policy, read_policy

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
    despite: Despite


def _strictly(document: object, _: ValidatorFunctionWrapHandler) -> Policy:
    return read_policy(document)  # the whole tree refuses unknown words, as a file in products/ does


class RunBacktest(BaseModel):
    """Judge stored looks again under a changed policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Annotated[Policy, WrapValidator(_strictly)] = Field(
        description="The whole changed policy, the same document as a file in `products/`."
    )
    limit: int = Field(default=10, ge=1, le=50, description="Verdicts in this answer; each takes up to some seconds.")
    cursor: _Snapshot | None = Field(default=None, description="`next` of the answer before, for older verdicts.")


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class AnchorChoiceView(_View):
    snapshot: str
    chosen_at: Instant
    chosen_by: str
    reason: str
    despite: dict[str, str] = Field(default_factory=dict, description="What spoke against it, and why it may stand.")


class AnchorView(_View):
    """The anchor of a product: what every deploy is held against beside its benchmark."""

    product: str
    snapshot: str | None = Field(description="Null: nothing is judged for creep, and `sentence` says why.")
    is_chosen: bool = Field(
        description="False: nobody chose, and it is the after snapshot of the release that was verified first within the"
        " policy's `observation.anchor_days`."
    )
    change_request: str | None = Field(default=None, description="That release; null when operations chose.")
    is_doubted: bool = Field(
        default=False, description="Its run has deviated since it was chosen: choose again, with a reason, or another."
    )
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


class FalseAlarmsView(_View):
    """How often a product's own limits alarmed where nothing was: each later pair under the limit of those before it."""

    pairs: int = Field(description="Quiet pairs that came after there were enough.")
    alarms: int
    rate: float | None = Field(description="Null while there are none.")
    low: float | None = Field(description="Exact 90 % interval (Clopper and Pearson).")
    high: float | None


class DayPairView(_View):
    """A day held against the one before."""

    day: Instant
    score: float | None = Field(description="What a limit must not be under; null: no SLI changed as the policy minds.")
    alarms_anyway: bool = Field(description="A plain rule beside the score fired: no limit prevents that.")
    earlier_days: int
    left_out: str | None = Field(description="Why it does not count; null: it does.")


class CalibrationView(_View):
    """Which limits hold for a product, and what they rest on."""

    product: str
    holds: Literal["own", "shipped"]
    sentence: str
    alpha: float = Field(description="The share of days without a change that may alarm.")
    pairs: int = Field(description="n: quiet, non-overlapping day pairs without a deploy or an incident.")
    needed: int = Field(description="ceil(1 / alpha) - 1: with fewer no limit can promise alpha.")
    limit: float = Field(description="Of the score, as it holds for `earlier_days` and more.")
    shipped_limit: float
    earlier_days: int
    judge_version: str
    days_kept: int
    false_alarms: FalseAlarmsView
    day_pairs: tuple[DayPairView, ...] = Field(description="The newest 60, newest first.")


class FlippedSLI(_View):
    """An SLI whose answer, or whose say in the verdict, would be another one."""

    sli: str
    was: Outcome | None = Field(description="Null: it was not judged.")
    now: Outcome | None = Field(description="Null: it would not be judged.")
    decided: bool | None = Field(description="Whether it had a say in the verdict.")
    decides: bool | None
    sentence: str


class TestedView(_View):
    """A stored verdict, and what it would be."""

    change_request: str
    deployment: int
    revision: int
    kind: ObservationKind
    closed_at: Instant | None
    was: Outcome
    now: Outcome | None = Field(description="Null: it cannot be tested, `sentence` says why.")
    flips: bool
    sentence: str
    slis: tuple[FlippedSLI, ...]
    notes: tuple[str, ...] = Field(description="What of the changed policy cannot be tested on what was read then.")


class BacktestView(_View):
    product: str
    policy_version: str = Field(description="Of the changed policy, as it would be in force.")
    verdicts: tuple[TestedView, ...] = Field(description="Newest first; superseded ones are left out.")
    flipped: int
    next: str | None = Field(description="Give it as `cursor` for older verdicts; null at the end.")
