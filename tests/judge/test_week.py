"""Working days and week-ends: a benchmark of the other kind is no measure, the earlier days of the same kind are."""

import numpy as np
import pytest

from services.snapshotter.judge import Window, judge
from tests.judge.test_outcomes import rule

DAY, STEP = 86400.0, 300.0
MONDAY = 1_700_438_400.0  # 2023-11-20 00:00 UTC
SATURDAY = MONDAY + 5 * DAY
QUIET_WEEK_END = 0.3


def made(first_s, days, seed, factor=1.0, zone_s=0.0):
    """A product whose week-ends are quiet, with a daily course and noise that hangs together, and one that knows no week."""
    at = first_s + STEP * np.arange(round(days * DAY / STEP))
    rng = np.random.default_rng([seed, int(first_s)])
    rough = rng.standard_normal((2, len(at) + 11))
    noise = sum(rough[:, k : k + len(at)] for k in range(12)) / np.sqrt(12)
    local = at + zone_s
    week = np.where((local // DAY + 3) % 7 >= 5, QUIET_WEEK_END, 1.0)
    course = 100 * (1 + 0.3 * np.sin(2 * np.pi * local / DAY))
    values = course * np.stack([week * factor, np.ones_like(at)]) * np.exp(0.04 * noise)
    return Window(first_s, STEP, zone_s, values, (None, None))


def look(deployed_s, *, factor=1.0, back=1, days=7, direction="both", hours=24, zone_s=0.0, seed=0):
    past = [made(deployed_s - k * DAY, 1, seed, zone_s=zone_s) for k in range(max(days, back), 0, -1)]
    after = made(deployed_s, hours / 24, seed, factor, zone_s=zone_s)
    rules = [rule(i, direction=direction) for i in range(2)]
    return judge(past[-back], after, rules, deployed_at_s=deployed_s, history=past[-days:] if days else ())


@pytest.mark.parametrize(
    ("deployed_s", "back"),
    [
        *((MONDAY + hours * 3600, 1) for hours in (0, 9, 20)),
        *((SATURDAY + hours * 3600, 1) for hours in (0, 9, 20)),
        (MONDAY + DAY, 3),  # a Tuesday, the benchmark of Saturday
        (MONDAY - 10 * 3600, 1),  # most of it Monday, a little of it Sunday
    ],
)
def test_a_day_among_earlier_days_of_its_kind_is_steady_whatever_the_benchmark(deployed_s, back):
    for seed in range(3):
        found = look(deployed_s, back=back, seed=seed)
        assert [c.outcome for c in found] == ["steady", "steady"]


def test_the_sentence_says_which_day_it_was_held_against_and_why():
    found = look(MONDAY)[0]
    assert "held against Friday, 3 days before, the newest day with the same working hours" in found.sentence
    assert "the benchmark (29" in found.sentence or "the benchmark (30" in found.sentence
    assert found.numbers["days_back"] == 3 and found.before == pytest.approx(100, rel=0.05)
    assert (
        "held against Sunday, 6 days before, the newest day with the same week-end hours" in look(SATURDAY)[0].sentence
    )


def test_the_sentence_names_the_hours_that_differ_and_not_those_that_most_of_the_day_has():
    """From Friday at ten most hours are a working day's in both; those of Saturday are held against Friday's."""
    friday = MONDAY + 4 * DAY
    text = look(friday + 10 * 3600)[0].sentence
    assert "held against Friday, 7 days before, the newest day with the same week-end hours: the benchmark" in text
    assert text.endswith("has working hours in their place")


@pytest.mark.parametrize(
    ("deployed_s", "factor", "direction"),
    [
        (MONDAY, 1.6, "both"),
        (MONDAY + 9 * 3600, 1.6, "higher_is_worse"),
        (MONDAY, 0.15, "lower_is_worse"),  # less than Sunday has
        (MONDAY + DAY, 1.6, "both"),
        (SATURDAY, 5.0, "both"),
        (SATURDAY, 0.4, "lower_is_worse"),
    ],
)
def test_a_true_deviation_after_a_change_of_kind_is_found(deployed_s, factor, direction):
    found = look(deployed_s, factor=factor, direction=direction, back=3 if deployed_s == MONDAY + DAY else 1)
    assert [c.outcome for c in found] == ["moved", "steady"]


def test_a_fall_to_the_level_of_the_week_end_benchmark_is_still_a_fall():
    """Against Sunday nothing changed at all; against the working days it is two thirds less."""
    for seed in range(3):
        found = look(MONDAY + 9 * 3600, factor=QUIET_WEEK_END, direction="lower_is_worse", seed=seed)[0]
        assert found.outcome == "moved"
        assert found.effect_relative == pytest.approx(QUIET_WEEK_END - 1, abs=0.05)


def test_a_rise_on_a_week_end_that_stays_below_working_days_is_found():
    for seed in range(3):
        assert [c.outcome for c in look(SATURDAY + 9 * 3600, factor=2.0, seed=seed)] == ["moved", "steady"]


def test_without_a_day_of_its_kind_a_change_is_for_a_person():
    for days in (0, 2):
        found = look(SATURDAY, days=days)
        assert [c.outcome for c in found] == ["inconclusive", "steady"]
        assert "may be the usual rhythm" in found[0].sentence


def test_week_ends_are_those_of_the_wall_clock():
    zone_s = 9 * 3600.0
    assert look(MONDAY - zone_s, zone_s=zone_s)[0].outcome == "steady"
    assert "held against Friday" in look(MONDAY - zone_s, zone_s=zone_s)[0].sentence


def test_an_early_look_on_a_monday_is_held_against_fridays_hours():
    found = look(MONDAY + 9 * 3600, hours=4)[0]
    assert found.outcome == "steady" and "held against Friday" in found.sentence
    assert look(MONDAY + 9 * 3600, hours=4, factor=4.0)[0].outcome == "moved"
