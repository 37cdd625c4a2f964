"""Late after an outage, never dropped: `make chaos` with 100,000 timers, `make test` with a few hundred through the same code."""

import asyncio
import os
import time

import pytest

from shared import agenda
from shared.agenda import Worker
from shared.db import Appointment, Database
from shared.telemetry import Telemetry
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


async def test_what_was_claimed_ahead_goes_back_when_jobs_become_slow(
    postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agenda, "_IDLE_S", 0.2)
    url = await postgres.fresh(await postgres.template("world", _prepared))
    db, telemetry = Database(url, service="incidents", rights={}, role="incidents"), Telemetry("incidents", version="t")
    done: dict[str, list[str]] = {"slow": [], "quick": []}

    async def slow(_deps: None, appointment: Appointment) -> None:
        done["slow"].append(appointment.subject)
        await asyncio.sleep(60)

    async def quick(_deps: None, appointment: Appointment) -> None:
        done["quick"].append(appointment.subject)
        assert appointment.attempts == 1  # being claimed ahead and given back was none
        async with db.tx(appointment):
            pass

    async with db.house() as tx:
        for number in range(30):
            tx.schedule("look", f"look-{number}")
    first = Worker(db, {"look": slow}, None, telemetry)
    first._ended_s.extend([time.monotonic()] * 64)  # it had been quick until now
    running = [asyncio.create_task(first.run())]
    try:
        while len(done["slow"]) < 8:
            await asyncio.sleep(0.02)
        assert len(first._ready) == 22
        running.append(asyncio.create_task(Worker(db, {"look": quick}, None, telemetry).run()))
        async with asyncio.timeout(agenda.LEASE_S / 2):  # long before any lease runs out
            while len(done["quick"]) < 22:
                await asyncio.sleep(0.02)
    finally:
        for task in list(first._running):
            task.cancel()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await db.close()
        telemetry.close()
        await postgres.drop(url)
    assert len({*done["slow"], *done["quick"]}) == 30
