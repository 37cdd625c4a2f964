"""Hearers without their doors: the steps of each service behind its real consumer, on a database that can be emptied."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import asyncpg

from services.incidents import domain as incidents_domain
from services.incidents import handlers as incidents
from services.reviewer import domain as reviewer_domain
from services.reviewer import handlers as reviewer
from services.snapshotter import domain as snapshotter_domain
from services.snapshotter import handlers as snapshotter
from shared.agenda import Worker
from shared.bus import TP, Batch, Record
from shared.consumer import Consumer
from shared.contracts import Event, from_wire, to_wire
from shared.db import Database, bootstrap
from shared.telemetry import Telemetry

_SERVICES: dict[str, tuple[Any, Any, Any]] = {
    "incidents": (incidents.ON, incidents.JOBS, incidents_domain.RIGHTS),
    "reviewer": (reviewer.ON, reviewer.JOBS, reviewer_domain.RIGHTS),
    "snapshotter": (snapshotter.ON, snapshotter.JOBS, snapshotter_domain.RIGHTS),
}
_KEPT = ("lanes", "alembic_version")


class Hearer:
    """One service that hears what a test gives it, through `Consumer.hear`, and does what falls due when it is told to."""

    def __init__(self, url: str, service: str) -> None:
        self.url, self.service = url, service
        on, jobs, rights = _SERVICES[service]
        self.db = Database(url, service=service, rights=rights, role=service, pool_size=4)
        self._telemetry = Telemetry(service, version="test")
        self.on = on
        self.consumer = Consumer(self.db, None, self._telemetry, on=on, raw={})  # type: ignore[arg-type]
        self._jobs = {**jobs, "drain_parked": self.consumer.drain_parked}
        self.deps: Any = {"incidents": lambda: incidents.Deps(self.db), "reviewer": lambda: reviewer.Deps(self.db)}.get(
            service, lambda: snapshotter.Deps(self.db)
        )()
        self._offsets = count()

    async def close(self) -> None:
        await self.db.close()

    async def hear(self, *events: Event[Any]) -> None:
        """One batch, in this order, topic mixed with topic. What this service does not hear, its consumer passes over."""
        records = []
        for event in events:
            value, headers = to_wire(event)
            records.append(Record(event.data.topic, 0, next(self._offsets), event.key.encode(), value, headers))
        claims = await self.consumer.claim({TP(one.topic, 0) for one in records})
        await self.consumer.hear(Batch(records, {tp: claim.generation for tp, claim in claims.items()}))

    async def drain(self, *names: str) -> int:
        """Jobs that are due, of these names (all when none is given); how many ran."""
        jobs = {name: job for name, job in self._jobs.items() if not names or name in names}
        return await Worker(self.db, jobs, self.deps, self._telemetry).drain()

    async def settle(self) -> None:
        """Parked keys are heard again until they rest, whatever pause they were given."""
        for _ in range(20):
            async with self.db.connection() as (_, raw):
                await raw.execute("UPDATE agenda SET next_at = due_at WHERE job = 'drain_parked'")
                if not await raw.fetchval("SELECT count(*) FROM agenda WHERE job = 'drain_parked'"):
                    return
            await self.drain("drain_parked")

    async def empty(self) -> None:
        """As if nothing had ever been heard."""
        admin = await asyncpg.connect(self.url)
        try:
            tables = await admin.fetch(
                "SELECT table_name AS n FROM information_schema.tables WHERE table_schema = $1"
                " AND table_name <> ALL($2::text[])",
                self.service,
                list(_KEPT),
            )
            names = ", ".join(f'"{self.service}"."{row["n"]}"' for row in tables)
            await admin.execute(f"TRUNCATE {names}")
            for row in await admin.fetch(
                "SELECT sequence_name AS n FROM information_schema.sequences WHERE sequence_schema = $1", self.service
            ):
                await admin.execute(f'ALTER SEQUENCE "{self.service}"."{row["n"]}" RESTART')
        finally:
            await admin.close()

    async def rows(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        async with self.db.connection() as (_, raw):
            return list(await raw.fetch(sql, *values))

    async def said(self, kind: type[Any] | None = None) -> list[Any]:
        """Facts in the outbox, in order."""
        events = [
            from_wire(row["value"], [(name, text.encode("latin-1")) for name, text in row["headers"]])
            for row in await self.rows("SELECT value, headers FROM outbox ORDER BY id")
        ]
        return [event.data for event in events if event and (kind is None or type(event.data) is kind)]

    async def go_on(self, **by: float) -> None:
        """Move the clock forward."""
        admin = await asyncpg.connect(self.url)
        try:
            ahead = await admin.fetchval("SELECT extract(epoch FROM ahead)::float8 FROM daymark.clock")
            await bootstrap.move_clock(admin, ahead_s=ahead + timedelta(**by).total_seconds())
        finally:
            await admin.close()


def interleavings(*rows: Sequence[Any]) -> list[list[Any]]:
    """Every order of all elements that keeps the order inside each row."""
    live = [row for row in rows if row]
    if not live:
        return [[]]
    found = []
    for place, row in enumerate(live):
        rest = [*live[:place], row[1:], *live[place + 1 :]]
        found += [[row[0], *order] for order in interleavings(*rest)]
    return found
