"""Late after an outage, never dropped: `make chaos` with 100,000 timers, `make test` with a few hundred through the same code."""

import os

import pytest

from tests.flow.world import _prepared
from tests.outage import over
from tests.servers.postgres import Databases

TIMERS = int(os.environ.get("DAYMARK_TEST_TIMERS", "400"))


@pytest.mark.chaos
async def test_timers_that_came_due_during_an_outage_all_fire_after_it_each_once(postgres: Databases) -> None:
    url = await postgres.fresh(await postgres.template("world", _prepared))
    found = await over(url, TIMERS)
    await postgres.drop(url)
    print(f"{TIMERS / found.took_s:.0f} timers a second")
    assert (found.effects, found.different, found.left) == (TIMERS, TIMERS, 0)
