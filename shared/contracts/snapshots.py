"""Said by the snapshotter: snapshots, benchmarks, observations. Samples never travel; facts carry hashes and links."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.envelope import Fact, Instant
from shared.contracts.policy import Severity

Outcome = Literal["steady", "moved", "inconclusive", "no_data"]
#: `draft`: may become a benchmark; `early`: what an early look found to deviate; `history`: the days before a deploy
#: that a verdict learned from; `day`: one that is kept for calibration.
SnapshotKind = Literal["benchmark", "after", "recovery", "draft", "early", "history", "day"]
ObservationKind = Literal["after", "recovery"]


def is_before(said_at: datetime, deployed_at: datetime | None) -> bool:
    """Whether a benchmark or pin said then came before the deploy; at its very moment is late. None: not deployed yet."""
    return deployed_at is None or said_at < deployed_at


class MissingSLI(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    sli: str
    reason: str


class HealthFinding(BaseModel):
    """One thing that speaks against a benchmark: `missing`, too many `gaps`, a `flat` line, or `moved` itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    sli: str
    code: Literal["missing", "gaps", "flat", "moved"]
    sentence: str
    decides: bool


class BenchmarkHealth(BaseModel):
    """What a benchmark's own readings say of it, judged before it is used. `unjudged`: no earlier day to hold it against."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    state: Literal["good", "doubtful", "unjudged"]
    sentence: str
    findings: tuple[HealthFinding, ...] = ()
    history_days: int = 0


class ComparedSLI(BaseModel):
    """The judge's answer for one SLI, with the numbers it rests on."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    sli: str
    title: str
    unit: str = ""
    outcome: Outcome
    sentence: str
    decides: bool
    severity: Severity
    view: str | None = None
    before: float | None = None
    after: float | None = None
    effect_relative: float | None = None
    limit: float | None = None
    since_at: Instant | None = None
    beside: bool = False  #: moved only because another moved: by itself it would have been steady


class SnapshotTaken(Fact, type="snapshot.taken.v1", topic="daymark.snapshots", owner="snapshotter", key="subject"):
    subject: str  #: the CR it was taken for; the product when it is a benchmark for all its CRs
    snapshot_id: str
    kind: SnapshotKind
    product_id: str
    cr_id: str | None
    deployment: int | None = None
    revision: int | None = None
    window_start: Instant
    window_end: Instant
    step_s: int
    taken_at: Instant
    content_hash: str
    slis: int
    missing: tuple[MissingSLI, ...] = ()


class BenchmarkDrafted(
    Fact, type="benchmark.drafted.v1", topic="daymark.snapshots", owner="snapshotter", key="subject"
):
    """Readings that operations may publish. A draft is no benchmark: it satisfies nothing, whoever waits for it."""

    subject: str  #: the CR, or the product when it would hold for all its CRs
    snapshot_id: str
    product_id: str
    cr_id: str | None
    window_start: Instant
    window_end: Instant
    content_hash: str
    origin: Literal["pulled", "uploaded"]
    reason: str
    drafted_at: Instant
    drafted_by: str
    slis: int
    missing: tuple[MissingSLI, ...] = ()
    health: BenchmarkHealth


class BenchmarkPublished(
    Fact, type="benchmark.published.v1", topic="daymark.snapshots", owner="snapshotter", key="subject"
):
    subject: str  #: the CR, or the product when it holds for all its CRs
    snapshot_id: str
    product_id: str
    cr_id: str | None
    window_start: Instant
    window_end: Instant
    content_hash: str
    reason: str
    published_at: Instant
    published_by: str
    slis: int
    missing: tuple[MissingSLI, ...] = ()
    origin: Literal["pulled", "uploaded"] = "pulled"
    draft_id: str | None = None  #: the draft that it was
    corrects: str | None = None  #: the benchmark that it takes the place of from now on
    health: BenchmarkHealth | None = None  #: None: published before health was judged
    despite: dict[str, str] = Field(default_factory=dict)  #: what spoke against it -> why it may stand all the same


class BenchmarkPinned(
    Fact, type="benchmark.pinned.v1", topic="daymark.snapshots", owner="snapshotter", key="product_id"
):
    """Until it expires or is ended, this benchmark is the one of every CR of the product, whatever is published later."""

    pin_id: str
    product_id: str
    snapshot_id: str
    content_hash: str
    window_start: Instant
    window_end: Instant
    published_at: Instant
    published_by: str
    missing: tuple[MissingSLI, ...] = ()
    reason: str
    pinned_at: Instant
    pinned_by: str
    expires_at: Instant
    #: Of the benchmark as it was published, for CRs that never heard of it; None: pinned before that was said here.
    health: BenchmarkHealth | None = None
    origin: Literal["pulled", "uploaded"] | None = None
    corrects: str | None = None
    despite: dict[str, str] = Field(default_factory=dict)  #: of the benchmark, and what was answered for the pin


