"""Appointments that came due while nobody was there: all of them are done afterwards, each once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import asyncpg

from shared.agenda import Job, Worker
from shared.db import Appointment, Database
from shared.telemetry import Telemetry

SERVICE = "incidents"


@dataclass(frozen=True, slots=True)
class Outage:
    """What came of it: appointments that were due, effects that were committed, different ones of these, and how long."""

    due: int
    effects: int
    different: int
    left: int
    took_s: float


async def over(url: str, due: int, *, workers: int = 2) -> Outage:
    """Let `due` appointments come due during an hour without a worker; then `workers` of them, one of which leaves midway.

    Each leaves its effect (a row of the record) in the transaction that ends its appointment.
    """
    admin = await asyncpg.connect(url)
    databases = [Database(url, service=SERVICE, rights={}, role=SERVICE) for _ in range(workers)]
    telemetry = Telemetry(SERVICE, version="test")

    def job(db: Database) -> Job[None]:
        async def overslept(_deps: None, appointment: Appointment) -> None:
            async with db.tx(appointment) as tx:
                tx.audit(appointment.subject, action="overslept")

        return overslept

    try:
        await admin.execute(
            f"INSERT INTO {SERVICE}.agenda (job, subject, revision, due_at, next_at, payload)"
            " SELECT 'overslept', 'timer-' || n, 0, t, t, '{}'"
            " FROM (SELECT n, daymark_now() - interval '1 hour' * n / $1::int AS t FROM generate_series(1, $1::int) n) s",
            due,
        )
        began = time.perf_counter()
        running = [asyncio.create_task(Worker(db, {"overslept": job(db)}, None, telemetry).run()) for db in databases]
        left, waiting = due, "SELECT count(*) FROM incidents.agenda WHERE job = 'overslept'"
        try:
            while left:
                await asyncio.sleep(0.05 + left / 100_000)  # counting many is work as well
                left = await admin.fetchval(waiting)
                if left <= due // 2 and len(running) > 1:
                    running.pop().cancel()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        took_s = time.perf_counter() - began
        done = await admin.fetchrow(
            f"SELECT count(*) AS n, count(DISTINCT object) AS different FROM {SERVICE}.audit WHERE action = 'overslept'"
        )
        return Outage(due, done["n"], done["different"], left, took_s)
    finally:
        await admin.close()
        for db in databases:
            await db.close()
        telemetry.close()
