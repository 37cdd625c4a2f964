"""A product's own limits: its days are kept, quiet pairs are chosen by facts, and a verdict says whose limits it used."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import numpy as np
import pytest

from services.snapshotter import judge as judging
from services.snapshotter.domain import DayPair
from services.snapshotter.handlers.judging import ALPHA
from services.snapshotter.store import save_pairs
from shared.contracts import IncidentClosed, IncidentOpened
from tests.observing import POLICY, House, snapshotter
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)
NEEDED = math.ceil(1 / ALPHA) - 1
KEEPING = POLICY.model_copy(update={"observation": POLICY.observation.model_copy(update={"calibrate": True})})


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        yield made


def midnight(when: datetime) -> datetime:
    return when.replace(hour=0, minute=0, second=0, microsecond=0)


async def test_each_whole_day_is_read_once_and_held_against_the_day_before(house: House) -> None:
    await house.policy(KEEPING)
    first = midnight(await house.now())
    await house.go_to(first + DAY + timedelta(hours=2))
    await house.worker.drain()
    asked = len(house.prometheus.asked)
    assert asked == 3 and set(house.prometheus.windows) == {(first.timestamp(), (first + DAY).timestamp() - 300)}
    house.prometheus.down = True
    await house.go_on(hours=24)
    await house.worker.drain()  # the agenda tries again until the source is back
    house.prometheus.down = False
    await house.go_on(hours=1)
    await house.worker.drain()
    await house.go_on(hours=24)
    await house.worker.drain()
    await house.registered()
    at = await house.deployed()
    fact = IncidentOpened(
        incident_id="INC-1", product_id="epl", cr_id=None, title="Slow", severity="minor", origin="person",
        opened_at=at - timedelta(hours=54),
    )  # fmt: skip
    await house.hear(fact)
    await house.hear(
        IncidentClosed(incident_id="INC-1", product_id="epl", reason="gone", closed_at=at - timedelta(hours=53))
    )
    await house.go_on(hours=24)
    await house.worker.drain()
    view = (await house.get("/products/epl/calibration", "ada")).json()
    assert view["days_kept"] == 4 and view["holds"] == "shipped" and view["limit"] == view["shipped_limit"]
    assert (view["needed"], view["alpha"], view["judge_version"]) == (NEEDED, ALPHA, judging.VERSION)
    assert view["false_alarms"] == {"pairs": 0, "alarms": 0, "rate": None, "low": None, "high": None}
    assert [one["left_out"] for one in view["day_pairs"]] == ["CR-1 was deployed", None, "INC-1 was open"]
    assert view["pairs"] == 1 and f"1 of the {NEEDED} quiet day pairs" in view["sentence"]
    assert (await house.get("/products/epl/calibration", "stranger")).status_code == 404
    assert (await house.get("/products/nope/calibration")).status_code == 404
    (due,) = await house.rows("SELECT job FROM agenda WHERE job = 'keep_day'")
    await house.policy(POLICY)  # a policy that keeps no days ends it
    assert await house.rows("SELECT job FROM agenda WHERE job = 'keep_day'") == []
    assert due["job"] == "keep_day"


async def test_a_verdict_uses_the_products_own_limits_once_there_are_enough_quiet_pairs(house: House) -> None:
    await house.policy(KEEPING)
    await house.registered()
    await house.publish()
    at = await house.deployed()
    newest = midnight(at) - DAY
    pairs = [
        DayPair(newest - 2 * n * DAY, 50.0, False, 2, KEEPING.version(), judging.VERSION) for n in range(NEEDED + 1)
    ]  # a product that is far from calm by itself
    async with house.db.house() as tx:
        await save_pairs(tx, "epl", pairs)
    view = (await house.get("/products/epl/calibration")).json()
    assert (view["holds"], view["pairs"], view["limit"], view["earlier_days"]) == ("own", NEEDED + 1, 50.0, 2), view
    assert view["false_alarms"]["pairs"] == 1 and view["false_alarms"]["alarms"] == 0
    house.prometheus.level["latency"] = lambda t: np.where(t >= at.timestamp(), 1.15, 1.0)
    await house.go_to(at + DAY)
    await house.worker.drain()
    look = (await house.observation())["current"]
    assert look["limits"].startswith(f"epl's own limits hold, from {NEEDED + 1} quiet day pairs")
    assert look["comparisons"][0]["limit"] > 45  # less what fewer SLIs take off
    again = (await house.get("/change-requests/CR-1/recomputation")).json()
    assert again["is_equal"], again
    async with house.db.house() as tx:  # limits of later days change nothing about it
        await save_pairs(tx, "epl", [DayPair(newest, 1.0, False, 2, KEEPING.version(), judging.VERSION)])
    assert (await house.get("/change-requests/CR-1/recomputation")).json()["is_equal"]
