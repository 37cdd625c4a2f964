"""Snapshots, benchmarks, the observation of a CR: what is asked and answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.snapshotter.commands.benchmarks import Corrects, Despite, PinView, ProvenanceView, WindowEnd
from shared.contracts import (
    AlsoDeployed,
    BenchmarkHealth,
    ComparedSLI,
    Instant,
    MissingSLI,
    ObservationKind,
    Outcome,
    SnapshotKind,
)

_Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class PublishSnapshot(BaseModel):
    """Read 24 hours, the last ones when not said otherwise, and publish them as the benchmark of a CR or a product."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"change_request": "CR-1", "reason": "An ordinary working day, no incident open."},
                {"product": "epl", "reason": "Before Thursday's release."},
                {
                    "change_request": "CR-2",
                    "reason": "The day before CR-1 went live, ten minutes ago.",
                    "window_end": "2026-11-24T09:00:00Z",
                },
            ]
        },
    )

    change_request: _Id | None = Field(default=None, description="The CR it is for; or give `product`.")
    product: _Id | None = Field(default=None, description="The product it is for: it holds for all its CRs.")
    reason: Annotated[str, StringConstraints(min_length=3, max_length=1000, strip_whitespace=True)] = Field(
        description="Why this window may stand for how production should be."
    )
    corrects: Corrects = None
    despite: Despite
    window_end: WindowEnd

    @model_validator(mode="after")
    def _one_subject(self) -> PublishSnapshot:
        if (self.change_request is None) == (self.product is None):
            raise ValueError("say either change_request or product")
        return self


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class WindowView(_View):
    start: Instant
    end: Instant = Field(description="Not part of the window.")
    step_s: int


class ReadingView(_View):
    """One SLI of a snapshot: numbers over its samples, or why there are none."""

    sli: str
    title: str
    unit: str
    source: str
    query: str
    samples: int = Field(description="Steps that have a number.")
    steps: int = Field(description="Steps in the window.")
    missing: str | None = Field(description="Why it was not read; null when it was.")
    min: float | None
    median: float | None
    p95: float | None
    max: float | None
    warnings: tuple[str, ...]
    hash: str = Field(description="SHA-256 over this SLI's canonical content.")


class SnapshotSummary(_View):
    id: str
    kind: SnapshotKind
    product: str
    change_request: str | None
    deployment: int | None
    revision: int | None
    window: WindowView
    taken_at: Instant
    taken_by: str
    reason: str
    policy_version: str
    content_hash: str = Field(description="SHA-256 over queries, sources and canonical samples.")
    slis: int
    missing: tuple[MissingSLI, ...]


class SnapshotView(SnapshotSummary):
    readings: tuple[ReadingView, ...]
    provenance: ProvenanceView | None = Field(description="Of drafts and benchmarks; null for looks after a deploy.")
    links: dict[str, str]


class SnapshotPage(_View):
    items: tuple[SnapshotSummary, ...]
    next: str | None = Field(description="Give it as `cursor` for older ones; null at the end.")


class BenchmarkView(_View):
    """The benchmark of a CR as it stands: at its deploy when it was deployed, now otherwise."""

    state: Literal["good", "stale", "expired", "deviated", "late", "missing"] = Field(
        description="`deviated`: what it was taken from has deviated since; it satisfies nothing until it is upheld."
    )
    sentence: str
    snapshot: str | None
    published_at: Instant | None
    published_by: str | None
    missing: tuple[MissingSLI, ...] = ()
    late: tuple[str, ...] = Field(default=(), description="Published after the deploy: they satisfy nothing.")
    pin: PinView | None = Field(default=None, description="The pin by which it counts, or has expired.")
    health: BenchmarkHealth | None = Field(default=None, description="What its own readings say of it.")
    despite: dict[str, str] = Field(default_factory=dict, description="What spoke against it, and why it stands.")
    corrects: str | None = None
    draft: str | None = Field(default=None, description="A newer draft that waits for operations to publish it.")


class EarlyLookView(_View):
    """An early look at what had passed so far. It can raise a deviation; `nothing` is no verdict."""

    after_min: float
    window_end: Instant
    looked_at: Instant
    found: Literal["moved", "nothing", "no_data"]
    sentence: str
    content_hash: str | None
    snapshot: str | None = Field(description="The readings that raised a deviation.")


