"""A member of a group on PostgresBus: shares partitions with the other members by lease, and reads them.

All membership changes happen under the group's row lock and raise its `epoch`; members see that in their poll and
settle anew: give up what is more than their share, take what is free. A lease lives as long as its member's `until`,
kept alive by a task while `batch` is being called. It only spreads the work: a member that was stopped and wakes up is
fenced by the generation in the hearer's own database, which `claim` has raised since.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TypeVar
from uuid import UUID, uuid4

from shared.bus import TP, Batch, ClaimPositions, PositionLost, Record
from shared.bus.postgres_line import Line
from shared.bus.postgres_topics import table_of
from shared.db.connection import Connection
from shared.errors import Unavailable

LEASE_S, BEAT_S = 10.0, 2.0
IDLE_S = 300.0  #: a hearer that has not asked for so long is stuck: its partitions go to others
CLAIM_S = 10.0

# The only query of an idle member. Offsets never go back, so an unchanged sum is an unchanged topic.
POLL = """
SELECT (SELECT sum(next)::bigint FROM bus.partitions WHERE topic = ANY($1)) AS written,
       (SELECT epoch FROM bus.groups WHERE name = $2) AS epoch
"""
BEAT = "UPDATE bus.members SET until = public.daymark_tick() + make_interval(secs => $2) WHERE id = $1 RETURNING 1"
DEAD = "SELECT EXISTS (SELECT FROM bus.members WHERE group_name = $1 AND until < public.daymark_tick())"
BOUNDS = "SELECT topic, partition, first, next FROM bus.partitions WHERE topic = ANY($1)"
READ = """
SELECT r.* FROM unnest($1::int[], $2::bigint[]) WITH ORDINALITY AS mine (partition, position, turn),
LATERAL (
    SELECT partition, "offset", key, value, header_names, header_values FROM {table} t
    WHERE t.partition = mine.partition AND t."offset" >= mine.position ORDER BY t."offset" LIMIT $3) r
ORDER BY mine.turn, r."offset" LIMIT $3
"""
COMMIT = """
UPDATE bus.leases l SET committed = c.position FROM unnest($2::text[], $3::int[], $4::bigint[])
    AS c (topic, partition, position)
