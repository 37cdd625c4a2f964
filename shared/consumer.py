"""The consumer: a batch of letters in order, each to its step, effect and position in one commit.

Facts are never refused. A letter nobody can read is a dead letter; one that lacks context, or keeps failing, parks its
key, and its neighbours go on. Positions are rows in the service's own database, so an effect and its position cannot part.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
import structlog

from shared.bus import TP, Batch, Bus, BusBroken, Claim, PositionLost, Record, Subscription
from shared.bus.kept import given_back, kept
from shared.clock import monotonic_s
from shared.contracts import Event, Fact, from_wire
from shared.db import Appointment, Database, Tx
from shared.db.database import translated
from shared.errors import Busy, DaymarkError, TryLater, Unavailable, Unreadable
from shared.telemetry import Telemetry

_log = structlog.get_logger(__name__)

Step = Callable[[Tx, Event[Any]], Awaitable[None]]
#: What a service's `ON` is: event -> step.
Steps = Mapping[type[Fact], Step]
RawStep = Callable[[Tx, Record], Awaitable[None]]

MAX_BATCH = 500
_TRIES = 3  #: of one letter alone, before its key is parked
_PARK_LIMIT, _DEAD_LIMIT, _LIMIT_WINDOW = 20, 100, "5 minutes"
_DECODE_AT_ONCE = 20


class Fenced(Exception):
    """Another member owns a partition of this batch by now: nothing of it may take effect here."""


class TooManyFailures(Exception):
    """So many keys parked, or letters died, in a few minutes that something larger is wrong: stop, and let a person look."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """One record, decoded: exactly one of event and dead is set, or neither (not for us)."""

    record: Record
    event: Event[Fact] | None = None
    dead: str | None = None


class Consumer:
    """One member of the service's group."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        telemetry: Telemetry,
        *,
        on: Mapping[type[Fact], Step],
        raw: Mapping[str, RawStep],
        watch: Mapping[str, RawStep] | None = None,
    ) -> None:
        """`on`: steps by event. `raw`: steps by topic, each record alone in its own transaction (commands by bus).

        `watch`: steps by topic for letters that are not facts (heartbeats): in the batch, without inbox.
        """
        self._db, self._bus, self._telemetry = db, bus, telemetry
        self._steps = {fact.type: step for fact, step in on.items()}
        self._raw, self._watch = dict(raw), dict(watch or {})
        self.topics = tuple(sorted({fact.topic for fact in on} | self._raw.keys() | self._watch.keys()))
        self.stopped: str | None = None  #: why it stopped for good, for readiness

    async def run(self) -> None:
        """For ever. Ends by cancellation; exits the process with 70 when the bus's client cannot be revived."""
        if not self.topics:
            return
        failures = 0
        while True:
            subscription: Subscription | None = None
            try:
                subscription = await self._bus.subscribe(f"daymark-{self._db.service}", self.topics, self.claim)
                async for _ in self.follow(subscription):
                    failures = 0
            except Fenced:
                _log.info("another member took over; joining again")
            except (TooManyFailures, PositionLost) as error:
                # Heartbeats are kept a day and are not facts: away for longer, we begin again with what there is.
                if isinstance(error, PositionLost) and await self._forget_watched(error.lost):
                    continue
                self.stopped = str(error)
                _log.error("consumer stopped", reason=str(error))
                return
            except BusBroken as error:
                _log.critical("the bus's client cannot be revived", error=str(error))
                os._exit(70)
            except (DaymarkError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                failures += 1
                _log.warning("consumer waits", error=str(error), failures=failures)
                await asyncio.sleep(min(10.0, 0.2 * 2 ** min(failures, 6)))
            finally:
                if subscription is not None:
                    await subscription.abandon()

    async def claim(self, partitions: set[TP]) -> Mapping[TP, Claim]:
        """Positions of newly assigned partitions; raises their generations, which fences whoever held them."""
        ordered = sorted(partitions)
        try:
            async with self._db.connection() as (_, raw):
                rows = await raw.fetch(
                    "INSERT INTO positions AS p (topic, partition, next_offset, generation)"
                    " SELECT t, n, NULL, 1 FROM unnest($1::text[], $2::int4[]) AS u(t, n)"
                    " ON CONFLICT (topic, partition) DO UPDATE SET generation = p.generation + 1"
                    " RETURNING topic, partition, next_offset, generation",
                    [tp.topic for tp in ordered],
                    [tp.partition for tp in ordered],
                )
        except Exception as error:
            raise translated(error) from error
        return {TP(row["topic"], row["partition"]): Claim(row["next_offset"], row["generation"]) for row in rows}

    async def _forget_watched(self, lost: Collection[TP]) -> bool:
        """Start the topics that are not facts from the beginning; False when a fact's was lost, or nothing is left to forget."""
        if not lost or any(tp.topic not in self._watch for tp in lost):
            return False
        async with self._db.connection() as (_, raw):
            forgotten = await raw.execute(
                "UPDATE positions SET next_offset = NULL WHERE topic = ANY($1::text[]) AND next_offset IS NOT NULL",
                list(self._watch),
            )
        return bool(forgotten != "UPDATE 0")

    async def follow(self, subscription: Subscription) -> AsyncIterator[int]:
        """Hear what a subscription brings, for ever; yields how many letters each time.

        The next batch is fetched and read while the database writes this one. Should a partition change hands meanwhile,
        the generations fence one of the two, and we join again.
        """
        ahead = asyncio.create_task(self._fetch(subscription))
        reached: Mapping[TP, int] = {}
        try:
            while True:
                heard, generations = await ahead
                if reached:
                    await subscription.commit(reached)
                    reached = {}
                ahead = asyncio.create_task(self._fetch(subscription))
                if heard:
                    reached = await self._hear(heard, generations)
                yield len(heard)
        finally:
            ahead.cancel()
            await asyncio.wait({ahead}, timeout=5)

    async def _fetch(self, subscription: Subscription) -> tuple[list[_Heard], Mapping[TP, int]]:
        batch = await subscription.batch(max_records=MAX_BATCH, wait_s=1.0)
        heard = []
        for number, record in enumerate(batch.records):
            heard.append(self._decode(record))
            if number % _DECODE_AT_ONCE == 0:
                await asyncio.sleep(0)  # reading goes on while the database is at work, never instead of asking it
        return heard, batch.generations

    async def hear(self, batch: Batch) -> Mapping[TP, int]:
        """Handle a batch; the positions reached."""
        return await self._hear([self._decode(record) for record in batch.records], batch.generations)

    async def _hear(self, heard: Sequence[_Heard], generations: Mapping[TP, int]) -> Mapping[TP, int]:
        """First all together; when that fails, letter by letter to find the culprit."""
        together = all(one.dead is None and one.record.topic not in self._raw for one in heard)
        if together:
            began_s = monotonic_s()
            try:
                async with self._db.house() as tx:
                    await self._together(tx, heard, generations)
                self._telemetry.observe("daymark_batch_duration_seconds", monotonic_s() - began_s)
                self._telemetry.count("daymark_letters_heard_total", len(heard))
                return _reached(heard)
            except (Fenced, Unavailable, Busy):
                raise
            except Exception as error:
                _log.info("batch failed; hearing it letter by letter", letters=len(heard), error=repr(error))
        for one in heard:
            await self._alone(one, generations)
        self._telemetry.count("daymark_letters_heard_total", len(heard))
        return _reached(heard)

    def _decode(self, record: Record) -> _Heard:
        if record.topic in self._raw or record.topic in self._watch:
            return _Heard(record)
        try:
            event = from_wire(record.value, record.headers)
        except Unreadable as error:
            return _Heard(record, dead=str(error))
        if event is not None and event.data.topic != record.topic:
            return _Heard(record, dead=f"{event.type} does not belong on {record.topic}")
        return _Heard(record, event=event if event is not None and event.type in self._steps else None)

    # -- all together -----------------------------------------------------------------------------------------------

    async def _together(self, tx: Tx, heard: Sequence[_Heard], generations: Mapping[TP, int]) -> None:
        events = [one for one in heard if one.event is not None]
        await self._advance(tx, _reached(heard), generations)
        fresh = await self._first_time(tx, [one.event for one in events if one.event is not None])
        parked = await self._parked_keys(tx) if events else set()
        for one in heard:
            if one.record.topic in self._watch:
                await self._watch[one.record.topic](tx, one.record)
        for one in events:
            event = one.event
            assert event is not None
            if event.id not in fresh:
                continue
            fresh.discard(event.id)  # twice in one batch is once as well
            if (one.record.topic, event.key) in parked:
                await self._park(tx, one.record, event, "behind an earlier letter of its key")
            else:
                await self._step(tx, event)

    async def _step(self, tx: Tx, event: Event[Fact]) -> None:
        tx.cause, tx.actor, tx.traceparent = event.id, event.actor, event.traceparent
        tx.id_seed, tx._ordinal = f"bus:{self._db.service}:{event.id}", 0
        step = self._steps[event.type]
        if not self._telemetry.is_tracing:  # what it says carries the trace on all the same; a span would only cost
            await step(tx, event)
            return
        with self._telemetry.span(f"hear {event.type}", "consumer", parent=event.traceparent):
            await step(tx, event)

    async def _advance(self, tx: Tx, reached: Mapping[TP, int], generations: Mapping[TP, int]) -> None:
        """Move the positions, if they are still ours to move. Raises Fenced."""
        tps = sorted(reached)
        moved = await tx.raw.execute(
            "UPDATE positions p SET next_offset = greatest(u.o, p.next_offset)"
            " FROM unnest($1::text[], $2::int4[], $3::int8[], $4::int8[]) AS u(t, n, o, g)"
            " WHERE p.topic = u.t AND p.partition = u.n AND p.generation = u.g",
            [tp.topic for tp in tps],
            [tp.partition for tp in tps],
            [reached[tp] for tp in tps],
            [generations.get(tp, -1) for tp in tps],
        )
        if moved != f"UPDATE {len(tps)}":
            raise Fenced

    async def _first_time(self, tx: Tx, events: Sequence[Event[Fact]]) -> set[str]:
        """Ids of those that this service never heard before; now it has."""
        if not events:
            return set()
        told = dict.fromkeys((event.source, event.id) for event in events)
        rows = await tx.raw.fetch(
            "INSERT INTO inbox (scope, id, at) SELECT s, i, $3::timestamptz"
            " FROM unnest($1::text[], $2::text[]) AS u(s, i) ON CONFLICT DO NOTHING RETURNING id",
            [f"bus:{self._db.service}:{source}" for source, _ in told],
            [id for _, id in told],
            tx.now,
        )
        return {row["id"] for row in rows}

    # -- one alone --------------------------------------------------------------------------------------------------

    async def _alone(self, one: _Heard, generations: Mapping[TP, int]) -> None:
        position = {one.record.tp: one.record.offset + 1}
        reason = one.dead
        if reason is None:
            for attempt in range(1, _TRIES + 1):
                try:
                    async with self._db.house() as tx:
                        if one.record.topic in self._raw:
                            await self._advance(tx, position, generations)
                            await self._raw[one.record.topic](tx, one.record)
                        else:
                            await self._together(tx, [one], generations)
                    return
                except (Fenced, Unavailable):
                    raise
                except Unreadable as error:
                    reason = str(error)
                    break
                except TryLater as error:
                    await self._park_alone(one, position, generations, str(error))
                    return
                except DaymarkError as error:
                    if not isinstance(error, Busy) and one.record.topic in self._raw:
                        reason = f"{error.type}: {error.detail}"  # a command that was refused
                        break
                    failure: Exception = error
                except Exception as error:
                    failure = error
                if attempt == _TRIES:
                    _log.error("a letter keeps failing", topic=one.record.topic, error=repr(failure), exc_info=failure)
                    if one.event is None:
                        reason = f"keeps failing: {failure!r}"[:1000]
                        break
                    await self._park_alone(one, position, generations, f"keeps failing: {failure!r}"[:1000])
                    return
                await asyncio.sleep(0.1 * attempt)
        async with self._db.house() as tx:
            await self._advance(tx, position, generations)
            await self._bury(tx, one.record, reason or "unreadable")

    async def _park_alone(
        self, one: _Heard, position: Mapping[TP, int], generations: Mapping[TP, int], why: str
    ) -> None:
        assert one.event is not None
        async with self._db.house() as tx:
            await self._advance(tx, position, generations)
            if await self._first_time(tx, [one.event]):
                await self._park(tx, one.record, one.event, why)
                await self._limit(tx, "parked", _PARK_LIMIT)

    # -- parked and dead ----------------------------------------------------------------------------------------------

    async def _parked_keys(self, tx: Tx) -> set[tuple[str, str]]:
        return {(row["topic"], row["key"]) for row in await tx.raw.fetch("SELECT DISTINCT topic, key FROM parked")}

    async def _park(self, tx: Tx, record: Record, event: Event[Fact], why: str) -> None:
        await tx.raw.execute(
            "INSERT INTO parked (topic, partition, position, key, event_id, value, headers, reason, parked_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            record.topic, record.partition, record.offset, event.key, event.id, record.value or b"",
            kept(record.headers), why[:1000].replace("\0", ""), tx.now,
        )  # fmt: skip
        tx.schedule("drain_parked", orjson.dumps([record.topic, event.key]).decode(), tx.now)

    async def _bury(self, tx: Tx, record: Record, why: str) -> None:
        """A dead letter: a row, and a letter to `daymark.dead.<service>` with the original bytes, in one transaction."""
        if record.topic not in self._raw:  # anybody may write there: a bad writer must not stop the good ones
            await self._limit(tx, "dead", _DEAD_LIMIT)
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
            ("kafka_dlt-original-consumer-group", f"daymark-{self._db.service}".encode()),
            ("kafka_dlt-exception-message", reason.encode()),
        )
        key = (record.key or b"").decode("utf-8", "replace").replace("\0", "")
        place = f"dead:{record.topic}:{record.partition}:{record.offset}"
        tx.post(f"daymark.dead.{self._db.service}", key, record.value or b"", headers, f"{self._db.service}:{place}")

    async def _limit(self, tx: Tx, table: str, limit: int) -> None:
        # Of keys, those that began to park: one that has stood here for days says nothing new when it gets a letter more.
        since = {
            "parked": "SELECT min(parked_at) AS at FROM parked GROUP BY topic, key",
            "dead": "SELECT at FROM dead",
        }[table]
        found = await tx.raw.fetchval(
            f"SELECT count(*) FROM ({since}) s WHERE at > $1::timestamptz - interval '{_LIMIT_WINDOW}'", tx.now
        )
        if found > limit:
            raise TooManyFailures(f"more than {limit} {table} within {_LIMIT_WINDOW}: a person must look")

    async def drain_parked(self, _deps: Any, appointment: Appointment) -> None:
        """The job that hears a parked key's letters in order, each in its own transaction. Fails (and comes back) at the first."""
        topic, key = orjson.loads(appointment.subject)
        while True:
            async with self._db.tx(appointment) as tx:
                row = await tx.raw.fetchrow(
                    "SELECT partition, position, value, headers FROM parked WHERE topic = $1 AND key = $2"
                    " ORDER BY partition, position LIMIT 1 FOR UPDATE",
                    topic,
                    key,
                )
                if row is None:
                    return
                headers = given_back(row["headers"])
                event = from_wire(row["value"], headers)
                if event is not None:
                    try:
                        await self._step(tx, event)
                    except TryLater as error:
                        raise Unavailable(f"still waiting: {error}") from error
                await tx.raw.execute(
                    "DELETE FROM parked WHERE topic = $1 AND partition = $2 AND position = $3",
                    topic,
                    row["partition"],
                    row["position"],
                )
                more = await tx.raw.fetchval("SELECT 1 FROM parked WHERE topic = $1 AND key = $2", topic, key)
                if more is None:
                    return  # leaving deletes the appointment; a letter that parks meanwhile makes it anew
                tx.keep_appointment = True


def _reached(heard: Iterable[_Heard]) -> dict[TP, int]:
    """The position after these records, per partition."""
    reached: dict[TP, int] = {}
    for one in heard:
        reached[one.record.tp] = max(reached.get(one.record.tp, 0), one.record.offset + 1)
    return reached