class LookView(_View):
    """One observation: of a deployment's revision, or of the return from it."""

    kind: ObservationKind
    deployment: int
    revision: int
    state: Literal["scheduled", "due", "capturing", "overdue", "closed", "superseded"]
    window: WindowView
    due_at: Instant
    policy_version: str
    outcome: Outcome | None
    sentence: str | None
    comparisons: tuple[ComparedSLI, ...]
    judge_version: str | None
    history_days: int | None = Field(description="Earlier days the judge could learn from.")
    creep: str | None = Field(description="What was seen against the anchor, in one sentence.")
    limits: str | None = Field(description="Whose limits the judge used: the product's own, or the shipped ones.")
    budget: dict[str, float] | None = Field(
        description="How the one budget of false alarms was split: `alarms` is the whole, each part has its share; and"
        " `limit of the score`, which each of `slis` had to pass, or that much `lower beside another` that moved."
    )
    snapshot: str | None
    benchmark: str | None
    anchor: str | None = Field(
        description="The second reference; null where it is the benchmark itself or none: see `creep`."
    )
    deviation: str | None
    closed_at: Instant | None
    overdue_at: Instant | None
    superseded_at: Instant | None
    superseded_because: str | None
    attempts: int = Field(description="Captures tried so far while it is open.")
    next_try_at: Instant | None
    waiting_for: str | None = Field(description="What the last try could not read.")
    early: tuple[EarlyLookView, ...] = Field(default=(), description="Early looks that were taken, in order.")
    next_early_at: Instant | None = Field(default=None, description="When the next early look is.")
    also_deployed: tuple[AlsoDeployed, ...] = Field(description="Other CRs of the product deployed inside this window.")


class DeploymentView(_View):
    deployment: int
    revision: int
    deployed_at: Instant | None
    rolled_back_at: Instant | None
    benchmark: BenchmarkView
    observations: tuple[LookView, ...] = Field(description="Superseded ones stay readable.")


class ObservationView(_View):
    change_request: str
    product: str
    is_withdrawn: bool
    as_of: Instant
    benchmark: BenchmarkView = Field(description="As it stands now: for the last deployment, or for one to come.")
    deployments: tuple[DeploymentView, ...]
    current: LookView | None = Field(description="The latest look that is not superseded.")


_Numbers = tuple[float | None, ...]


class LineView(_View):
    """The same SLI of the other snapshot, each step where the clock (UTC) shows the same."""

    sli: str | None = None
    title: str | None = None
    unit: str | None = None
    query: str | None = None
    source: str | None = None
    hash: str | None = None
    missing: str | None = None
    values: _Numbers = ()
    min: _Numbers | None = None
    median: _Numbers | None = None
    p95: _Numbers | None = None
    max: _Numbers | None = None


class SeriesView(_View):
    """Samples of one SLI of a snapshot. Written by hand as JSON: this class is its description."""

    sli: str
    title: str
    unit: str
    query: str
    source: str
    hash: str
    missing: str | None
    values: _Numbers = Field(
        description="One per step from `start_s` on; null where there is no number. Empty where `min` and `max` stand."
    )
    min: _Numbers | None = Field(default=None, description="With `points`, or hourly: the least in each step.")
    median: _Numbers | None = Field(default=None, description="Hourly, without `points`.")
    p95: _Numbers | None = Field(default=None, description="Hourly, without `points`.")
    max: _Numbers | None = Field(default=None, description="The largest in each step: no spike is lost.")
    with_: LineView | None = Field(default=None, alias="with")


class SamplesView(_View):
    snapshot: str
    start_s: float = Field(description="Unix seconds of the first step.")
    step_s: int = Field(description="Of this answer: longer than the snapshot's with `points`, or when it is hourly.")
    steps: int
    resolution: Literal["raw", "hourly"] = Field(
        description="`hourly`: raw samples have expired (the policy's `samples.raw_days`); roll-ups are shown instead."
    )
    with_: str | None = Field(default=None, alias="with", description="The other snapshot.")
    series: tuple[SeriesView, ...]
