"""Letters set aside: a key that waits for its context is parked, what nobody can read is a dead letter. Both are rows.

Written in the transaction that moves the position past them, so that a letter is either still ahead or here, never lost.
"""

from __future__ import annotations

import orjson
import structlog

from shared.bus import Record
from shared.bus.kept import kept
from shared.contracts import Event, Fact
from shared.db import Tx

_log = structlog.get_logger(__name__)

PARK_LIMIT, DEAD_LIMIT = 20, 100  #: within the window; more of it is no matter of single letters
_WINDOW = "5 minutes"


class TooManyFailures(Exception):
    """So many keys parked, or letters died, in a few minutes that something larger is wrong: stop, and let a person look."""


async def parked_keys(tx: Tx) -> set[tuple[str, str]]:
    """(topic, key) of all that is parked."""
    return {(row["topic"], row["key"]) for row in await tx.raw.fetch("SELECT DISTINCT topic, key FROM parked")}


async def park(tx: Tx, record: Record, event: Event[Fact], why: str) -> None:
    """Keep a letter until its key is drained; the appointment for that is made, or moved to now."""
    await tx.raw.execute(
        "INSERT INTO parked (topic, partition, position, key, event_id, value, headers, reason, parked_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        record.topic, record.partition, record.offset, event.key, event.id, record.value or b"",
        kept(record.headers), why[:1000].replace("\0", ""), tx.now,
    )  # fmt: skip
    tx.schedule("drain_parked", orjson.dumps([record.topic, event.key]).decode(), tx.now)


async def bury(tx: Tx, record: Record, why: str) -> None:
    """A dead letter: a row, and a letter to `daymark.dead.<service>` with the original bytes, in one transaction."""
    reason = why[:1000].replace("\0", "")
    buried = await tx.raw.fetchval(
        "INSERT INTO dead (topic, partition, position, key, value, headers, reason, at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (topic, partition, position) DO NOTHING RETURNING id",
        record.topic, record.partition, record.offset, record.key, record.value, kept(record.headers), reason, tx.now,
    )  # fmt: skip
    if buried is None:
        return
    _log.error("dead letter", topic=record.topic, partition=record.partition, offset=record.offset, reason=reason)
    headers = (
        *record.headers[:50],
        ("kafka_dlt-original-topic", record.topic.encode()),
        ("kafka_dlt-original-partition", str(record.partition).encode()),
        ("kafka_dlt-original-offset", str(record.offset).encode()),
        ("kafka_dlt-original-consumer-group", f"daymark-{tx.service}".encode()),
        ("kafka_dlt-exception-message", reason.encode()),
    )
    key = (record.key or b"").decode("utf-8", "replace").replace("\0", "")
    place = f"dead:{record.topic}:{record.partition}:{record.offset}"
    tx.post(f"daymark.dead.{tx.service}", key, record.value or b"", headers, f"{tx.service}:{place}")


async def limit_parked(tx: Tx) -> None:
    """Raises TooManyFailures. Of keys, those that began to park count: one that has stood here for days says nothing new."""
    await _limit(tx, "parked", "SELECT min(parked_at) AS at FROM parked GROUP BY topic, key", PARK_LIMIT)


async def limit_dead(tx: Tx) -> None:
    """Raises TooManyFailures."""
    await _limit(tx, "dead", "SELECT at FROM dead", DEAD_LIMIT)


async def _limit(tx: Tx, what: str, since: str, limit: int) -> None:
    found = await tx.raw.fetchval(
        f"SELECT count(*) FROM ({since}) s WHERE at > $1::timestamptz - interval '{_WINDOW}'", tx.now
    )
    if found > limit:
        raise TooManyFailures(f"more than {limit} {what} within {_WINDOW}: a person must look")
