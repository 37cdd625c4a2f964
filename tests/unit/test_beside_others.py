"""A verdict knows which SLIs moved by themselves, and which only because another did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from services.snapshotter.domain import DAY, Limits, Observation, Standing, Window
from services.snapshotter.handlers.capture import Captured, keep
from services.snapshotter.handlers.judging import Grounds, Judged, Taken, judged
from services.snapshotter.judge.tables.shipped import SHIPPED
from services.snapshotter.sources import Series
from shared.contracts import SLI, Policy
from shared.contracts.policy import ObservationRules
from tests.judge.test_outcomes import day

AT = datetime(2026, 9, 8, 12, tzinfo=UTC)  # a Tuesday
POLICY = Policy(
    id="epl",
    name="EPL",
    enforcement="enforce",
    observation=ObservationRules(step_s=60, settle_min=0, history_days=0),
    slis=tuple(
        SLI(id=name, title=name, source="main", query=name, severity=severity, min_relative=0.05)
        for name, severity in (("queue", "minor"), ("latency", "critical"), ("errors", "major"), ("heap", "major"))
    ),
)


def taken(place: int, values: Any) -> Taken:
    start = AT + place * DAY
    window = Window(start, start + DAY, 60)
    return Taken(f"SNAP{place}", window, keep(Captured(window, POLICY.slis, tuple(map(Series, values)))).series)


def found(queue: float, latency: float, limit: float | None = None) -> Judged:
    """A day on which two SLIs are multiplied; `limit`: of a score, where it is not the shipped one."""
    after = day(103)
    after[0] *= queue
    after[1] *= latency
    own = Limits(None if limit is None else {1: limit}, "")
    look = Observation("CR-1", "epl", 1, 1, "after", AT, AT + DAY, AT + DAY, AT, "p1")
    against = Standing(None, "good", "SNAP-1")
    return judged(Grounds(look, POLICY, against, taken(0, after), taken(-1, day(3)), limits=own))


def test_a_critical_sli_that_counts_only_beside_a_minor_one_is_marked_and_heads_nothing() -> None:
    score = found(1.6, 1.08).numbers["latency"]["score"]
    just_above = score + SHIPPED.beside / 2 - SHIPPED.slope * float(np.log(4 / SHIPPED.series))
    both = found(1.6, 1.08, just_above).verdict
    assert [(c.outcome, c.beside) for c in both.comparisons] == [
        ("moved", False),
        ("moved", True),
        ("steady", False),  # had the lower limit as well, and did not pass it
        ("steady", False),
    ]
    assert "first of all: queue rose" in both.sentence and "too little by itself" in both.comparisons[1].sentence
    alone = found(1.0, 1.08, just_above).verdict
    assert alone.outcome == "steady" and not any(c.beside for c in alone.comparisons)
