"""PostgresBus: the same promises as Kafka's, held by one PostgreSQL server, so that Python alone runs Daymark.

For the embedded mode: a single machine, some thousand letters a second. See postgres_topics for how letters lie,
postgres_group for how members share them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, WeakSet

from shared.bus import TP, ClaimPositions, Letter, SendUnknown, TopicSpec, refuse_too_large
from shared.bus import postgres_topics as topics
from shared.bus.partitioner import partition_of
from shared.bus.postgres_group import Member
from shared.bus.postgres_line import Line
from shared.db.connection import Connection
from shared.errors import Unavailable

SEND_S = 10.0
TIDY_S = 60.0  #: how often the publisher of a topic with a retention clears it

# Locked in one order by everybody, so that publishers wait for each other and never in a circle.
DRAW = """
WITH wanted AS (SELECT * FROM unnest($1::text[], $2::int[], $3::int[]) AS w (topic, partition, n)),
held AS MATERIALIZED (
    SELECT p.topic, p.partition, w.n FROM bus.partitions p JOIN wanted w USING (topic, partition)
    ORDER BY p.topic, p.partition FOR UPDATE OF p)
UPDATE bus.partitions p SET next = p.next + h.n FROM held h
WHERE p.topic = h.topic AND p.partition = h.partition
RETURNING p.topic, p.partition, p.next - h.n AS first
"""
COLUMNS = ("partition", "offset", "key", "value", "header_names", "header_values")

TIDY = """
WITH gone AS (
    DELETE FROM {table} WHERE at < public.daymark_tick() - make_interval(secs => $2)
    RETURNING partition, "offset")
UPDATE bus.partitions p SET first = g.first
FROM (SELECT partition, max("offset") + 1 AS first FROM gone GROUP BY partition) g
WHERE p.topic = $1 AND p.partition = g.partition
"""

#: Per event loop and database: what rings when a letter was published in this process.
_BELLS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, WeakSet[asyncio.Event]]] = WeakKeyDictionary()


def _bells(dsn: str) -> WeakSet[asyncio.Event]:
    database = urlsplit(dsn)._replace(fragment="")
    place = database._replace(netloc=database.netloc.rpartition("@")[2]).geturl()  # whoever one comes as
    return _BELLS.setdefault(asyncio.get_running_loop(), {}).setdefault(place, WeakSet())


async def _clear(connection: Connection, topic: str, keep_s: float) -> None:
    await connection.execute(TIDY.format(table=topics.table_of(topic)), topic, keep_s)


class PostgresPublisher:
    """Writes each call's letters in one transaction."""

    def __init__(self, line: Line, bells: WeakSet[asyncio.Event]):
        self._line, self._bells = line, bells
        self._topics: dict[str, tuple[int, int]] = {}  # partitions and retention never change
        self._tidied: dict[str, float] = {}

    async def publish(self, letters: Sequence[Letter]) -> None:
        if not letters:
            return
        refuse_too_large(letters)
        try:
            await self._line.use(lambda connection: self._write(connection, letters), within_s=SEND_S)
        except Unavailable as error:
            raise SendUnknown(str(error)) from error
        except UnicodeEncodeError as error:
            raise SendUnknown(
                "PostgreSQL keeps keys and names of headers as text: one of these letters has bytes"
            ) from error
        for bell in self._bells:
            bell.set()
        await self._tidy({letter.topic for letter in letters})

    async def _write(self, connection: Connection, letters: Sequence[Letter]) -> None:
        await self._learn(connection, {letter.topic for letter in letters})
        places = [TP(letter.topic, partition_of(letter.key, self._topics[letter.topic][0])) for letter in letters]
        counts = Counter(places)
        await connection.execute("BEGIN")
        drawn = await connection.fetch(DRAW, [t for t, _ in counts], [p for _, p in counts], list(counts.values()))
        following = {TP(row["topic"], row["partition"]): row["first"] for row in drawn}
        rows: dict[str, list[tuple[object, ...]]] = {}
        for letter, place in zip(letters, places, strict=True):
            if place not in following:
                raise SendUnknown(f"{letter.topic} is not ours to write")
            names, values = [name for name, _ in letter.headers], [value for _, value in letter.headers]
            row = (place.partition, following[place], letter.key, letter.value, names, values)
            rows.setdefault(letter.topic, []).append(row)
            following[place] += 1
        for topic, records in rows.items():
            await connection.copy_records_to_table(topic, schema_name="bus", columns=COLUMNS, records=records)
        await connection.execute("COMMIT")

    async def _learn(self, connection: Connection, wanted: set[str]) -> None:
        if new := wanted - self._topics.keys():
            rows = await connection.fetch("SELECT * FROM bus.topics WHERE name = ANY($1)", list(new))
            self._topics |= {row["name"]: (row["partitions"], row["retention_ms"]) for row in rows}
            if missing := new - self._topics.keys():
                raise SendUnknown(f"these topics do not exist: {', '.join(sorted(missing))}")

    async def _tidy(self, written: set[str]) -> None:
        """Clear what is older than its topic's retention. A failure is the next call's to mend."""
        for topic in written:
            retention_ms = self._topics[topic][1]
            if retention_ms < 0 or time.monotonic() - self._tidied.get(topic, -TIDY_S) < TIDY_S:
                continue
            self._tidied[topic] = time.monotonic()
            clear = partial(_clear, topic=topic, keep_s=retention_ms / 1000)
            with suppress(Unavailable):
                await self._line.use(clear)

    async def abandon(self) -> None:
        self._line.drop()