class BenchmarkDoubted(
    Fact, type="benchmark.doubted.v1", topic="daymark.snapshots", owner="snapshotter", key="product_id"
):
    """What a benchmark was taken from has deviated since: it satisfies nothing until operations answers for it anew."""

    product_id: str
    snapshot_id: str
    observed: str  #: the CR whose run it was taken from
    deployment: int
    holds: bool  #: False: that deviation was withdrawn, and this with it
    sentence: str
    at: Instant


class BenchmarkExpired(
    Fact, type="benchmark.expired.v1", topic="daymark.snapshots", owner="snapshotter", key="product_id"
):
    """A pin holds no longer. `expired`: nothing takes its place by itself; `ended` by operations: the latest counts again."""

    pin_id: str
    product_id: str
    snapshot_id: str
    because: Literal["expired", "ended"]
    reason: str
    by: str
    at: Instant


class AnchorChosen(Fact, type="anchor.chosen.v1", topic="daymark.snapshots", owner="snapshotter", key="product_id"):
    """Operations moved the product's anchor: from now on creep is measured from this benchmark."""

    product_id: str
    snapshot_id: str
    content_hash: str
    instead_of: str | None  #: the one that was chosen before; null when none was
    window_start: Instant
    window_end: Instant
    reason: str
    chosen_by: str
    chosen_at: Instant
    despite: dict[str, str] = Field(default_factory=dict)  #: what spoke against it, and why it may stand


class SnapshotDelayed(Fact, type="snapshot.delayed.v1", topic="daymark.snapshots", owner="snapshotter", key="cr_id"):
    """A look that is due cannot be taken yet: said of the first try that failed, and of a later one when the reason changed.

    It ends with the look: by `observation.closed`, with or without `snapshot.overdue`, or by `observation.superseded`.
    """

    cr_id: str
    product_id: str
    deployment: int
    revision: int
    kind: ObservationKind
    due_at: Instant
    tried_at: Instant
    tried_until: Instant  #: what cannot be read by then is overdue; where it is past already, one more try is made
    reason: str
    missing: tuple[MissingSLI, ...] = ()


class EarlyLookTaken(Fact, type="early_look.taken.v1", topic="daymark.snapshots", owner="snapshotter", key="cr_id"):
    """An early look that raised nothing. That is no pass: only the look after 24 hours has a verdict.

    One that found a gross change says `deviation.detected` instead.
    """

    cr_id: str
    product_id: str
    deployment: int
    revision: int
    after_min: float  #: minutes after the deploy: what it covers
    window_start: Instant
    window_end: Instant
    looked_at: Instant
    found: Literal["nothing", "no_data"]  #: nothing gross so far; or nothing could be said
    sentence: str
    content_hash: str  #: of what was read


class SnapshotOverdue(Fact, type="snapshot.overdue.v1", topic="daymark.snapshots", owner="snapshotter", key="cr_id"):
    cr_id: str
    product_id: str
    deployment: int
    revision: int
    kind: ObservationKind
    due_at: Instant
    overdue_at: Instant
    reason: str
    severity: Severity = "major"  #: of the gravest SLI that decides and could not be read


class AlsoDeployed(BaseModel):
    """Another CR of the product that was deployed within 24 hours: what moved may be its doing as well."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    change_request: str
    deployment: int
    deployed_at: Instant


class ObservationClosed(
    Fact, type="observation.closed.v1", topic="daymark.snapshots", owner="snapshotter", key="cr_id"
):
    """The verdict on one deployment (`after`) or on the return from it (`recovery`: steady means recovered)."""

    cr_id: str
    product_id: str
    deployment: int
    revision: int
    kind: ObservationKind
    outcome: Outcome
    sentence: str
    comparisons: tuple[ComparedSLI, ...]
    benchmark_id: str | None
    benchmark_hash: str | None
    snapshot_id: str
    snapshot_hash: str
    judge_version: str
    closed_at: Instant
    anchor_id: str | None = None  #: the second reference, where it is another snapshot than the benchmark
    creep: str = ""  #: what was seen against the anchor, in one sentence
    limits: str = ""  #: whose limits the judge used, in one sentence
    also_deployed: tuple[AlsoDeployed, ...] = ()


class ObservationSuperseded(
    Fact, type="observation.superseded.v1", topic="daymark.snapshots", owner="snapshotter", key="cr_id"
):
    """A corrected deploy time made this revision's observation, and its verdict if it had one, a thing of the past."""

    cr_id: str
    product_id: str
    deployment: int
    revision: int  #: the one that no longer holds
    kind: ObservationKind
    reason: str
    at: Instant
