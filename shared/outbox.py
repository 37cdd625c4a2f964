"""The relay: a lane's letters in order, batched, onto the bus; marked sent only when the bus said they are durable.

A relay locks lane *rows*, never letters, so any number of relays keeps the order of each key. There is no cursor over
ids: rows that are still being committed have lower ids than rows already seen.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import asyncpg
import structlog

from shared.bus import MAX_RECORD_BYTES, Bus, Letter, Publisher, SendUnknown
from shared.bus.kept import given_back
from shared.clock import monotonic_s
from shared.db import Database
from shared.errors import DaymarkError
from shared.telemetry import Telemetry

_log = structlog.get_logger(__name__)

_POLL_S = 0.5  #: alone enough; commits in this process wake the relay at once
_BATCH = 1000
_SEND_S = 8.0  #: a locked lane is let go within 10 s
_KEEP = "7 days"  #: sent letters stay this long, so that they can be sent again if a broker lost them
_SWEEP_EVERY_S = 600.0

# The lanes of the oldest unsent letters, as many as nobody else holds.
_LANES = (
    "SELECT lane FROM lanes WHERE lane IN (SELECT lane FROM"
    " (SELECT lane FROM outbox WHERE sent_at IS NULL ORDER BY id LIMIT $1) oldest) FOR UPDATE SKIP LOCKED"
)
_LETTERS = (
    "SELECT id, topic, key, value, headers FROM outbox"
    " WHERE sent_at IS NULL AND lane = ANY($1::int2[]) ORDER BY id LIMIT $2"
)


class Relay:
    """One relay of one service."""

    def __init__(self, db: Database, bus: Bus, telemetry: Telemetry) -> None:
        self._db, self._bus, self._telemetry = db, bus, telemetry
        self._publisher: Publisher | None = None
        self._swept_s = monotonic_s()

    async def run(self) -> None:
        """For ever; every failure is logged, waited out and tried again. Ends only by cancellation."""
        wake, failures = self._db.on_commit(), 0
        try:
            while True:
                try:
                    wake.clear()
                    sent = await self.send_some()
                    failures = 0
                    if sent == 0:
                        await self._sweep()
                        with suppress(TimeoutError):
                            await asyncio.wait_for(wake.wait(), _POLL_S)
                except (SendUnknown, DaymarkError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    failures += 1
                    _log.warning("relay waits", error=str(error), failures=failures)
                    await self.let_go()
                    await asyncio.sleep(min(10.0, 0.2 * 2 ** min(failures, 6)) * random.uniform(0.5, 1.0))  # noqa: S311
        finally:
            await self.let_go()

    async def send_some(self) -> int:
        """Send one batch from the lanes nobody else holds; how many letters. Raises SendUnknown: nothing was marked."""
        async with self._db.connection() as (_, raw):
            await raw.execute("BEGIN")
            lanes = [row["lane"] for row in await raw.fetch(_LANES, _BATCH)]
            rows = await raw.fetch(_LETTERS, lanes, _BATCH) if lanes else []
            if rows:
                if self._publisher is None:
                    self._publisher = await self._bus.publisher()
                with self._telemetry.span("outbox send", kind="producer"):
                    async with asyncio.timeout(_SEND_S):
                        await self._publisher.publish([_letter(row) for row in rows])
                await raw.execute(
                    "UPDATE outbox SET sent_at = daymark_now() WHERE id = ANY($1::int8[])", [row["id"] for row in rows]
                )
            await raw.execute("COMMIT")
        if rows:
            self._telemetry.count("daymark_letters_sent_total", len(rows))
        return len(rows)

    async def let_go(self) -> None:
        """Give the publisher up; the next batch takes a new one. Bounded, never raises."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.abandon()

    async def _sweep(self) -> None:
        if monotonic_s() - self._swept_s < _SWEEP_EVERY_S:
            return
        self._swept_s = monotonic_s()
        async with self._db.connection() as (_, raw):
            await raw.execute(
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT 10000)"
                " AND sent_at < daymark_now() - $1::text::interval",
                _KEEP,
            )


def _letter(row: Any) -> Letter:
    """The letter in a row. Of a dead one that the bus would not take, only where it lay: its bytes are in the table `dead`.

    Facts are measured where they are said. A foreign record is as large as its writer's broker allowed, and one that is
    refused here would hold up whatever else this service has to say.
    """
    key, value, headers = row["key"], row["value"], given_back(row["headers"])
    size = len(key.encode()) + len(value) + sum(len(name.encode()) + len(said) for name, said in headers)
    if size > MAX_RECORD_BYTES:
        headers = tuple((name, said[:1000]) for name, said in headers if name.startswith("kafka_dlt-"))
        return Letter(row["topic"], key[:1000], b"", (*headers, ("daymark-cut", str(size).encode())))
    return Letter(row["topic"], key, value, headers)
