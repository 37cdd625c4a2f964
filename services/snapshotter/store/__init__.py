"""Where it is kept: tables, queries, rows <-> values."""

from services.snapshotter.store.anchors import anchor_choices, first_benchmark, insert_anchor_choice
from services.snapshotter.store.observations import (
    Trying,
    comparisons_of,
    deployment,
    deployments_between,
    deployments_of,
    observations_of,
    save_comparisons,
    save_deployment,
    save_observation,
    trying,
)
from services.snapshotter.store.snapshots import (
    KeptSeries,
    benchmarks_for,
    insert_snapshot,
    known_content,
    listed,
    next_id,
    series_of,
    snapshot,
)
from services.snapshotter.store.subjects import (
    change_request,
    locked_change_request,
    locked_product,
    save_change_request,
    save_version,
)
from services.snapshotter.store.tables import metadata

__all__ = [
    "KeptSeries",
    "Trying",
    "anchor_choices",
    "benchmarks_for",
    "change_request",
    "comparisons_of",
    "deployment",
    "deployments_between",
    "deployments_of",
    "first_benchmark",
    "insert_anchor_choice",
    "insert_snapshot",
    "known_content",
    "listed",
    "locked_change_request",
    "locked_product",
    "metadata",
    "next_id",
    "observations_of",
    "save_change_request",
    "save_comparisons",
    "save_deployment",
    "save_observation",
    "save_version",
    "series_of",
    "snapshot",
    "trying",
]
