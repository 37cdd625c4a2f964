"""What may be asked of the snapshotter, and what it answers: the shapes that both doors and handlers know."""

from services.snapshotter.commands.judged import (
    AnchorChoiceView,
    AnchorView,
    ChooseAnchor,
    DifferenceView,
    RecomputationView,
    RecomputedView,
)
from services.snapshotter.commands.snapshots import (
    AlsoDeployed,
    BenchmarkView,
    DeploymentView,
    LookView,
    ObservationView,
    PublishSnapshot,
    ReadingView,
    SamplesView,
    SeriesView,
    SnapshotPage,
    SnapshotSummary,
    SnapshotView,
    WindowView,
)

__all__ = [
    "AlsoDeployed",
    "AnchorChoiceView",
    "AnchorView",
    "BenchmarkView",
    "ChooseAnchor",
    "DeploymentView",
    "DifferenceView",
    "LookView",
    "ObservationView",
    "PublishSnapshot",
    "ReadingView",
    "RecomputationView",
    "RecomputedView",
    "SamplesView",
    "SeriesView",
    "SnapshotPage",
    "SnapshotSummary",
    "SnapshotView",
    "WindowView",
]
