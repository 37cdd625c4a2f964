"""What users of other judges complained about, as literal arrays, and every edge that is like them."""

import numpy as np
import pytest

from services.snapshotter.judge import overall
from tests.judge.test_outcomes import DAY, T0, judge, rule, window


def look(before, after, step=60.0, start=T0, **more):
    """One SLI, a short window (an early look), the same minutes of two days."""
    rules = [rule(min_relative=0.0, **more)]
    return judge(window([before], start, step), window([after], start + DAY, step), rules, deployed_at_s=start + DAY)[0]


def whole_day(before, after, history=(), n=1, **more):
    a, b = window(before), window(after, T0 + DAY)
    past = tuple(window(h, T0 - (len(history) - i) * DAY) for i, h in enumerate(history))
    return judge(a, b, [rule(i, **more) for i in range(n)], deployed_at_s=T0 + DAY, history=(*past, a))


def quiet(seed, level=100.0, noise=0.02):
    return level * (1 + noise * np.random.default_rng(seed).standard_normal((1, 1440)))


def test_sparse_errors_appear():  # kayenta#426
    c = look([0, 0, 0, 0, 0, 0], [0, 1, 2, 1, 0, 0], direction="higher_is_worse")
    assert c.outcome == "moved"
    assert c.view == "rare events"


def test_new_redirects_from_a_zero_baseline():  # spinnaker#5622
    c = look([0.0] * 10, [0, 0.048, 0, 0.18, 0.089, 0, 0.098, 0.035, 0, 0], direction="higher_is_worse")
    assert (c.outcome, c.view) == ("moved", "rare events")
    assert "was 0 all through the benchmark and is no more" in c.sentence


def test_the_spread_changed_and_the_centre_did_not():  # kayenta#780, case 1
    before = [1, 100, 4, 101, 3, 99, 2, 102, 5, 98, 1, 100]
    after = [10.0, 12.9, 12.2, 13.4, 12.1, 12.3, 13.8, 13.9, 12.5, 12.7, 17.7, 13.6]
    c = look(before, after)
    assert (c.outcome, c.view) == ("moved", "spread")


def test_monday_after_a_quiet_week_end_is_no_deviation():  # getsentry/sentry#66906
    sunday = 1_760_227_200.0  # 2025-10-12 00:00 UTC
    low, normal = quiet(1, 40.0), quiet(2, 100.0)
    c = judge(window(low, sunday), window(normal, sunday + DAY), [rule()], deployed_at_s=sunday + DAY)[0]
    assert c.outcome == "inconclusive"
    assert "week-end" in c.sentence


def test_slow_creep_inside_every_tolerance_is_seen_from_the_anchor():  # ash/rakupp#79, tsouza/cerberus#3151
    """Ten verified steps of +3 %: none alone is a deviation, the sum is one. The anchor stays where it was."""
    anchor = window(quiet(0), T0 - 100 * DAY)
    last = None
    for release in range(1, 11):
        level = 100 * 1.03 ** (release - 1)
        a, b = quiet(2 * release, level), quiet(2 * release + 1, 1.03 * level)
        past = tuple(window(quiet(100 * release + k, level), T0 - k * DAY) for k in (3, 2, 1))
        history = (*past, window(a))
        alone = judge(window(a), window(b, T0 + DAY), [rule()], deployed_at_s=T0 + DAY, history=history)[0]
        assert alone.outcome == "steady", release
        last = judge(
            window(a), window(b, T0 + DAY), [rule()], deployed_at_s=T0 + DAY, references=(anchor,), history=history
        )[0]
        assert last.outcome == ("moved" if release >= 10 else last.outcome)
    assert last is not None
    assert (last.outcome, last.view) == ("moved", "creep")
    assert "anchor" in last.sentence


def test_rare_errors_are_the_finding_and_never_an_outlier_to_remove():  # kayenta#420
    a, b = np.zeros((1, 1440)), np.zeros((1, 1440))
    a[0, [200, 900]] = 1
    b[0, 11::24] = 3
    c = whole_day(a, b, direction="higher_is_worse")[0]
    assert c.outcome == "moved"


@pytest.mark.parametrize("why", ["the source was down", "the query had no answer", "no traffic"])
def test_no_data_is_never_a_pass(why):  # keptn#6096, flagger#1098
    b = window(np.full((1, 1440), np.nan), T0 + DAY, missing=[why])
    c = judge(window(quiet(1)), b, [rule()], deployed_at_s=T0 + DAY)
    assert c[0].outcome == "no_data"
    assert why in c[0].sentence
    assert overall(c) == "no_data"


def test_an_eighth_more_latency_with_a_tenth_allowed_says_both_numbers():  # kayenta#744
    c = whole_day(quiet(1, 200), quiet(2, 225), direction="higher_is_worse", min_relative=0.10)[0]
    assert c.outcome == "moved"
    assert "+12%" in c.sentence or "+13%" in c.sentence
    assert "199.9 -> 224.9 ms" in c.sentence


