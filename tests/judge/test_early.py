"""Windows of a few hours: what is gross is seen at every hour of the day, and what is not is not claimed to be well."""

import numpy as np
import pytest

from services.snapshotter.judge import Rule, Window, judge

THURSDAY = 1_760_572_800 - 1_760_572_800 % 86400  # the working days before it are enough for every look here
HOUR, DAY, STEP = 3600, 86400, 300
ERRORS = Rule("errors", "Errors", "1/s", "both", 0.1, 0.0, True)


def made(start, hours, rng, factor=1.0, plus=0.0, day=0.2, noise=0.01):
    """One SLI with a daily course of +-20 % and 1 % noise."""
    at = start + STEP * np.arange(int(hours * HOUR / STEP))
    values = 100 * (1 + day * np.sin(2 * np.pi * at / DAY)) * factor + plus
    return Window(float(start), STEP, 0.0, (values * (1 + noise * rng.standard_normal(len(at))))[None], (None,))


def look(hour, days=0, hours=4, late=0.0, **after):
    """`hours` from the given hour of a Thursday, against the day before the deploy, which was `late` hours earlier."""
    rng = np.random.default_rng(hour)
    start = THURSDAY + hour * HOUR
    deployed = start - late * HOUR
    history = [made(deployed - back * DAY, 24, rng) for back in range(days, 0, -1)]
    return judge(
        made(deployed - DAY, 24, rng),
        made(start, hours, rng, **after),
        [ERRORS],
        deployed_at_s=float(start),
        history=history,
    )[0]


@pytest.mark.parametrize("hour", range(24))
def test_what_doubles_is_seen_at_every_hour_and_what_stays_is_steady(hour):
    """A window on the slope of its day spans a wide range; that range is no excuse for a change."""
    for days, late in ((0, 0.0), (0, 7.3), (2, 26.0), (7, 7.3)):
        assert look(hour, days, late=late).outcome == "steady"
        assert look(hour, days, late=late, factor=1.08).outcome == "steady"
        for factor in (0.5, 1.5, 2.0):
            assert look(hour, days, late=late, factor=factor).outcome == "moved", (days, late, factor)
        assert look(hour, days, late=late, plus=100).outcome == "moved"


@pytest.mark.parametrize("hour", range(0, 24, 5))
def test_earlier_days_show_what_the_benchmark_alone_leaves_to_a_person(hour):
    alone, known = look(hour, factor=1.25), look(hour, days=7, factor=1.25)
    assert (alone.outcome, known.outcome) == ("inconclusive", "moved")
    assert "more than usual" in alone.sentence and known.numbers["visible"] < alone.numbers["visible"]


def test_a_quiet_window_says_what_would_have_shown():
    c = look(9)
    visible = c.numbers["visible"]
    assert f"a change from {visible:.3g} 1/s ({visible / c.before:.0%}) on would have shown" in c.sentence
    assert 20 < visible < 40
    assert look(9, plus=0.8 * visible).outcome == "inconclusive"
    assert look(9, plus=1.2 * visible).outcome == "moved"


def test_what_an_earlier_day_did_as_well_needs_nobody():
    """A week-end's level on a working day is unusual; when an earlier day at the same hours had it, it is a habit."""
    rng = np.random.default_rng(1)
    start = THURSDAY + 9 * HOUR
    history = [made(start - back * DAY, 24, rng, factor=0.6 if back == 3 else 1.0) for back in range(7, 0, -1)]
    after = made(start, 4, rng, factor=0.6)
    kept = judge(history[-1], after, [ERRORS], deployed_at_s=float(start), history=history)[0]
    assert kept.outcome == "steady"
    new = judge(history[-1], made(start, 4, rng, factor=2.5), [ERRORS], deployed_at_s=float(start), history=history)[0]
    assert new.outcome == "moved"


