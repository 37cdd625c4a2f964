"""Where it is kept: tables, queries, rows <-> values."""

from services.snapshotter.store.anchors import anchor_choices, first_benchmark, insert_anchor_choice
from services.snapshotter.store.days import (
    close_incident,
    disturbances,
    kept_days,
    open_incident,
    pairs_of,
    save_pairs,
)
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
    "close_incident",
    "comparisons_of",
    "deployment",
    "deployments_between",
    "deployments_of",
    "disturbances",
    "first_benchmark",
    "insert_anchor_choice",
    "insert_snapshot",
    "kept_days",
    "known_content",
    "listed",
    "locked_change_request",
    "locked_product",
    "metadata",
    "next_id",
    "observations_of",
    "open_incident",
    "pairs_of",
    "save_change_request",
    "save_comparisons",
    "save_deployment",
    "save_observation",
    "save_pairs",
    "save_version",
    "series_of",
    "snapshot",
    "trying",
]
