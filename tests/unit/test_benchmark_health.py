"""Whether a window may stand for how production should be: what its own readings say of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from services.snapshotter import domain
from services.snapshotter.domain import Window
from services.snapshotter.handlers.capture import Captured
from services.snapshotter.handlers.health import health
from services.snapshotter.sources import Missing, Reading, Series
from shared.contracts import SLI, Policy
from shared.contracts.policy import BenchmarkRules, ObservationRules

T = datetime(2026, 11, 18, 9, tzinfo=UTC)  # a Wednesday
DAY = timedelta(hours=24)
POLICY = Policy(
    id="epl",
    name="EPL",
    enforcement="enforce",
    slis=(
        SLI(id="latency", title="Latency", source="main", query="latency", unit="ms"),
        SLI(id="errors", title="Errors", source="main", query="errors", unit="1/s"),
        SLI(id="heap", title="Heap", source="main", query="heap", shadow=True),
    ),
    observation=ObservationRules(step_s=300),
)


def captured(days: int = 0, policy: Policy = POLICY, *, begin: datetime = T, **readings: Any) -> Captured:
    """A day of every SLI from `begin` on, or the `days` before it; a reading may be a function of its values."""
    start = begin - days * DAY
    length = (days or 1) * 288
    at = start.timestamp() + 300 * np.arange(length)
    found: list[Reading] = []
    for n, sli in enumerate(policy.slis):
        rng = np.random.default_rng([n, days])
        values = 100 * (1 + 0.2 * np.sin(2 * np.pi * at / 86400)) * (1 + 0.02 * rng.standard_normal(length))
        change = readings.get(sli.id, lambda v: v)
        found.append(change if isinstance(change, Missing) else Series(change(values)))
    return Captured(Window(start, start + (days or 1) * DAY, 300), policy.slis, tuple(found))


def codes(found: Any) -> set[tuple[str, str]]:
    return {(each.sli, each.code) for each in found.findings}


def put(values: np.ndarray, start: int, stop: int, value: float) -> np.ndarray:
    return np.concatenate([values[:start], np.full(stop - start, value), values[stop:]])


def test_an_ordinary_day_among_ordinary_days_is_healthy() -> None:
    found = health(POLICY, captured(), captured(days=5))
    assert (found.state, found.history_days, found.findings) == ("good", 5, ())
    assert "like the 5 days before it" in found.sentence


def test_gaps_flat_lines_and_a_day_unlike_the_others_are_found_and_named() -> None:
    day = captured(
        latency=lambda v: put(v, 0, 40, np.nan), errors=lambda v: v * 1.7, heap=lambda v: put(v, 100, 200, 100.0)
    )
    found = health(POLICY, day, captured(days=5))
    assert codes(found) >= {("latency", "gaps"), ("errors", "moved"), ("heap", "flat")}
    assert found.state == "doubtful" and "14%" in found.sentence
    assert {each.sli for each in found.findings if not each.decides} == {"heap"}
    assert set(domain.objections(found, day.window, [])) == {"gaps", "moved"}  # a shadow is shown, and decides nothing


def test_a_better_day_is_no_measure_either() -> None:
    assert codes(health(POLICY, captured(errors=lambda v: v * 0.4), captured(days=5))) == {("errors", "moved")}


@pytest.mark.parametrize("begin", [T + back * DAY + hours for back in range(7) for hours in (timedelta(0), DAY / 2)])
def test_no_day_of_the_week_is_doubted_for_being_unlike_the_day_before(begin: datetime) -> None:
    def week(start: datetime) -> Callable[[np.ndarray], np.ndarray]:
        """Half of it all on week-ends."""

        def said(values: np.ndarray) -> np.ndarray:
            at = [start + n * timedelta(minutes=5) for n in range(len(values))]
            return values * np.array([0.5 if each.weekday() >= 5 else 1.0 for each in at])

        return said

    day, before = week(begin), week(begin - 7 * DAY)
    earlier = captured(days=7, begin=begin, latency=before, errors=before)
    assert codes(health(POLICY, captured(begin=begin, latency=day, errors=day), earlier)) == set()
    worse = captured(begin=begin, latency=day, errors=lambda v: 1.7 * day(v))
    assert codes(health(POLICY, worse, earlier)) == {("errors", "moved")}


def test_a_line_that_always_stands_still_is_not_flat_and_zero_is_only_when_it_never_is() -> None:
    still: Any = {"latency": lambda v: np.full_like(v, 3.0), "errors": np.zeros_like}
    assert codes(health(POLICY, captured(**still), captured(days=5, **still))) == set()
    flat = health(POLICY, captured(**still), captured(days=5))
    assert {("latency", "flat"), ("errors", "flat")} <= codes(flat)


def test_the_policy_says_how_many_gaps_and_how_flat() -> None:
    def found(**rules: Any) -> set[tuple[str, str]]:
        policy = POLICY.model_copy(update={"benchmark": BenchmarkRules(**rules)})
        day = captured(latency=lambda v: put(v, 0, 40, np.nan), heap=lambda v: put(v, 100, 160, 100.0))
        return {each for each in codes(health(policy, day, captured(days=3))) if each[1] != "moved"}

    assert found() == {("latency", "gaps"), ("heap", "flat")}
    assert found(max_gap_share=0.2) == {("heap", "flat")}
    assert found(max_flat_h=6) == {("latency", "gaps")}


def test_without_earlier_days_it_says_that_it_was_not_judged_against_them() -> None:
    none = Captured(Window(T, T, 300), (), ())
    found = health(POLICY, captured(errors=Missing("no series")), none)
    assert (found.state, found.history_days) == ("unjudged", 0) and "the sources have none" in found.sentence
    assert codes(found) == {("errors", "missing")} and domain.objections(found, Window(T, T + DAY, 300), []) == {}