def test_a_benchmark_that_strays_by_itself_asks_for_more():
    """What jumps up and down all day is not gross when it stands higher once more."""
    rng = np.random.default_rng(2)
    start = THURSDAY + 9 * HOUR

    def wild(first, hours):
        w = made(first, hours, rng)
        steps = w.values.shape[1]
        levels = np.repeat(rng.choice([1.0, 2.5], -(-steps // 12)), 12)[:steps]
        return Window(w.start_s, STEP, 0.0, w.values * levels, w.missing)

    before = wild(start - DAY, 24)
    calm = judge(before, made(start, 4, rng, factor=2.5), [ERRORS], deployed_at_s=float(start))[0]
    assert calm.outcome != "moved"
    assert judge(before, made(start, 4, rng, factor=20), [ERRORS], deployed_at_s=float(start))[0].outcome == "moved"


@pytest.mark.parametrize("shape", ["zeros", "constant", "negative", "gaps", "huge", "tiny"])
def test_odd_series_are_answered_in_the_same_way_with_and_without_earlier_days(shape):
    rng = np.random.default_rng(3)
    start = THURSDAY + 9 * HOUR

    def odd(first, hours):
        w = made(first, hours, rng)
        v = {
            "zeros": np.where(rng.random(w.values.shape) < 0.02, 1.0, 0.0),
            "constant": np.full_like(w.values, 7.0),
            "negative": -w.values,
            "gaps": np.where(rng.random(w.values.shape) < 0.1, np.nan, w.values),
            "huge": w.values * 1e300,
            "tiny": w.values * 1e-300,
        }[shape]
        return Window(w.start_s, STEP, 0.0, v, w.missing)

    history = [odd(start - back * DAY, 24) for back in range(7, 0, -1)]
    for past in ([], history):
        c = judge(history[-1], odd(start, 4), [ERRORS], deployed_at_s=float(start), history=past)[0]
        assert c.outcome == "steady", c.sentence
        assert all(np.isfinite(v) for v in c.numbers.values())


def stood(hours, value, direction="both", before=0):
    """A lively SLI that stands at one value for some hours from nine o'clock on, and the day before for `before` hours."""
    rng, start = np.random.default_rng(6), THURSDAY + 9 * HOUR
    day = made(start - DAY, 24, rng, day=0.0)
    day.values[:, : int(before * HOUR / STEP)] = 100.0
    after = Window(float(start), STEP, 0.0, np.full((1, int(hours * HOUR / STEP)), value), (None,))
    rules = [Rule("s", "Load", "1/s", direction, 0.6, 0.0, True)]
    return judge(day, after, rules, deployed_at_s=float(start))[0]


def test_a_lively_series_that_stands_still_from_the_deploy_on_is_no_recovery():
    """Its level is where it was: an exporter that hangs must not read as well."""
    for direction in ("both", "higher_is_worse", "lower_is_worse"):
        c = stood(4, 100.0, direction)
        assert (c.outcome, c.view) == ("moved", "frozen or dead")
        assert "Load stood still at one value for 4.0 h (at most 0.1 h before)" in c.sentence
    assert stood(4, 50.0).view == "frozen or dead"  # that the policy does not mind the fall is no excuse
    assert stood(3, 100.0).outcome == "steady"  # too short to tell from a gauge that rests
    assert stood(4, 100.0, before=2).outcome == "steady"  # it does so by itself


def test_standing_at_0_is_a_fall_and_no_rise():
    assert stood(4, 0.0).outcome == stood(4, 0.0, "lower_is_worse").outcome == "moved"
    assert stood(4, 0.0, "higher_is_worse").outcome == "steady"


def test_hours_without_a_rare_event_are_not_frozen():
    rng, start = np.random.default_rng(8), THURSDAY + 9 * HOUR
    day = Window(float(start - DAY), STEP, 0.0, rng.poisson(2.0, (1, 288)).astype(float), (None,))
    none = Window(float(start), STEP, 0.0, np.zeros((1, 48)), (None,))
    c = judge(day, none, [ERRORS], deployed_at_s=float(start))[0]
    assert c.view != "frozen or dead"
