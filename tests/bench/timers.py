"""Finding and firing due appointments must not cost more because a million others wait."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from shared.agenda import Worker
from shared.db import Appointment, Database
from shared.telemetry import Telemetry
from tests.bench.rows import admin, alternately, server
from tests.outage import over

DUE, FEW, MANY, TIMES = 100, 1_000, 1_000_000, 7
OVERDUE = 100_000


async def _fill(url: str, pending: int) -> None:
    async with admin(url) as connection:
        await connection.execute("TRUNCATE incidents.agenda")
        await connection.execute(
            "INSERT INTO incidents.agenda (job, subject, revision, due_at, next_at, payload)"
            " SELECT 'later', 'pending-' || n, 0, t, t, '{}'"
            " FROM (SELECT n, daymark_now() + interval '1 day' + interval '1 second' * n AS t"
            " FROM generate_series(1, $1::int) n) s",
            pending,
        )
        await connection.execute("VACUUM ANALYZE incidents.agenda")


async def _fire(url: str) -> float:
    """Seconds to find and do `DUE` appointments, each in its own transaction."""
    db = Database(url, service="incidents", rights={}, role="incidents")
    telemetry = Telemetry("incidents", version="bench")

    async def later(_deps: None, appointment: Appointment) -> None:
        async with db.tx(appointment):
            pass

    worker = Worker(db, {"later": later}, None, telemetry)
    try:
        await worker.drain()
        async with admin(url) as connection:
            await connection.execute(
                "INSERT INTO incidents.agenda (job, subject, revision, due_at, next_at, payload)"
                " SELECT 'later', 'due-' || n, 0, daymark_now(), daymark_now(), '{}' FROM generate_series(1, $1::int) n",
                DUE,
            )
        began = time.perf_counter()
        fired = await worker.drain()
        took = time.perf_counter() - began
        assert fired == DUE, fired
        return took
    finally:
        await db.close()
        telemetry.close()


def timers_pending() -> dict[str, Any]:
    with server() as many, server() as few:

        async def measure() -> dict[str, Any]:
            await _fill(many, MANY)
            await _fill(few, FEW)
            await _fire(many)
            await _fire(few)
            return await alternately(TIMES, lambda: _fire(many), lambda: _fire(few))

        return asyncio.run(measure()) | {
            "unit": "s",
            "what": f"find and fire {DUE} due appointments with {MANY:,} pending, against {FEW:,} pending (<= 1.2)",
        }


def timers_outage() -> dict[str, Any]:
    """How many a second are done after an outage, each in its own transaction; all of them, each once."""
    with server() as url:
        found = asyncio.run(over(url, OVERDUE))
    assert (found.effects, found.different, found.left) == (OVERDUE, OVERDUE, 0), found
    return {
        "ours": OVERDUE / found.took_s,
        "limit": None,
        "unit": "timers/s",
        "n": 1,
        "what": f"{OVERDUE:,} due during an outage, done afterwards by two workers of which one leaves midway; none lost or twice",
    }


BENCHES = {"timers_pending": timers_pending, "timers_outage": timers_outage}
