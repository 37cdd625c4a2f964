"""The relay: a lane's letters in order, batched, onto the bus; marked sent only when the bus said they are durable.

A relay locks lane *rows*, never letters, so any number of relays keeps the order of each key. There is no cursor over
ids: rows that are still being committed have lower ids than rows already seen.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import structlog

from shared.bus import MAX_RECORD_BYTES, Bus, Letter, Publisher, SendUnknown
from shared.bus.kept import given_back
from shared.clock import monotonic_s
from shared.db import Database
from shared.db.tables import LANES
from shared.errors import DaymarkError
from shared.progress import Progress
from shared.telemetry import Telemetry

_log = structlog.get_logger(__name__)

_POLL_S = 0.5  #: alone enough; commits in this process wake the relay at once
_BATCH = 1000
_GATHER_S = 0.02  #: from one batch to the next that is not full: a batch costs more than its letters
_SEND_S = 8.0  #: a locked lane is let go within 10 s
_KEEP = "7 days"  #: letters stay this long, so that they can be sent again if a broker lost them
_SWEEP_EVERY_S = 600.0
_SWEEP_AGAIN_S = 1.0  #: after a sweep that found its fill: faster than letters can come for long
_SWEPT_AT_ONCE = 2000

_REST_S = 30.0  #: a lane that fails while others go through is left alone for so long

# The lanes of the oldest unsent letters that nobody else holds; half of all at most, so that two relays of one process
# take turns at the database and the bus.
_LANES = (
    "SELECT lane FROM lanes WHERE lane IN (SELECT lane FROM"
    " (SELECT lane FROM unsent WHERE lane <> ALL($2::int2[]) ORDER BY id LIMIT $1) oldest)"
    f" LIMIT {LANES // 2} FOR UPDATE SKIP LOCKED"
)
_LANE = "SELECT lane FROM lanes WHERE lane = $1 FOR UPDATE SKIP LOCKED"
_LETTERS = (
    "SELECT id, topic, key, value, headers FROM outbox"
    " JOIN (SELECT id FROM unsent WHERE lane = ANY($1::int2[]) ORDER BY id LIMIT $2) oldest USING (id) ORDER BY id"
)


class Relay:
    """One relay of one service.

    A letter that the bus will not have must not hold up the others. The lanes of a batch that failed are suspects, and
    are tried one by one, in turn with the lanes that are not; one that fails when something else has just gone through
    is what is wrong, and rests. While nothing goes through, the bus is away, and no lane is to blame.
    """

    def __init__(self, db: Database, bus: Bus, telemetry: Telemetry) -> None:
        self._db, self._bus, self._telemetry = db, bus, telemetry
        self._publisher: Publisher | None = None
        self._sweep_s = monotonic_s() + _SWEEP_EVERY_S
        self.progress = Progress()
        self._suspects: list[int] = []
        self._resting: dict[int, float] = {}  #: lane -> until when
        self._is_lone_turn = False
        self._goes_through = False

    async def run(self) -> None:
        """For ever; every failure is logged, waited out and tried again. Ends only by cancellation."""
        wake, failures = self._db.on_commit("letters"), 0
        try:
            while True:
                try:
                    wake.clear()
                    began_s = monotonic_s()
                    sent = await self.send_some()
                    failures = 0
                    await self.sweep()
                    if sent:
                        self.progress.moved()
                        if sent < _BATCH:
                            await asyncio.sleep(max(0.0, began_s + _GATHER_S - monotonic_s()))
                    else:
                        self.progress.idle()
                        with suppress(TimeoutError):
                            await asyncio.wait_for(wake.wait(), _POLL_S)
                except (SendUnknown, DaymarkError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    failures += 1
                    self.progress.failed(error)
                    _log.warning("relay waits", error=str(error), failures=failures)
                    await self.let_go()
                    await asyncio.sleep(min(10.0, 0.2 * 2 ** min(failures, 6)) * random.uniform(0.5, 1.0))  # noqa: S311
        finally:
            await self.let_go()

    async def send_some(self) -> int:
        """Send one batch from the lanes nobody else holds; how many letters. Raises SendUnknown: nothing was marked."""
        self._suspects += [lane for lane, until in self._resting.items() if until <= monotonic_s()]
        self._resting = {lane: until for lane, until in self._resting.items() if lane not in self._suspects}
        self._is_lone_turn = not self._is_lone_turn
        tries = [*self._suspects[:1], None] if self._is_lone_turn else [None, *self._suspects[:1]]
        for alone in tries:
            if sent := await self._send(alone):
                return sent
        return 0

    async def _send(self, alone: int | None) -> int:
        """Send from one suspected lane, or (None) from all that are not suspected."""
        async with self._db.connection() as (_, raw):
            await raw.execute("BEGIN")
            if alone is None:
                locked = await raw.fetch(_LANES, _BATCH, [*self._suspects, *self._resting])
            else:
                locked = await raw.fetch(_LANE, alone)
            lanes = [row["lane"] for row in locked]
            rows = await raw.fetch(_LETTERS, lanes, _BATCH) if lanes else []
            if rows:
                if self._publisher is None:
                    self._publisher = await self._bus.publisher()
                try:
                    with self._telemetry.span("outbox send", kind="producer"):
                        async with asyncio.timeout(_SEND_S):
                            await self._publisher.publish([_letter(row) for row in rows])
                except (SendUnknown, TimeoutError) as error:
                    self._note_failure(alone, lanes, rows[0], error)
                    raise
                await raw.execute("DELETE FROM unsent WHERE id = ANY($1::int8[])", [row["id"] for row in rows])
            await raw.execute("COMMIT")
        if alone is not None:
            self._suspects.remove(alone)
        if rows:
            self._goes_through = True
            self._telemetry.count("daymark_letters_sent_total", len(rows))
        return len(rows)

    def _note_failure(self, alone: int | None, lanes: Sequence[int], first: Any, error: Exception) -> None:
        if alone is None:
            self._suspects += lanes
        else:
            self._suspects.remove(alone)
            if self._goes_through:
                self._resting[alone] = monotonic_s() + _REST_S
                _log.error(
                    "a lane cannot be sent, others can",
                    lane=alone,
                    topic=first["topic"],
                    id=first["id"],
                    error=str(error),
                )
            else:
                self._suspects.append(alone)
        self._goes_through = False

    async def let_go(self) -> None:
        """Give the publisher up; the next batch takes a new one. Bounded, never raises."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.abandon()

    async def sweep(self) -> None:
        """Remove some letters that were sent long ago, when it is time to: between sends too, there may be no pause."""
        if monotonic_s() < self._sweep_s:
            return
        async with self._db.connection() as (_, raw):
            swept = await raw.execute(
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)"
                " AND created_at < daymark_now() - $1::text::interval"
                " AND NOT EXISTS (SELECT 1 FROM unsent WHERE unsent.id = outbox.id)",
                _KEEP,
                _SWEPT_AT_ONCE,
            )
        is_full = int(swept.split()[1]) > _SWEPT_AT_ONCE // 2
        self._sweep_s = monotonic_s() + (_SWEEP_AGAIN_S if is_full else _SWEEP_EVERY_S)


def _letter(row: Any) -> Letter:
    """The letter in a row. Of a dead one that the bus would not take, only where it lay: its bytes are in the table `dead`.

    Facts are measured where they are said. A foreign record is as large as its writer's broker allowed, and one that is
    refused here would hold up whatever else this service has to say.
    """
    key, value, headers = row["key"], row["value"], given_back(row["headers"])
    if row["topic"].startswith("daymark.dead."):
        size = len(key.encode()) + len(value) + sum(len(name.encode()) + len(said) for name, said in headers)
        if size > MAX_RECORD_BYTES:
            headers = tuple((name, said[:1000]) for name, said in headers if name.startswith("kafka_dlt-"))
            return Letter(row["topic"], key[:1000], b"", (*headers, ("daymark-cut", str(size).encode())))
    return Letter(row["topic"], key, value, headers)
