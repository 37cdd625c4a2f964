"""How far a service has spoken, and how far a read model has heard: what `as_of` on a page rests on.

A service says: everything I committed before this database time lies on the bus below these offsets. A read model that
has passed those offsets has heard that service up to that time. The minimum over services is its `as_of`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from os import getpid

import asyncpg
import orjson
import structlog
from pydantic import ValidationError

from shared.bus import TP, Bus, Letter, Publisher, Record
from shared.contracts.heartbeats import TOPIC, Heartbeat
from shared.db import Database, Tx
from shared.progress import Progress
from shared.settings import SERVICES
from shared.telemetry import Telemetry
from shared.topics import topics_of

_log = structlog.get_logger(__name__)
_NEWEST = 3  #: heartbeats per service that are looked at first: nearly always enough

# By time, since each replica beats: all of the last five minutes, before that one a minute, for as long as the longest
# patience of a policy (`freshness_s`, one hour) and some.
_FORGET = """
DELETE FROM heartbeats h WHERE service = $1 AND (
    as_of < $2::timestamptz - interval '70 minutes'
    OR as_of < $2::timestamptz - interval '5 minutes' AND EXISTS (
        SELECT 1 FROM heartbeats o
        WHERE o.service = h.service AND o.as_of < h.as_of AND o.as_of >= date_trunc('minute', h.as_of)))
"""
_HEARD = """
SELECT h.service, h.as_of, h.ends FROM unnest($1::text[]) AS s (name) CROSS JOIN LATERAL
    (SELECT * FROM heartbeats WHERE service = s.name ORDER BY as_of DESC LIMIT $2::int4) h
