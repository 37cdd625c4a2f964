"""A product's own limits: enough pairs, the promised rate, nothing chosen by the verdict."""

import numpy as np
import pytest

from services.snapshotter.judge.calibrate import calibrate, rate_interval
from services.snapshotter.judge.tables.shipped import SHIPPED


def test_too_few_pairs_leave_the_shipped_limits():
    c = calibrate(SHIPPED, [0.0] * 18, 1, 0.05)
    assert (c.is_own, c.needed, c.fitted) == (False, 19, SHIPPED)


def test_nineteen_pairs_give_the_highest_of_them():
    tops = list(np.linspace(-3, 1, 19))
    c = calibrate(SHIPPED, tops, 1, 0.05)
    assert c.is_own
    assert c.fitted.limits[1] == 1.0
    assert c.fitted.limits[2] == SHIPPED.limits[2]


def test_later_pairs_alarm_at_most_as_promised():
    rng = np.random.default_rng(4)
    alarms = []
    for _ in range(2000):
        tops = rng.gumbel(size=40).tolist()
        limit = calibrate(SHIPPED, tops, 1, 0.05).fitted.limits[1]
        alarms.append(rng.gumbel() > limit)
    assert np.mean(alarms) <= 0.06


def test_the_interval_is_the_textbook_one():
    assert rate_interval(0, 10)[0] == 0.0
    assert rate_interval(0, 10)[1] == pytest.approx(1 - 0.05**0.1)


def test_alpha_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="alpha"):
        calibrate(SHIPPED, [0.0] * 50, 1, 1.5)
