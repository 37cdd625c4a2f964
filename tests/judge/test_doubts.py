"""What an SLI's answer cannot rest on: one odd minute, a counter that nobody read as a rate, half a day; and what it can."""

import numpy as np
import pytest

from services.snapshotter.judge import judge
from tests.judge.test_outcomes import DAY, T0, rule, window

MINUTES = np.arange(1440)


def day(seed, level=100.0, noise=3.0):
    return level + noise * np.random.default_rng(seed).standard_normal(1440)


def look(before, after, *, history=(), settle_s=0.0, **more):
    """One SLI over two whole days of minutes; the benchmark runs up to the deploy."""
    a, b = window(before), window(after, T0 + DAY)
    past = tuple(window(values, T0 - (len(history) - i) * DAY) for i, values in enumerate(history))
    rules = [rule(**{"min_relative": 0.0, **more})]
    return judge(a, b, rules, deployed_at_s=T0 + DAY, settle_s=settle_s, history=(*past, a))[0]


# -- one odd minute ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1e3, 3e4, 1e6, 1e9, -1e6])
@pytest.mark.parametrize("minute", [0, 700, 1439])
def test_one_odd_minute_moves_nothing(value, minute):
    after = day(2)
    after[minute] = value
    for history in ((), [day(10 + k) for k in range(6)]):
        c = look(day(1), after, history=history)
        assert c.outcome == "steady", c.sentence
    assert look(after, day(1)).outcome == "steady"  # nor does one of the benchmark


@pytest.mark.parametrize(("step_s", "odd", "outcome"), [
    (10.0, 6, "steady"), (10.0, 90, "moved"), (30.0, 2, "steady"), (61.0, 1, "moved"), (300.0, 1, "moved"),
])  # fmt: skip
def test_a_minute_is_a_minute_whatever_the_step(step_s, odd, outcome):
    """A step of more than a minute stands for all of its time."""
    steps, rng = int(DAY / step_s), np.random.default_rng(1)
    before, after = 100 + 3 * rng.standard_normal((2, steps))
    after[200 : 200 + odd] = 1e9
    a, b = window(before, T0, step_s), window(after, T0 + DAY, step_s)
    c = judge(a, b, [rule(min_relative=0.0)], deployed_at_s=T0 + DAY, history=(a,))[0]
    assert c.outcome == outcome, c.sentence


def test_the_sentence_names_the_odd_minute_that_was_left_out():
    after = day(2)
    after[700] = 1e9
    c = look(day(1), after)
    assert "left out as odd for one minute" in c.sentence and "1e+09 ms" in c.sentence, c.sentence
    assert c.numbers["odd_minute"] == 1e9


def test_a_quarter_of_an_hour_that_is_as_odd_is_no_odd_minute():
    after = day(2)
    after[700:715] = 1e9
    assert look(day(1), after).outcome == "moved"


@pytest.mark.parametrize("others", [0, 300])
@pytest.mark.parametrize("odd_in", ["before", "after", "both"])
def test_an_odd_minute_hides_no_change(others, odd_in):
    """Its two steps make the typical step look a hundred times as large; beside many SLIs no plain rule helps out."""
    before, after = (
        np.stack([day(k) for k in range(1 + others)]),
        np.stack([day(k) for k in range(5000, 5001 + others)]),
    )
    after[0] *= 1.6
    for values in ([before], [after], [before, after])[["before", "after", "both"].index(odd_in)]:
        values[0, 700] = 1e6
    a, b = window(before), window(after, T0 + DAY)
    rules = [rule(i) for i in range(1 + others)]
    found = judge(a, b, rules, deployed_at_s=T0 + DAY, history=(a,))
    assert found[0].outcome == "moved" and "left out as odd for one minute" in found[0].sentence, found[0].sentence
    assert {c.outcome for c in found[1:]} <= {"steady"}


def test_a_single_event_is_counted_and_not_left_out():
    one, many = (np.where(np.random.default_rng(3).permutation(1440) < k, 1.0, 0.0) for k in (1, 400))
    assert "odd" not in look(one, np.zeros(1440)).sentence
    assert look(one, many, direction="higher_is_worse").outcome == "moved"


