"""False alarms and recall on made days, with and without earlier days, in seconds (the real data: `make judge`)."""

import numpy as np
import pytest

from services.snapshotter.judge import Rule, Window, judge, overall
from tests.judge.made import DAY, KINDS, STEP, STEPS, T0, quiet

SLIS = 8
CRS = 14


def rules(n=SLIS, **more):
    plain = {"direction": "both", "min_relative": 0.0, "min_absolute": 0.0, "decides": True}
    return [Rule(**{"sli": f"s{i}", "title": f"S{i}", "unit": "ms", **plain, **more}) for i in range(n)]


def ask(values, days, **more):
    """The last day of `values` is the after-day, the one before the benchmark, and the rest history."""

    def window(lo, hi):
        part = values[:, lo * STEPS : hi * STEPS]
        return Window(T0 + lo * DAY, STEP, 0.0, part, (None,) * len(part))

    history = (window(0, days - 1),) if days > 1 else ()
    return judge(window(days - 2, days - 1), window(days - 1, days), rules(len(values)),
                 deployed_at_s=T0 + (days - 1) * DAY, history=history, **more)  # fmt: skip


@pytest.mark.parametrize("days", [2, 6])
def test_when_nothing_happens_nothing_is_said(days):
    """One false alarm in twenty change requests is what the budget allows; made days are kinder than real ones."""
    moved = dict.fromkeys(KINDS, 0)
    for kind in KINDS:
        for seed in range(CRS):
            rng = np.random.default_rng([seed, days, len(kind)])
            moved[kind] += overall(ask(quiet(kind, rng, SLIS, days), days)) != "steady"
    assert sum(moved.values()) <= 0.05 * CRS * len(KINDS), moved


def step(v, rng):
    v[0] += 6 * v[0].std()


def halved(v, rng):
    v[0] *= 0.5


def wider(v, rng):
    v[0] = v[0].mean() + 4 * (v[0] - v[0].mean())


def bursts(v, rng):
    v[0, rng.choice(STEPS, 8, replace=False)] += 15 * v[0].std()


def frozen(v, rng):
    v[0, 30:] = v[0, 29]


def dead(v, rng):
    v[0, 30:] = 0.0


def leak(v, rng):
    v[0] += np.linspace(0, 20, STEPS) * v[0].std()


@pytest.mark.parametrize(
    ("happens", "days", "least"),
    [
        (step, 2, 8),
        (step, 6, 8),
        (halved, 2, 8),
        (halved, 6, 8),
        (wider, 2, 8),
        (wider, 6, 8),
        (frozen, 2, 8),
        (frozen, 6, 8),
        (dead, 2, 8),
        (dead, 6, 8),
        (bursts, 6, 7),  # needs earlier days: eight steps of one day alone may be its habit
        (leak, 6, 6),
    ],
)
def test_what_happens_to_one_of_eight_is_found_and_no_other_is_blamed(happens, days, least):
    found, blamed = 0, 0
    for seed in range(8):
        rng = np.random.default_rng([seed, days])
        values = quiet("rho 0.5", rng, SLIS, days)
        happens(values[:, -STEPS:], rng)
        outcomes = [c.outcome == "moved" for c in ask(values, days)]
        found, blamed = found + outcomes[0], blamed + sum(outcomes[1:])
    assert found >= least
    assert blamed == 0


def test_rare_errors_that_multiply_are_found():
    found = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        values = rng.poisson(0.01, (SLIS, 6 * STEPS)).astype(float)
        values[0, -STEPS:] += rng.poisson(1.0, STEPS)
        found += [c.outcome == "moved" for c in ask(values, 6)] == [True] + [False] * 7
    assert found >= 5


def repeating(rng, days):
    """(N, days * STEPS) whose course of the day repeats itself."""
    t = np.arange(days * STEPS) / STEPS
    course = 100 * (1 + 0.4 * np.sin(2 * np.pi * t + np.arange(SLIS)[:, None]))
    return course * np.exp(0.02 * rng.standard_normal((SLIS, days * STEPS)))


@pytest.mark.parametrize("days", [2, 6])
def test_a_late_step_is_found_where_the_course_of_the_day_repeats_itself(days):
    """Less than three times what the day's course spreads: it is what remains beside the step that tells."""
    found = 0
    for seed in range(6):
        values = repeating(np.random.default_rng([seed, days]), days)
        values[0, -STEPS + 6 * (6 + 2 * seed) :] += 80
        outcomes = [c.outcome == "moved" for c in ask(values, days)]
        found += outcomes[0]
        assert not any(outcomes[1:])
    assert found >= 5
