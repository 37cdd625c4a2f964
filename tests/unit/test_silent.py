"""A series that spoke and fell silent: a finding where the source answered and others of its target spoke, else no data."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from services.snapshotter import store
from services.snapshotter.domain import DAY, Observation, Standing, Window
from services.snapshotter.handlers.capture import Captured, keep
from services.snapshotter.handlers.days import score_of
from services.snapshotter.handlers.judging import Grounds, Taken, judged
from services.snapshotter.sources import Missing, Reading, Series
from shared.contracts import SLI, ComparedSLI, Policy
from shared.contracts.policy import ObservationRules

AT = datetime(2026, 9, 8, 12, tzinfo=UTC)  # a Tuesday
STEP_S = 900
POLICY = Policy(
    id="epl",
    name="EPL",
    enforcement="enforce",
    observation=ObservationRules(step_s=STEP_S, settle_min=60, history_days=0),
    slis=(
        SLI(id="latency", title="Latency", source="main", query="latency", unit="ms"),
        SLI(id="errors", title="Errors", source="main", query="errors", unit="1/s"),
    ),
)
NOTHING = Missing("no series: nothing by this query", fault="nothing", silent=True)
WARNED = Missing("partial answer: store-2 is down", retry=True)


def spoke(seed: int) -> Series:
    return Series(100 * (1 + 0.02 * np.random.default_rng(seed).standard_normal(96)))


def stored(day: int, *readings: Reading, policy: Policy = POLICY, hours: float = 24) -> Taken:
    """What lies in the tables of such a window."""
    start = AT + day * DAY
    window = Window(start, start + timedelta(hours=hours), STEP_S)
    return Taken(f"SNAP{day}", window, keep(Captured(window, policy.slis, readings)).series)


def answers(after: Taken, before: Taken | None = None, policy: Policy = POLICY) -> tuple[ComparedSLI, ...]:
    before = before or stored(-1, spoke(2), spoke(3), policy=policy)
    ends = after.window.end
    look = Observation("CR-1", "epl", 1, 1, "after", AT, ends, ends, AT, "p1")
    return judged(Grounds(look, policy, Standing(None, "good", "SNAP-1"), after, before)).verdict.comparisons


@pytest.mark.parametrize("silence", [NOTHING, Missing("no numbers: all 96 steps", fault="no_numbers", silent=True)])
def test_one_that_falls_silent_while_another_speaks_has_moved(silence: Missing) -> None:
    latency, errors = answers(stored(0, silence, spoke(1)))
    assert (latency.outcome, latency.view, errors.outcome) == ("moved", "silent", "steady")
    assert latency.before is None and latency.after is None and latency.effect_relative is None
    assert "fell silent" in latency.sentence and "kept speaking" in latency.sentence


@pytest.mark.parametrize("reason", [WARNED, Missing("the source cannot be reached", retry=True), Missing("refused")])
def test_one_that_the_source_did_not_answer_for_is_no_data_with_the_reason(reason: Missing) -> None:
    latency, errors = answers(stored(0, reason, spoke(1)))
    assert (latency.outcome, errors.outcome) == ("no_data", "steady") and reason.reason in latency.sentence


def test_where_all_are_silent_nothing_is_known() -> None:
    for one in answers(stored(0, NOTHING, NOTHING)):
        assert one.outcome == "no_data" and one.sentence.endswith(f"no data in the after window ({NOTHING.reason})")


def test_what_was_missing_in_the_benchmark_did_not_fall_silent() -> None:
    latency, _ = answers(stored(0, NOTHING, spoke(1)), stored(-1, NOTHING, spoke(3)))
    assert latency.outcome == "no_data" and f"in the benchmark ({NOTHING.reason})" in latency.sentence


@pytest.mark.parametrize("other", [{"source": "elsewhere"}, {"match": {"job": "billing"}}])
def test_only_the_same_target_vouches_for_a_silence(other: dict[str, Any]) -> None:
    """Another source says nothing of this one, nor does another job of the same source."""
    policy = POLICY.model_copy(update={"slis": (POLICY.slis[0], POLICY.slis[1].model_copy(update=other))})
    latency, errors = answers(stored(0, NOTHING, spoke(1), policy=policy), policy=policy)
    assert (latency.outcome, errors.outcome) == ("no_data", "steady") and NOTHING.reason in latency.sentence
    one_job = tuple(sli.model_copy(update={"match": {"job": "billing"}}) for sli in POLICY.slis)
    policy = POLICY.model_copy(update={"slis": one_job})
    assert answers(stored(0, NOTHING, spoke(1), policy=policy), policy=policy)[0].outcome == "moved"


def test_the_answer_to_another_query_is_no_silence_of_this_one() -> None:
    """As in a backtest under a policy that asks otherwise."""
    asks = POLICY.slis[0].model_copy(update={"query": "latency:p99"})
    policy = POLICY.model_copy(update={"slis": (asks, POLICY.slis[1])})
    before = stored(-1, spoke(2), spoke(3), policy=policy)
    assert answers(stored(0, NOTHING, spoke(1)), before, policy)[0].outcome == "no_data"


def test_what_was_stored_before_silence_was_known_is_read_as_it_was() -> None:
    after = stored(0, NOTHING, spoke(1))
    old = replace(after, series=tuple(replace(one, silent=False) for one in after.series))
    latency, _ = answers(old)
    assert latency.outcome == "no_data" and NOTHING.reason in latency.sentence


def test_an_early_look_leaves_silence_to_the_whole_day() -> None:
    """An exporter may take its time after a restart."""
    quarter = Series(spoke(1).values[:24])
    latency, _ = answers(stored(0, NOTHING, quarter, hours=6))
    assert latency.outcome == "no_data" and NOTHING.reason in latency.sentence


def test_a_quiet_day_on_which_a_series_fell_silent_alarms_whatever_the_limit_is() -> None:
    days = [stored(0, NOTHING, spoke(1)), stored(-1, spoke(2), spoke(3))]
    assert score_of(POLICY, days).alarms_anyway
    assert not score_of(POLICY, [stored(0, WARNED, spoke(1)), days[1]]).alarms_anyway


def test_a_row_says_that_its_series_was_silent() -> None:
    rows: tuple[store.KeptSeries, ...] = stored(0, NOTHING, WARNED).series
    assert [(one.missing, one.silent) for one in rows] == [(NOTHING.reason, True), (WARNED.reason, False)]
