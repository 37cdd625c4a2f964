"""What may happen to benchmarks and observations. Pure: values in, values and facts out.

An observation is one look at one deployment's revision: `after` the deploy, or the `recovery` after its rollback.
"""

from services.snapshotter.domain.anchors import Anchor, AnchorChoice, anchored, choice_at, choose, creep_sentence
from services.snapshotter.domain.benchmarks import Standing, refuse_own, standing
from services.snapshotter.domain.heard import Change, deployed, described, rolled_back
from services.snapshotter.domain.records import (
    SHIPPED_LIMITS,
    Difference,
    Limits,
    Record,
    differences,
    record,
)
from services.snapshotter.domain.values import (
    DAY,
    MOVES,
    RIGHTS,
    ChangeRequest,
    Deployment,
    Observation,
    Snapshot,
    State,
    Window,
    benchmark_window,
    history_window,
    move,
    observed_window,
    settle_s,
)
from services.snapshotter.domain.verdict import Verdict, close, fitting, published, verdict

__all__ = [
    "DAY",
    "MOVES",
    "RIGHTS",
    "SHIPPED_LIMITS",
    "Anchor",
    "AnchorChoice",
    "Change",
    "ChangeRequest",
    "Deployment",
    "Difference",
    "Limits",
    "Observation",
    "Record",
    "Snapshot",
    "Standing",
    "State",
    "Verdict",
    "Window",
    "anchored",
    "benchmark_window",
    "choice_at",
    "choose",
    "close",
    "creep_sentence",
    "deployed",
    "described",
    "differences",
    "fitting",
    "history_window",
    "move",
    "observed_window",
    "published",
    "record",
    "refuse_own",
    "rolled_back",
    "settle_s",
    "standing",
    "verdict",
]
