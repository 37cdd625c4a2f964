"""Said by the snapshotter, for dashboards first: flat, numeric, explaining itself. Keyed by CR."""

from shared.contracts.envelope import Fact, Instant
from shared.contracts.policy import Severity


class DeviationDetected(
    Fact, type="deviation.detected.v1", topic="daymark.deviations", owner="snapshotter", key="cr_id"
):
    deviation_id: str
    cr_id: str
    product_id: str
    release_id: str | None
    deployment: int
    revision: int
    severity: Severity  #: the gravest among the SLIs that moved by themselves
    sli: str  #: the SLI that moved most for its limit, among the gravest
    title: str
    unit: str
    before: float | None
    after: float | None
    effect_relative: float | None
    limit: float | None
    since_at: Instant | None
    slis_moved: int
    slis_judged: int
    sentence: str
    benchmark_id: str
    snapshot_id: str
    detected_at: Instant
    benchmark_hash: str | None = None  #: content of the benchmark, and of the snapshot that moved away from it
    snapshot_hash: str | None = None
    early_min: float | None = None  #: minutes after the deploy, when an early look raised it before the day was over


class DeviationWithdrawn(
    Fact, type="deviation.withdrawn.v1", topic="daymark.deviations", owner="snapshotter", key="cr_id"
):
    deviation_id: str
    cr_id: str
    product_id: str
    deployment: int
    revision: int
    reason: str
    at: Instant