WHERE l.member = $1 AND l.topic = c.topic AND l.partition = c.partition
"""

log = logging.getLogger(__name__)
T = TypeVar("T")


def share(member: UUID, members: Sequence[UUID], topic: str, partitions: int) -> int:
    """How many partitions of a topic are a member's. Shares add up to `partitions` and differ by one at most.

    Who gets the odd one turns with the topic, so that a group of many small topics is even as well.
    """
    fair, odd = divmod(partitions, len(members))
    turn = (sorted(members).index(member) + zlib.crc32(topic.encode())) % len(members)
    return fair + (turn < odd)


class Member:
    """A Subscription. Made by `join`, used by one task."""

    def __init__(
        self,
        line: Line,
        bell: asyncio.Event,
        group: str,
        topics: Sequence[str],
        claim: ClaimPositions,
        *,
        poll_s: float,
    ):
        self._line, self._bell, self._group, self._topics = line, bell, group, list(topics)
        self._claim, self._poll_s = claim, poll_s
        self._id = uuid4()
        self._epoch = -1
        self._must_settle = True
        self._leased: set[TP] = set()
        self._positions: dict[TP, int] = {}
        self._generations: dict[TP, int] = {}
        self._heard: int | None = None  # the sum of `next` below which nothing of ours is unread
        self._turn = 0
        self._asked = time.monotonic()
        self._beating: asyncio.Task[None] | None = None

    @classmethod
    async def join(
        cls,
        line: Line,
        bell: asyncio.Event,
        group: str,
        topics: Sequence[str],
        claim: ClaimPositions,
        *,
        poll_s: float,
    ) -> Member:
        member = cls(line, bell, group, topics, claim, poll_s=poll_s)
        await line.use(member._settle)
        member._beating = asyncio.create_task(member._beat(), name=f"lease of {group}")
        return member

    @property
    def assigned(self) -> frozenset[TP]:
        return frozenset(self._positions)

    async def batch(self, *, max_records: int, wait_s: float) -> Batch:
        until = time.monotonic() + wait_s
        while True:
            self._asked = time.monotonic()
            self._bell.clear()  # before looking: what is published after the look rings again
            written, epoch = await self._line.use(self._poll)
            if self._must_settle or epoch != self._epoch:
                await self._line.use(self._settle)
            if new := self._leased - self._positions.keys():
                await self._take(new)
            if written != self._heard:
                records = await self._line.use(lambda connection: self._read(connection, max_records))
                if records:
                    return Batch(records, {r.tp: self._generations[r.tp] for r in records})
                self._heard = written
            if (left := until - time.monotonic()) <= 0:
                return Batch()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, self._poll_s)):
                    await self._bell.wait()

    async def commit(self, positions: Mapping[TP, int]) -> None:
        topics, partitions = [tp.topic for tp in positions], [tp.partition for tp in positions]
        with suppress(Unavailable):
            await self._line.use(
                lambda c: c.execute(COMMIT, self._id, topics, partitions, list(positions.values())), within_s=2
            )

    async def abandon(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
        with suppress(Unavailable):
            await self._line.use(self._leave, within_s=2)
        await self._line.close()

    # -- sharing -------------------------------------------------------------------------------------------------------

    async def _poll(self, connection: Connection) -> tuple[int, int]:
        row = await connection.fetchrow(POLL, self._topics, self._group)
        return row["written"], row["epoch"]

    async def _beat(self) -> None:
        """Keep the lease while the hearer asks, and see who stopped keeping theirs."""
        while True:
            await asyncio.sleep(BEAT_S)
            if time.monotonic() - self._asked > IDLE_S:
                continue
            try:
                alive = await self._line.use(lambda c: c.fetchval(BEAT, self._id, LEASE_S))
                dead = await self._line.use(lambda c: c.fetchval(DEAD, self._group))
            except Unavailable as error:
                log.warning("a lease of %s was not renewed: %s", self._group, error)
            except Exception:
                log.exception("a lease of %s was not renewed; trying again", self._group)
            else:
                self._must_settle |= not alive or dead

    async def _settle(self, connection: Connection) -> None:
        """Remove the dead, give up what is over our share, take what is free and ours."""
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO bus.groups (name) VALUES ($1) ON CONFLICT DO NOTHING", self._group)
        epoch = await connection.fetchval("SELECT epoch FROM bus.groups WHERE name = $1 FOR UPDATE", self._group)
        gone = await connection.fetch(
            "DELETE FROM bus.members WHERE group_name = $1 AND until < public.daymark_tick() RETURNING id", self._group
        )
        joined = not await connection.fetchval(BEAT, self._id, LEASE_S)
        if joined:
            await connection.execute(
                "INSERT INTO bus.members VALUES ($1, $2, $3, public.daymark_tick() + make_interval(secs => $4))",
                self._id,
                self._group,
                self._topics,
                LEASE_S,
            )
        held, given, taken = await self._plan(connection)
        await connection.execute(
            "DELETE FROM bus.leases WHERE member = $1"
            " AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::int[]))",
            self._id,
            [tp.topic for tp in given],
            [tp.partition for tp in given],
        )
        await connection.execute(
            "INSERT INTO bus.leases SELECT $1, topic, partition, NULL, $2"
            " FROM unnest($3::text[], $4::int[]) AS t (topic, partition)",
            self._group,
            self._id,
            [tp.topic for tp in taken],
            [tp.partition for tp in taken],
        )
        if gone or joined or given:  # others must look; that we took something concerns nobody
            epoch += 1
            await connection.execute("UPDATE bus.groups SET epoch = $2 WHERE name = $1", self._group, epoch)
        await connection.execute("COMMIT")
        self._leased = (held - given) | taken
        for tp in self._positions.keys() - (held - given):
            del self._positions[tp], self._generations[tp]
        self._epoch, self._must_settle = epoch, False

    async def _plan(self, connection: Connection) -> tuple[set[TP], set[TP], set[TP]]:
        """(held now, to give up, to take)."""
        members = await connection.fetch("SELECT id, topics FROM bus.members WHERE group_name = $1", self._group)
        leases = await connection.fetch(
            "SELECT topic, partition, member FROM bus.leases WHERE group_name = $1", self._group
        )
        holder = {TP(row["topic"], row["partition"]): row["member"] for row in leases}
        places: dict[str, list[TP]] = defaultdict(list)
        for row in await connection.fetch(BOUNDS + " ORDER BY topic, partition", self._topics):
            places[row["topic"]].append(TP(row["topic"], row["partition"]))
        held = {tp for tp, member in holder.items() if member == self._id}
        given: set[TP] = set()
        taken: set[TP] = set()
        for topic, partitions in places.items():
            hearers = [row["id"] for row in members if topic in row["topics"]]
            ours = [tp for tp in partitions if tp in held]
            quota = share(self._id, hearers, topic, len(partitions))
            given.update(ours[quota:])
            free = [tp for tp in partitions if tp not in holder]
            taken.update(free[: max(quota - len(ours), 0)])
        return held, given, taken

    async def _leave(self, connection: Connection) -> None:
        await connection.execute("BEGIN")
        await connection.execute("UPDATE bus.groups SET epoch = epoch + 1 WHERE name = $1", self._group)
        await connection.execute("DELETE FROM bus.members WHERE id = $1", self._id)
        await connection.execute("COMMIT")

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _take(self, new: set[TP]) -> None:
        try:
            async with asyncio.timeout(CLAIM_S):
                claims = await self._claim(new)
        except TimeoutError as error:
            raise Unavailable(f"The positions of {self._group} were not given within {CLAIM_S:g} s.") from error
        bounds = await self._line.use(self._bounds)
        for tp in sorted(new):
            first, following = bounds[tp]
            offset, generation = claims[tp]
            position = first if offset is None else offset
            if not first <= position <= following:
                raise PositionLost(f"{tp}: {position} is outside what is kept, {first} to {following}", {tp})
            self._positions[tp], self._generations[tp] = position, generation
        self._heard = None

    async def _bounds(self, connection: Connection) -> dict[TP, tuple[int, int]]:
        rows = await connection.fetch(BOUNDS, self._topics)
        return {TP(row["topic"], row["partition"]): (row["first"], row["next"]) for row in rows}

    async def _read(self, connection: Connection, max_records: int) -> list[Record]:
        """Up to `max_records` after our positions, which move on. Each topic, each partition gets the first turn."""
        behind: dict[str, list[TP]] = defaultdict(list)
        for tp, (first, following) in sorted((await self._bounds(connection)).items()):
            if (position := self._positions.get(tp)) is None or position == following:
                continue
            if not first <= position <= following:
                raise PositionLost(f"{tp}: {position} is outside what is kept, {first} to {following}", {tp})
            behind[tp.topic].append(tp)
        records: list[Record] = []
        self._turn += 1
        for topic in _turned(list(behind), self._turn):
            places = _turned(behind[topic], self._turn)
            positions = [self._positions[tp] for tp in places]
            rows = await connection.fetch(
                READ.format(table=table_of(topic)),
                [tp.partition for tp in places],
                positions,
                max_records - len(records),
            )
            for partition, offset, key, value, names, values in rows:
                headers = tuple(zip(names, values, strict=True))
                encoded = None if key is None else key.encode()
                records.append(Record(topic, partition, offset, encoded, value, headers))
            if len(records) >= max_records:
                break
        for record in records:
            self._positions[record.tp] = record.offset + 1
        return records


def _turned(items: list[T], by: int) -> list[T]:
    by %= max(len(items), 1)
    return items[by:] + items[:by]