class PostgresBus:
    """`dsn` names the database; `role` is what every connection acts as (None: whoever `dsn` logs in).

    `poll_s` is how late a letter of another process may be noticed; one of this process is noticed at once.
    """

    def __init__(self, dsn: str, *, role: str | None = None, poll_s: float = 0.2):
        self._dsn, self._role, self._poll_s = dsn, role, poll_s
        self._asking = self._line()
        self._lines: WeakSet[Line] = WeakSet()

    def _line(self) -> Line:
        return Line(self._dsn, self._role)

    async def publisher(self) -> PostgresPublisher:
        line = self._line()
        self._lines.add(line)
        return PostgresPublisher(line, _bells(self._dsn))

    async def subscribe(self, group: str, topics: Iterable[str], claim: ClaimPositions) -> Member:
        """As the protocol says. Raises Unavailable when the database does not answer or a topic does not exist."""
        wanted = tuple(sorted(set(topics)))
        await self.ends(wanted)
        line, bell = self._line(), asyncio.Event()
        self._lines.add(line)
        _bells(self._dsn).add(bell)
        return await Member.join(line, bell, group, wanted, claim, poll_s=self._poll_s)

    async def ends(self, topics: Iterable[str]) -> Mapping[TP, int]:
        wanted = list(set(topics))
        ask = "SELECT topic, partition, next FROM bus.partitions WHERE topic = ANY($1)"
        rows = await self._asking.use(lambda connection: connection.fetch(ask, wanted))
        found = {TP(row["topic"], row["partition"]): row["next"] for row in rows}
        if missing := set(wanted) - {tp.topic for tp in found}:
            raise Unavailable(f"These topics do not exist yet: {', '.join(sorted(missing))}.")
        return found

    async def apply_topics(self, specs: Sequence[TopicSpec]) -> Sequence[str]:
        return await self._asking.use(lambda connection: topics.apply(connection, specs), within_s=30)

    async def grant(self, owners: Mapping[str, Sequence[str]], readers: Sequence[str]) -> None:
        """See postgres_topics.grant. Raises Unavailable also when this bus is not an admin's."""
        await self._asking.use(lambda connection: topics.grant(connection, owners, readers), within_s=30)

    async def ping(self) -> None:
        await self._asking.use(lambda connection: connection.fetchval("SELECT 1"), within_s=2)

    async def close(self) -> None:
        for line in (self._asking, *self._lines):
            await line.close()