def test_the_same_change_below_what_the_policy_minds_is_steady_and_says_so():
    c = whole_day(quiet(1, 200), quiet(2, 225), direction="higher_is_worse", min_relative=0.20)[0]
    assert c.outcome == "steady"
    assert "policy" in c.sentence


def test_a_better_level_is_no_deviation():
    assert whole_day(quiet(1, 200), quiet(2, 120), direction="higher_is_worse")[0].outcome == "steady"
    assert whole_day(quiet(1, 200), quiet(2, 120), direction="lower_is_worse")[0].outcome == "moved"


def test_zero_errors_on_both_days_is_steady_and_says_so():
    c = whole_day(np.zeros((1, 1440)), np.zeros((1, 1440)))[0]
    assert c.outcome == "steady"
    assert "0" in c.sentence


def test_a_constant_with_holes_is_not_steady():
    b = np.zeros((1, 1440))
    b[0, 100:250] = np.nan
    assert whole_day(np.zeros((1, 1440)), b)[0].outcome == "inconclusive"


def test_a_constant_that_changed_its_value_is_moved():
    c = whole_day(np.full((1, 1440), 3.0), np.full((1, 1440), 2.0), direction="lower_is_worse")[0]
    assert (c.outcome, c.view) == ("moved", "constant")


def test_a_constant_that_changed_before_the_deploy_is_not_blamed_on_it():
    a, b = np.full((1, 1440), 3.0), np.full((1, 1440), 2.0)
    eve = window(b, T0 + DAY)
    c = judge(window(a), window(b, T0 + 2 * DAY), [rule()], deployed_at_s=T0 + 2 * DAY, history=(eve,))[0]
    assert c.outcome == "inconclusive"
    assert "before the deploy" in c.sentence


def test_frozen_after_varying_is_moved():
    c = whole_day(quiet(1), np.full((1, 1440), 100.0))[0]
    assert c.outcome == "moved"


def test_a_day_of_zeros_is_moved():
    c = whole_day(quiet(1), np.zeros((1, 1440)), direction="lower_is_worse")[0]
    assert c.outcome == "moved"


def test_falling_silent_is_moved_only_when_the_source_and_the_others_spoke():
    a, b = np.vstack([quiet(1), quiet(2)]), np.vstack([np.full((1, 1440), np.nan), quiet(3)])
    rules = [rule(0), rule(1)]
    spoken = judge(window(a), window(b, T0 + DAY), rules, deployed_at_s=T0 + DAY)
    assert (spoken[0].outcome, spoken[0].view) == ("moved", "silent")
    warned = judge(window(a), window(b, T0 + DAY, missing=["warnings", None]), rules, deployed_at_s=T0 + DAY)
    assert warned[0].outcome == "no_data"
    alone = judge(window(a[:1]), window(b[:1], T0 + DAY), rules[:1], deployed_at_s=T0 + DAY)
    assert alone[0].outcome == "no_data"


def test_five_thousand_that_fell_silent_have_moved_only_where_one_of_their_target_spoke():
    """Each asks whether another of its target spoke: that is counted once, and not once for each."""
    spoke, silent = np.tile(np.arange(24.0), (5000, 1)), np.full((5000, 24), np.nan)
    rules = [rule(i, target=f"t{i % 2}") for i in range(5000)]

    silent[1] = spoke[1]  # one of the second target's, and none of the first
    found = judge(window(spoke, T0, 3600.0), window(silent, T0 + DAY, 3600.0), rules, deployed_at_s=T0 + DAY)
    assert [c.outcome for c in found] == ["no_data", "steady", *["no_data", "moved"] * 2499]


def test_a_late_start_and_a_half_day_are_never_steady():
    b = quiet(2)
    b[0, :800] = np.nan
    assert whole_day(quiet(1), b)[0].outcome == "inconclusive"
    c = whole_day(quiet(1), quiet(2)[:, :1100])[0]  # ends after 18 h 20 min
    assert c.outcome in ("steady", "inconclusive")


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ([], [], "no_data"),
        ([1.0], [1.0], "inconclusive"),
        ([1.0], [9.0], "inconclusive"),
        ([1.0, 2.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 2.0, 2.0], "steady"),
        ([1.0, 2.0, 3.0, 2.0, 1.0], [901.0, 902.0, 903.0, 902.0, 902.0], "moved"),
        ([np.nan] * 60, [np.nan] * 60, "no_data"),
        ([5.0] * 60, [5.0] * 60, "steady"),
        ([np.inf] * 60, [1.0] * 60, "no_data"),
        ([1.0, 2.0] * 30, [1.0, np.inf] * 30, "inconclusive"),
        ([-3.0, -4.0] * 30, [-3.0, -4.0] * 30, "steady"),
        ([-3.0, -4.0] * 30, [-300.0, -301.0] * 30, "moved"),
        ([1e300, 2e300] * 30, [1e300, 2e300] * 30, "steady"),
        ([1e300, 1.1e300] * 30, [9e307, 9.1e307] * 30, "moved"),
        ([1, 2] * 30, [1, 2] * 30, "steady"),
    ],
)
def test_edges_of_an_early_look(before, after, outcome):
    assert look(before, after).outcome == outcome