ORDER BY h.as_of DESC
"""

# A transaction that began earlier may still write an earlier time, so the oldest open one bounds what is surely said.
_OPEN_SINCE = """
SELECT least(
    daymark_now(),
    (SELECT min(xact_start) + (daymark_now() - daymark_tick()) FROM pg_stat_activity
      WHERE application_name = $1 AND datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'))
"""
_UNSENT_SINCE = "SELECT min(created_at) FROM unsent"
_GAUGES = """
SELECT (SELECT count(*) FROM unsent) AS unsent,
       (SELECT coalesce(extract(epoch FROM daymark_now() - min(created_at)), 0)::float8
          FROM unsent) AS age_s,
       (SELECT count(DISTINCT (topic, key)) FROM parked) AS parked,
       (SELECT count(*) FROM dead WHERE replayed_at IS NULL) AS dead,
       (SELECT count(*) FROM agenda WHERE next_at <= daymark_now()) AS due,
       (SELECT count(*) FROM agenda WHERE due_at <= daymark_now() - interval '1 minute') AS overdue
"""


class Heart:
    """Says the heartbeat of one service, and measures its plumbing at the same pace."""

    def __init__(
        self, db: Database, bus: Bus, telemetry: Telemetry, *, every_s: float, heard: Sequence[str] = ()
    ) -> None:
        """`heard`: the topics that this service hears, whose lag is measured."""
        self._db, self._bus, self._telemetry, self._every_s = db, bus, telemetry, every_s
        self._said, self._heard = topics_of(db.service), tuple(heard)
        self._publisher: Publisher | None = None
        self.progress = Progress(turn_s=60 + every_s)
        self._replica = f"{socket.gethostname()}-{getpid()}"

    async def run(self) -> None:
        """For ever; a beat that fails is logged and the next one is tried."""
        try:
            while True:
                try:
                    await self.beat()
                    self.progress.moved()
                except Exception as error:  # whatever it is, the next beat says how far we are
                    self.progress.failed(error)
                    _log.warning("heartbeat missed", error=repr(error))
                    await self._let_go()
                await asyncio.sleep(self._every_s)
        finally:
            await self._let_go()

    async def beat(self) -> None:
        """One beat. The numbers are set first: they matter most when the bus is away."""
        async with self._db.connection() as (_, raw):
            until = await spoken_until(raw, self._db.service)
            gauges = await raw.fetchrow(_GAUGES)
            positions = await raw.fetch("SELECT topic, partition, next_offset FROM positions")
        for name, value in (
            ("daymark_outbox_unsent", gauges["unsent"]),
            ("daymark_outbox_age_seconds", gauges["age_s"]),
            ("daymark_parked_keys", gauges["parked"]),
            ("daymark_dead_letters", gauges["dead"]),
            ("daymark_timers_due", gauges["due"]),
            ("daymark_timers_overdue", gauges["overdue"]),
        ):
            self._telemetry.gauge(name, float(value))
        # Asked after the time was read: whatever was said before it lies below these.
        found = await self._bus.ends({*self._said, *self._heard})
        self._measure_lag(found, {TP(row["topic"], row["partition"]): row["next_offset"] or 0 for row in positions})
        ends: dict[str, dict[int, int]] = {}
        for tp, end in found.items():
            if tp.topic in self._said:
                ends.setdefault(tp.topic, {})[tp.partition] = end
        beat = Heartbeat(service=self._db.service, replica=self._replica, as_of=until.astimezone(UTC), ends=ends)
        if self._publisher is None:
            self._publisher = await self._bus.publisher()
        await self._publisher.publish([Letter(TOPIC, self._db.service, beat.model_dump_json().encode())])

    def _measure_lag(self, ends: Mapping[TP, int], positions: Mapping[TP, int]) -> None:
        for topic in self._heard:
            behind = sum(max(0, end - positions.get(tp, 0)) for tp, end in ends.items() if tp.topic == topic)
            self._telemetry.gauge("daymark_consumer_lag", float(behind), topic=topic)

    async def _let_go(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.abandon()


async def spoken_until(raw: asyncpg.Connection, service: str) -> datetime:
    """The database time before which nothing of this service is unsent. `raw` is in no transaction.

    Two statements, in this order. In one, the outbox is seen as it was when the statement began and the transactions as
    they are a moment later: one that commits between the two would be in neither, and its letter be said to be sent.
    """
    open_since: datetime = await raw.fetchval(_OPEN_SINCE, f"daymark-{service}")
    unsent_since: datetime | None = await raw.fetchval(_UNSENT_SINCE)
    return min(open_since, unsent_since or open_since) - timedelta(microseconds=1)


async def on_heartbeat(tx: Tx, record: Record) -> None:
    """Keep a heartbeat in the hearer's schema. One that cannot be read is passed over: it only makes us look older."""
    try:
        beat = Heartbeat.model_validate_json(record.value or b"")
    except ValidationError:
        return
    await tx.raw.execute(
        "INSERT INTO heartbeats (service, as_of, ends) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        beat.service,
        beat.as_of,
        orjson.dumps(beat.ends, option=orjson.OPT_NON_STR_KEYS).decode(),
    )
    await tx.raw.execute(_FORGET, beat.service, beat.as_of)


async def as_of(tx: Tx, services: Sequence[str] = SERVICES) -> datetime | None:
    """The database time up to which this schema has heard all of `services`; None while one was never heard."""
    positions = {
        (row["topic"], row["partition"]): row["next_offset"] or 0
        for row in await tx.raw.fetch("SELECT topic, partition, next_offset FROM positions")
    }
    newest: dict[str, datetime] = {}
    for most in (_NEWEST, None):
        missing = [service for service in services if service not in newest]
        for row in await tx.raw.fetch(_HEARD, missing, most) if missing else ():
            if row["service"] not in newest and _is_passed(row["ends"], positions):
                newest[row["service"]] = row["as_of"]
    if any(service not in newest for service in services):
        return None
    return min(newest[service] for service in services)


def _is_passed(ends: Mapping[str, Mapping[str, int]], positions: Mapping[tuple[str, int], int]) -> bool:
    return all(
        end <= positions.get((topic, int(partition)), 0)
        for topic, partitions in ends.items()
        for partition, end in partitions.items()
    )


async def blocked(tx: Tx, keys: Iterable[str]) -> list[str]:
    """Sentences on letters of these keys that arrived and have no effect yet: parked, or dead and not replayed."""
    wanted = list(keys)
    rows = await tx.raw.fetch(
        "SELECT 'parked' AS how, topic, key, min(reason) AS reason, count(*) AS n FROM parked"
        " WHERE key = ANY($1::text[]) GROUP BY topic, key"
        " UNION ALL SELECT 'dead', topic, convert_from(key, 'UTF8'), min(reason), count(*) FROM dead"
        " WHERE replayed_at IS NULL AND key = ANY($2::bytea[]) GROUP BY topic, key",
        wanted,
        [key.encode() for key in wanted],
    )
    return [f"{row['n']} letter(s) of {row['key']} on {row['topic']} are {row['how']}: {row['reason']}" for row in rows]


async def has_heard(tx: Tx, event_id: str) -> bool:
    """Whether this service has taken in that event: heard, and not parked."""
    return bool(
        await tx.raw.fetchval(
            "SELECT EXISTS (SELECT 1 FROM inbox WHERE scope = ANY($2::text[]) AND id = $1)"
            " AND NOT EXISTS (SELECT 1 FROM parked WHERE event_id = $1)",
            event_id,
            [f"bus:{tx.service}:daymark/{service}" for service in SERVICES],
        )
    )