# -- counters ---------------------------------------------------------------------------------------------------------


def counted(seed, start, rate=5.0, resets=()):
    steps = np.random.default_rng(seed).poisson(rate, 1440).astype(float)
    total = start + np.cumsum(steps)
    for at in resets:
        total[at:] -= total[at]
    return total


@pytest.mark.parametrize("resets", [(), (0,), (300,), (0, 700, 1100)])
@pytest.mark.parametrize("rate", [5.0, 15.0])
def test_a_counter_that_resets_is_told_from_a_gauge(resets, rate):
    c = look(counted(1, 1e4), counted(2, 1e4 + 7200, rate, resets), direction="higher_is_worse")
    assert c.outcome == "inconclusive" and "its query has to ask for its rate" in c.sentence, c.sentence


def test_what_rises_after_the_deploy_alone_is_a_leak_and_no_counter():
    c = look(day(1), day(2, noise=0.5) + 0.2 * MINUTES)
    assert c.outcome == "moved", c.sentence
    assert look(day(1), 100 + 0.2 * MINUTES).outcome == "moved"


# -- half a day -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [slice(0, 500), slice(900, 1440), slice(400, 800)])
def test_a_day_of_which_much_is_missing_is_never_steady_and_can_have_moved(missing):
    after, risen = day(2), 2.0 * day(2)
    after[missing] = risen[missing] = np.nan
    c = look(day(1), after)
    assert c.outcome == "inconclusive" and "too little to call it steady" in c.sentence, c.sentence
    assert look(after, day(1)).outcome == "inconclusive"
    assert look(day(1), risen).outcome == "moved"


def test_what_is_steady_with_gaps_says_how_much_was_read():
    after = day(2)
    after[100:300] = np.nan
    c = look(day(1), after)
    assert c.outcome == "steady" and "100% of the benchmark and 86% of the after window were read" in c.sentence
    assert "were read" not in look(day(1), day(2)).sentence


# -- the better direction ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("errors", [3.0, 0.2])
def test_errors_that_are_gone_are_no_deviation(errors):
    before = np.random.default_rng(1).poisson(errors, 1440).astype(float)
    c = look(before, np.zeros(1440) + 1e-12 * (MINUTES == 5), direction="higher_is_worse")
    assert c.outcome == "steady", c.sentence
    gone = np.where(MINUTES > 200, 0.0, before)
    c = look(before, gone, direction="higher_is_worse")
    assert c.outcome == "steady", c.sentence
    if errors > 1:  # lively enough for their end to be seen
        assert "that is the better direction" in c.sentence and look(before, gone).outcome == "moved"


def test_errors_that_are_gone_but_for_an_hour_of_many_are_a_deviation():
    before = np.random.default_rng(1).poisson(3.0, 1440).astype(float)
    after = np.where((MINUTES > 200) & (MINUTES < 260), 300.0, 0.0)
    assert look(before, after, direction="higher_is_worse").outcome == "moved"


# -- since when -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minute", "said"), [(0, "at the deploy"), (20, "20 min after the deploy"), (95, "95 min after")]
)
def test_a_rise_is_told_to_the_minute(minute, said):
    after = day(2) * np.where(minute <= MINUTES, 1.5, 1.0)
    c = look(day(1), after)
    assert c.outcome == "moved" and c.since_s is not None
    assert abs(c.since_s - (T0 + DAY + 60 * minute)) <= 60 and said in c.sentence, c.sentence


def test_a_late_start_is_told_to_the_minute_as_well():
    after = day(2) * np.where(MINUTES >= 617, 1.8, 1.0)
    c = look(day(1), after)
    assert c.outcome == "moved" and c.since_s is not None
    assert abs(c.since_s - (T0 + DAY + 60 * 617)) <= 60 and "10 h after the deploy" in c.sentence, c.sentence


def test_what_began_in_the_settle_minutes_began_at_the_deploy():
    after = 1.5 * day(2)
    after[:15] = np.nan
    c = look(day(1), after, settle_s=900.0)
    assert c.since_s == T0 + DAY and "at the deploy" in c.sentence, c.sentence
