"""What the snapshotter does: one function per command, per event heard, per job. The tables stand at the foot."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.snapshotter.handlers.again import recompute
from services.snapshotter.handlers.anchors import choose_anchor, read_anchor
from services.snapshotter.handlers.backtest import backtest
from services.snapshotter.handlers.benchmarks import (
    draft_snapshot,
    publish_draft,
    publish_snapshot,
    uphold_benchmark,
)
from services.snapshotter.handlers.calibrating import read_calibration
from services.snapshotter.handlers.checking import check_slis
from services.snapshotter.handlers.days import (
    keep_day,
    on_incident_closed,
    on_incident_opened,
    on_product_heard,
    score_days,
)
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.doubting import weigh_benchmarks
from services.snapshotter.handlers.drafts import draft_for_review, on_review_requested
from services.snapshotter.handlers.drawing import SMALL_STYLE
from services.snapshotter.handlers.early import look_early
from services.snapshotter.handlers.explain import explain
from services.snapshotter.handlers.heard import (
    on_cr_deployed,
    on_cr_described,
    on_cr_rolled_back,
    on_cr_withdrawn,
)
from services.snapshotter.handlers.keeping import expire_samples
from services.snapshotter.handlers.observations import take_snapshot
from services.snapshotter.handlers.pins import end_pin, expire_pin, list_pins, pin_benchmark
from services.snapshotter.handlers.reading import list_snapshots, read_observation, read_snapshot
from services.snapshotter.handlers.series import read_series
from services.snapshotter.handlers.uploads import MOST_BYTES, read_upload, see_upload, take_upload
from shared.contracts import (
    CRChanged,
    CRDeployed,
    CRRegistered,
    CRRolledBack,
    CRWithdrawn,
    Fact,
    IncidentClosed,
    IncidentOpened,
    ProductChanged,
    ReviewRequested,
)
from shared.db import Appointment, Tx

ON: Mapping[type[Fact], Callable[[Tx, Any], Awaitable[None]]] = {
    ProductChanged: on_product_heard,
    IncidentOpened: on_incident_opened,
    IncidentClosed: on_incident_closed,
    CRRegistered: on_cr_described,
    CRChanged: on_cr_described,
    CRWithdrawn: on_cr_withdrawn,
    CRDeployed: on_cr_deployed,
    CRRolledBack: on_cr_rolled_back,
    ReviewRequested: on_review_requested,
}

JOBS: Mapping[str, Callable[[Deps, Appointment], Awaitable[None]]] = {
    "take_snapshot": take_snapshot,
    "look_early": look_early,
    "keep_day": keep_day,
    "score_days": score_days,
    "draft_for_review": draft_for_review,
    "weigh_benchmarks": weigh_benchmarks,
    "expire_pin": expire_pin,
    "expire_samples": expire_samples,
    "read_upload": read_upload,
}

__all__ = [
    "JOBS",
    "MOST_BYTES",
    "ON",
    "SMALL_STYLE",
    "Deps",
    "backtest",
    "check_slis",
    "choose_anchor",
    "draft_snapshot",
    "end_pin",
    "expire_samples",
    "explain",
    "keep_day",
    "list_pins",
    "list_snapshots",
    "pin_benchmark",
    "publish_draft",
    "publish_snapshot",
    "read_anchor",
    "read_calibration",
    "read_observation",
    "read_series",
    "read_snapshot",
    "recompute",
    "score_days",
    "see_upload",
    "take_snapshot",
    "take_upload",
    "uphold_benchmark",
]
