"""Drift over a product's releases: what is found, and what wandering levels must not set off."""

import numpy as np
import pytest

from services.snapshotter.judge import ALARMS, Rule, across_releases, budget
from services.snapshotter.judge.alarms import SHARES

N = 12


def rules(n=N, direction="both", **more):
    plain = {"min_relative": 0.0, "min_absolute": 0.0, "decides": True}
    return [Rule(**{"sli": f"s{i}", "title": f"S{i}", "unit": "ms", "direction": direction, **plain, **more})
            for i in range(n)]  # fmt: skip


def wandering(rng, releases, rho):
    out = [rng.standard_normal(N)]
    for _ in range(releases - 1):
        out.append(rho * out[-1] + rng.standard_normal(N))
    return 100 + np.array(out)


@pytest.mark.parametrize("rho", [0.0, 0.7, 1.0])
def test_wandering_levels_are_no_drift(rho):
    """From independent noise to a random walk; the share is 3 in 1000 histories of 12 SLIs."""
    rng = np.random.default_rng(7)
    alarms = [
        any(c.outcome == "moved" for c in across_releases(wandering(rng, releases, rho), rules()))
        for releases in (8, 12, 30)
        for _ in range(40)
    ]
    assert sum(alarms) <= 1


def test_ten_steps_of_three_percent_are_creep_and_one_jump_is_a_jump():
    rng = np.random.default_rng(3)
    levels = 100 * (1 + 0.003 * rng.standard_normal((11, N)))
    levels[:, 0] *= 1.03 ** np.arange(11)
    levels[6:, 1] *= 1.10
    found = across_releases(levels, rules(), [f"R{k}" for k in range(11)])
    assert (found[0].outcome, found[0].view) == ("moved", "creep over releases")
    assert (found[1].outcome, found[1].view) == ("moved", "jump at a release")
    assert "R6" in found[1].sentence
    assert {c.outcome for c in found[2:]} == {"steady"}


def test_one_odd_release_is_neither():
    levels = 100 * (1 + 0.003 * np.random.default_rng(3).standard_normal((11, N)))
    levels[6, 0] *= 1.5
    assert across_releases(levels, rules())[0].outcome == "steady"


def test_the_better_direction_and_what_the_policy_does_not_mind_are_no_drift():
    levels = np.repeat(100 * 1.03 ** np.arange(11)[:, None], N, 1)
    levels *= 1 + 0.001 * np.random.default_rng(1).standard_normal(levels.shape)
    assert {c.outcome for c in across_releases(levels, rules(direction="lower_is_worse"))} == {"steady"}
    assert {c.outcome for c in across_releases(levels, rules(min_relative=0.5))} == {"steady"}
    assert {c.outcome for c in across_releases(levels, rules(direction="higher_is_worse"))} == {"moved"}


def test_too_few_releases_say_nothing_and_never_steady():
    levels = np.full((5, N), 100.0)
    assert {c.outcome for c in across_releases(levels, rules())} == {"inconclusive"}
    levels = np.full((9, N), np.nan)
    assert {c.outcome for c in across_releases(levels, rules())} == {"no_data"}
    assert {c.outcome for c in across_releases(np.full((9, N), 3.0), rules())} == {"steady"}
    with pytest.raises(ValueError, match="levels"):
        across_releases(levels, rules(3))
    with pytest.raises(ValueError, match="names"):
        across_releases(levels, rules(), ["R1"])


def test_the_parts_of_the_budget_are_the_whole_of_it():
    assert sum(SHARES.values()) == pytest.approx(ALARMS)
    split = budget(20, references=1, releases=True, early_looks=8)
    assert sum(split[name] for name in SHARES) == pytest.approx(split["alarms"])
    assert split["releases of one SLI"] == pytest.approx(SHARES["releases"] / 20)
    assert split["early looks of one look"] == pytest.approx(SHARES["early looks"] / 8)
    assert "references" not in budget(20)
    with pytest.raises(ValueError, match="negative"):
        budget(-1)
