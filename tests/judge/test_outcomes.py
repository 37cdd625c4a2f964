"""What the rest of the house relies on: the four outcomes on plain windows."""

from itertools import permutations

import numpy as np
import pytest

from services.snapshotter.judge import Comparison, Outcome, Rule, Window, judge, overall

T0 = 1_760_000_400.0
DAY = 86400.0


def window(values, start=T0, step=60.0, missing=None):
    values = np.atleast_2d(np.asarray(values, float))
    return Window(start, step, 0.0, values, tuple(missing or [None] * len(values)))


def rule(i=0, direction="both", **more):
    return Rule(
        **{
            "sli": f"s{i}",
            "title": f"S{i}",
            "unit": "ms",
            "direction": direction,
            "min_relative": 0.05,
            "min_absolute": 0.0,
            "decides": True,
            **more,
        }
    )


def day(seed, n=4, level=100.0, noise=0.03):
    r = np.random.default_rng(seed)
    t = np.arange(1440) / 1440
    return level * (1 + 0.2 * np.sin(2 * np.pi * t)) * (1 + noise * r.standard_normal((n, 1440)))


def ask(a, b, n=4, **more):
    return judge(window(a), window(b, T0 + DAY), [rule(i) for i in range(n)], deployed_at_s=T0 + DAY, **more)


def test_two_honest_days_are_steady():
    for s in range(5):
        assert [c.outcome for c in ask(day(s), day(s + 100))] == ["steady"] * 4


def test_a_clear_level_shift_is_moved():
    for up in (1.4, 1.6):
        b = day(7)
        b[1] *= up
        out = ask(day(1), b)
        assert [c.outcome for c in out] == ["steady", "moved", "steady", "steady"]
        assert overall(out) == "moved"


def test_an_absent_series_is_no_data_with_the_reason_of_the_capture():
    b = day(7)
    b[2] = np.nan
    out = judge(
        window(day(1)),
        window(b, T0 + DAY, missing=[None, None, "the source was down", None]),
        [rule(i) for i in range(4)],
        deployed_at_s=T0 + DAY,
    )
    assert out[2].outcome == "no_data"
    assert "the source was down" in out[2].sentence
    assert overall(out) == "no_data"


def test_a_mostly_absent_series_is_never_steady():
    b = day(7)
    b[2, 300:] = np.nan
    assert ask(day(1), b)[2].outcome in ("inconclusive", "no_data")


def test_nothing_that_decides_is_never_steady():
    assert overall(()) == "no_data"


def test_the_worst_of_what_decides_is_the_whole():
    ranked: list[Outcome] = ["moved", "no_data", "inconclusive", "steady"]
    for order in permutations(range(4)):
        for worst in range(4):
            found = [Comparison(f"s{i}", ranked[i], "so", i >= worst) for i in order]
            assert overall(found) == ranked[worst]


@pytest.mark.parametrize(("unread", "outcome"), [(0, "steady"), (72, "steady"), (73, "inconclusive")])
@pytest.mark.parametrize("in_benchmark", [True, False])
def test_a_constant_is_steady_with_95_percent_of_the_steps_and_not_with_one_less(unread, outcome, in_benchmark):
    full, holes = np.full((1, 1440), 3.0), np.full((1, 1440), 3.0)
    holes[0, 200 : 200 + unread] = np.nan
    found = ask(*((holes, full) if in_benchmark else (full, holes)), n=1)[0]
    assert found.outcome == outcome, found.sentence
    assert "3" in found.sentence


def test_shares_are_said_in_percent_and_their_numbers_stay_as_they_are():
    a, rules = 0.004 * day(1, level=1.0), [rule(i, unit="ratio") for i in range(4)]
    b = 0.004 * day(7, level=1.0)
    b[1] *= 3
    b[2], a[2] = 0.02, 0.01
    b[3] = a[3] = 0.5
    for after, deployed in ((b, T0 + DAY), (b[:, :180], T0 + DAY)):
        out = judge(window(a), window(after, T0 + DAY), rules, deployed_at_s=deployed)
        text = " ".join(c.sentence for c in out)
        assert "ratio" not in text and text.count(" %") >= 6
        was = out[1].before
        assert was is not None and abs(was - 0.004) < 0.001 and f"{100 * was:.4g} -> " in out[1].sentence
        assert "constant at 1 % in the benchmark and rose to constant 2 %" in out[2].sentence
        assert "stayed at 50 % throughout" in out[3].sentence


def test_what_is_not_held_against_the_anchor_for_its_gaps_says_how_much_there_was():
    anchor = 0.05 * day(5)  # everything crept far
    anchor[0, :1000] = np.nan
    gappy, *others = ask(day(3), day(103), references=(window(anchor, T0 - 30 * DAY),))
    assert gappy.outcome == "steady" and gappy.numbers["anchor_paired"] == pytest.approx(440 / 1440)
    assert all((c.outcome, c.view) == ("moved", "creep") and "anchor_paired" not in c.numbers for c in others)