@pytest.mark.parametrize("step", [1.0, 10.0, 60.0, 420.0, 900.0, 3600.0])
def test_every_step_from_a_second_to_an_hour(step):
    t = int(np.ceil(DAY / step))
    r = np.random.default_rng(3)
    a, b = 100 + r.standard_normal((2, t)), 100 + r.standard_normal((2, t))
    b[1] += 60
    found = judge(window(a, T0, step), window(b, T0 + DAY, step), [rule(0), rule(1)], deployed_at_s=T0 + DAY)
    assert [c.outcome for c in found] == ["steady", "moved"]


def test_windows_of_unequal_step_are_inconclusive():
    found = judge(window(quiet(1)), window(quiet(2)[:, ::5], T0 + DAY, 300.0), [rule()], deployed_at_s=T0 + DAY)
    assert found[0].outcome == "inconclusive"


def test_a_benchmark_of_another_clock_is_paired_by_the_clock():
    """The benchmark ran from 14:00, the deploy was at 09:00: the season must not look like a shift."""
    t = np.arange(1440) / 1440
    season = 100 * (1 + 0.5 * np.sin(2 * np.pi * t))[None]
    a, b = np.roll(season, -300, axis=1) + quiet(1, 1), season + quiet(2, 1)
    found = judge(window(a, T0 + 300 * 60), window(b, T0 + 3 * DAY), [rule()], deployed_at_s=T0 + 3 * DAY)
    assert found[0].outcome == "steady"


def test_inputs_are_never_changed_and_answers_repeat():
    a, b = quiet(1), quiet(2)
    b[0, 5] = np.inf
    keep = a.copy(), b.copy()
    one, two = whole_day(a, b), whole_day(a, b)
    assert one == two
    assert np.array_equal(a, keep[0]) and np.array_equal(b, keep[1])


def test_sixteen_sigma_stays_moved_among_five_thousand_series():
    r = np.random.default_rng(1)
    a, b = 50 + r.standard_normal((5000, 24)), 50 + r.standard_normal((5000, 24))
    b[77] += 16
    rules = [rule(i) for i in range(5000)]
    found = judge(window(a, T0, 3600.0), window(b, T0 + DAY, 3600.0), rules, deployed_at_s=T0 + DAY)
    assert [i for i, c in enumerate(found) if c.outcome == "moved"] == [77]


SAW = [float(k % 7) for k in range(144)]


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ([], [], "no_data"),
        ([3.0], [3.0], "inconclusive"),
        ([3.0] * 144, [3.0] * 144, "steady"),
        ([3.0] * 144, [9.0] * 144, "moved"),
        ([np.nan] * 144, SAW, "no_data"),
        (SAW, [np.nan] * 144, "no_data"),
        (SAW, [np.inf] * 144, "no_data"),
        (SAW, [np.inf, 1.0] * 72, "inconclusive"),
        (SAW, SAW[:40], "steady"),  # ends after 7 h: an early look, against the same hours
        (SAW, SAW[:120] + [np.nan] * 24, "steady"),
        (SAW, SAW[:110] + [np.nan] * 34, "inconclusive"),  # a quarter of the day is not known to be steady
        (SAW, [np.nan] * 34 + SAW[34:], "inconclusive"),
        (SAW[:110] + [np.nan] * 34, SAW, "inconclusive"),
        (SAW, SAW[:70] + [np.nan] * 74, "inconclusive"),
        ([-v for v in SAW], [-v for v in SAW], "steady"),
        ([-v for v in SAW], [-v - 400 for v in SAW], "moved"),
        ([1e300 + 1e299 * v for v in SAW], [1e300 + 1e299 * v for v in SAW], "steady"),
        ([1e300 + 1e299 * v for v in SAW], [9e307 + 1e307 * v for v in SAW], "moved"),
        ([5e-324 * v for v in SAW], [5e-324 * v for v in SAW], "steady"),
        ([int(v) for v in SAW], [int(v) for v in SAW], "steady"),
        ([int(v) for v in SAW], [int(v) + 400 for v in SAW], "moved"),
    ],
)
def test_edges_of_a_whole_day(before, after, outcome):
    c = look(before, after, step=600.0)
    assert c.outcome == outcome, c.sentence
    assert c.sentence


@pytest.mark.parametrize("n", [1, 5, 300])
def test_any_number_of_series_and_each_has_its_answer(n):
    a, b = np.array([SAW] * n), np.array([SAW] * n)
    b[-1] += 400
    found = judge(window(a, T0, 600.0), window(b, T0 + DAY, 600.0), [rule(i) for i in range(n)], deployed_at_s=T0 + DAY)
    assert [c.outcome for c in found] == ["steady"] * (n - 1) + ["moved"]
    assert [c.sli for c in found] == [f"s{i}" for i in range(n)]
