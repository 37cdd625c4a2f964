"""The demo's simulated systems: deterministic, lifelike, and honest about what is deployed on them."""

import time

import numpy as np
import pytest

from deploy.local.plant import EFFECTS, SIGNALS, Floats, Plant
from deploy.local.telemetry import policies_in

DAY_S = 86_400
MONDAY = 1_700_438_400.0  # 2023-11-20 00:00 UTC


def minutes(start_s: float, days: float) -> Floats:
    return start_s + 60.0 * np.arange(int(days * 1440), dtype=np.float64)


def test_every_sli_of_the_shipped_policies_has_a_signal_and_no_signal_is_idle() -> None:
    asked = {(policy.id, sli.id) for policy in policies_in() for sli in policy.slis}
    assert asked == set(SIGNALS)
    assert {(product, sli) for (product, _), slis in EFFECTS.items() for sli in slis} <= asked


@pytest.mark.parametrize("sli", SIGNALS, ids="/".join)
def test_a_value_depends_on_its_time_alone(sli: tuple[str, str]) -> None:
    week = minutes(MONDAY, 7)
    values = Plant().values(*sli, week)
    assert np.isfinite(values).all() and (values > 0).all()
    some = np.array([17, 5000, 3])
    np.testing.assert_array_equal(Plant().values(*sli, week[some]), values[some])
    if sli[1].endswith(("ratio", "saturation")):
        assert values.max() < 1


@pytest.mark.parametrize("sli", SIGNALS, ids="/".join)
def test_days_differ_a_little_and_weekends_by_their_factor(sli: tuple[str, str]) -> None:
    values = Plant().values(*sli, minutes(MONDAY, 70)).reshape(10, 7, 1440).mean(axis=2)
    signal = SIGNALS[sli]
    weekdays, weekends = values[:, 1:4], values[:, 5:]
    assert 0.005 < weekdays.std() / weekdays.mean() < 0.08
    assert weekdays.mean() == pytest.approx(signal.level, rel=0.06)
    assert weekends.mean() / weekdays.mean() == pytest.approx(signal.weekend, abs=0.06)


def test_neighbouring_minutes_hang_together_and_slis_of_a_product_a_little() -> None:
    plant, day = Plant(), minutes(MONDAY, 5)
    first, other = (np.log(plant.values("epl", sli, day)) for sli in ("p99-latency", "heap-used"))
    jumps = [np.diff(first, n=1)[:: 60 * 6], first[60::360] - first[:-60:360]]
    assert jumps[0].std() < jumps[1].std()
    rough = [np.diff(series[::5]) for series in (first, other)]
    assert 0.02 < np.corrcoef(rough[0], rough[1])[0, 1] < 0.7


def test_a_change_with_an_effect_shows_from_its_deploy_to_its_rollback_and_nowhere_else() -> None:
    day, at_s, back_s = minutes(MONDAY, 1), MONDAY + 6 * 3600, MONDAY + 18 * 3600
    quiet, plant = Plant(), Plant()
    plant.deploy("epl-x", "EPLX-2.8.0", at_s)
    assert plant.roll_back("epl-x", back_s) == "EPLX-2.8.0"
    ratio = plant.values("epl-x", "p99-latency", day) / quiet.values("epl-x", "p99-latency", day)
    np.testing.assert_allclose(ratio[day <= at_s], 1)
    np.testing.assert_allclose(ratio[(day >= at_s + 120) & (day <= back_s)], 1.45)
    np.testing.assert_allclose(ratio[day >= back_s + 180], 1)
    for product, sli in (("epl", "p99-latency"), ("epl-x", "throughput")):
        np.testing.assert_array_equal(plant.values(product, sli, day), quiet.values(product, sli, day))


def test_a_change_without_an_effect_is_not_seen() -> None:
    plant, day = Plant(), minutes(MONDAY, 1)
    plant.deploy("epl", "EPL-9.1.0", MONDAY)
    np.testing.assert_array_equal(plant.values("epl", "p99-latency", day), Plant().values("epl", "p99-latency", day))


def test_a_deploy_that_is_said_again_is_moved_not_doubled() -> None:
    plant, once, day = Plant(), Plant(), minutes(MONDAY, 1)
    plant.deploy("epl-x", "EPLX-2.8.0", MONDAY + 3600)
    plant.deploy("epl-x", "EPLX-2.8.0", MONDAY + 7200)
    once.deploy("epl-x", "EPLX-2.8.0", MONDAY + 7200)
    values = [p.values("epl-x", "p99-latency", day) for p in (plant, once)]
    np.testing.assert_array_equal(values[0], values[1])


def test_a_rollback_takes_back_the_last_change_that_still_runs() -> None:
    plant = Plant()
    assert plant.roll_back("epl", 100.0) is None
    plant.deploy("epl", "A", 10.0)
    plant.deploy("epl", "B", 20.0)
    assert [plant.roll_back("epl", at_s) for at_s in (30.0, 31.0, 32.0)] == ["B", "A", None]


def test_eight_days_of_five_slis_take_less_than_a_blink() -> None:
    plant, days = Plant(), minutes(MONDAY, 8)
    started = time.perf_counter()
    for product, sli in list(SIGNALS)[:5]:
        plant.values(product, sli, days)
    assert time.perf_counter() - started < 1.0  # 40 ms when alone on the machine
