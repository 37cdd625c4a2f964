"""The consumer: a batch of letters in order, each to its step, effect and position in one commit.

Facts are never refused. A letter nobody can read is a dead letter; one that lacks context, or keeps failing, parks its
key, and its neighbours go on. Positions are rows in the service's own database, so an effect and its position cannot part.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
import orjson
import structlog

from shared.aside import TooManyFailures, bury, limit_dead, limit_parked, park, parked_keys
from shared.bus import TP, Batch, Bus, BusBroken, Claim, PositionLost, Record, Subscription
from shared.bus.kept import given_back
from shared.clock import monotonic_s
from shared.contracts import Event, Fact, from_wire
from shared.db import Appointment, Database, Tx
from shared.errors import Busy, DaymarkError, TryLater, Unavailable, Unreadable
from shared.positions import Fenced, advance, claim, forget
from shared.progress import Progress
from shared.telemetry import Telemetry

_log = structlog.get_logger(__name__)

Step = Callable[[Tx, Event[Any]], Awaitable[None]]
#: What a service's `ON` is: event -> step.
Steps = Mapping[type[Fact], Step]
RawStep = Callable[[Tx, Record], Awaitable[None]]

MAX_BATCH = 500
_TRIES = 3  #: of one letter alone, before its key is parked
_BUSY_PAUSES_S = (0.1, 0.2, 0.4, 0.8)  #: before a batch that met somebody's lock is run again
_DECODE_AT_ONCE = 20
_PASSED_TOLD = 50  #: unknown types told of, once each


class _Heard(NamedTuple):
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
        self._types: dict[str, list[str]] = {}  #: topic -> what we hear on it
        for fact in sorted(on, key=lambda fact: fact.type):
            self._types.setdefault(fact.topic, []).append(fact.type)
        self._raw, self._watch = dict(raw), dict(watch or {})
        self.topics = tuple(sorted({fact.topic for fact in on} | self._raw.keys() | self._watch.keys()))
        self.progress = Progress(turn_s=60.0 if self.topics else math.inf)
        self._passed: set[str] = set()  #: types met that this version does not know

    async def run(self) -> None:
        """For ever. Ends by cancellation; exits the process with 70 when the bus's client cannot be revived."""
        if not self.topics:
            return
        failures = 0
        while True:
            subscription: Subscription | None = None
            try:
                subscription = await self._bus.subscribe(f"daymark-{self._db.service}", self.topics, self.claim)
                async for letters in self.follow(subscription):
                    failures = 0
                    if letters:
                        self.progress.moved()
                    else:
                        self.progress.idle()
            except Fenced as error:
                self.progress.failed(error)
                _log.info("another member took over; joining again")
            except (TooManyFailures, PositionLost) as error:
                # Heartbeats are kept a day and are not facts: away for longer, we begin again with what there is.
                if isinstance(error, PositionLost) and await self._forget_watched(error.lost):
                    continue
                self.progress.stop(str(error))
                _log.error("consumer stopped", reason=str(error))
                return
            except BusBroken as error:
                _log.critical("the bus's client cannot be revived", error=str(error))
                os._exit(70)
            except (DaymarkError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                failures += 1
                self.progress.failed(error)
                _log.warning("consumer waits", error=str(error), failures=failures)
                await asyncio.sleep(min(10.0, 0.2 * 2 ** min(failures, 6)))
            finally:
                if subscription is not None:
                    await subscription.abandon()

    async def claim(self, partitions: set[TP]) -> Mapping[TP, Claim]:
        """Positions of newly assigned partitions; raises their generations, which fences whoever held them."""
        return await claim(self._db, partitions, self._types)

    async def _forget_watched(self, lost: Collection[TP]) -> bool:
        """Start the topics that are not facts from the beginning; False when a fact's was lost, or nothing is left to forget."""
        if not lost or any(tp.topic not in self._watch for tp in lost):
            return False
        return await forget(self._db, self._watch)

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
                await self._patiently(heard, generations)
                self._telemetry.observe("daymark_batch_duration_seconds", monotonic_s() - began_s)
                self._telemetry.count("daymark_letters_heard_total", len(heard))
                return _reached(heard)
            except (Fenced, Unavailable, Busy):
                raise
            except Exception as error:
                _log.info("batch failed; hearing it letter by letter", letters=len(heard), error=repr(error))
        for one in heard:
            await self._alone(one, generations)
            self.progress.moved()
        self._telemetry.count("daymark_letters_heard_total", len(heard))
        return _reached(heard)

    def _decode(self, record: Record) -> _Heard:
        if record.topic in self._raw or record.topic in self._watch:
            return _Heard(record)
        try:
            event = from_wire(record.value, record.headers)
        except Unreadable as error:
            return _Heard(record, dead=str(error))
        if event is None:
            self._pass_over(record)
        elif event.data.topic != record.topic:
            return _Heard(record, dead=f"{event.type} does not belong on {record.topic}")
        return _Heard(record, event=event if event is not None and event.type in self._steps else None)

    def _pass_over(self, record: Record) -> None:
        """A newer Daymark says what we do not know. Whoever knows it will not find it among the types heard here: `claim`."""
        type = dict(record.headers).get("ce_type", b"").decode("utf-8", "replace")[:200]
        if type not in self._passed and len(self._passed) < _PASSED_TOLD:
            self._passed.add(type)
            _log.warning("a type that this version does not know is passed over", type=type, topic=record.topic)

    # -- all together -----------------------------------------------------------------------------------------------

    async def _patiently(self, heard: Sequence[_Heard], generations: Mapping[TP, int]) -> None:
        """All together in one transaction; again, from memory, when it met somebody's lock. Raises Busy in the end."""
        for pause_s in (*_BUSY_PAUSES_S, None):
            try:
                async with self._db.house() as tx:
                    await self._together(tx, heard, generations)
                return
            except Busy:
                if pause_s is None:
                    raise
                self._telemetry.count("daymark_batches_again_total", 1)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 (not a secret)

    async def _together(self, tx: Tx, heard: Sequence[_Heard], generations: Mapping[TP, int]) -> None:
        events = [one for one in heard if one.event is not None]
        await advance(tx, _reached(heard), generations)
        fresh = await self._first_time(tx, [one.event for one in events if one.event is not None])
        parked = await parked_keys(tx) if events else set()
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
                await park(tx, one.record, event, "behind an earlier letter of its key")
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
                            await advance(tx, position, generations)
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
                if attempt == _TRIES and one.event is None and isinstance(failure, Busy):
                    raise failure  # a lock is no fault of the command that met it: all of it is heard again
                if attempt == _TRIES:
                    _log.error("a letter keeps failing", topic=one.record.topic, error=repr(failure), exc_info=failure)
                    if one.event is None:
                        reason = f"keeps failing: {failure!r}"[:1000]
                        break
                    await self._park_alone(one, position, generations, f"keeps failing: {failure!r}"[:1000])
                    return
                await asyncio.sleep(0.1 * attempt)
        async with self._db.house() as tx:
            await advance(tx, position, generations)
            await self._bury(tx, one.record, reason or "unreadable")

    async def _park_alone(
        self, one: _Heard, position: Mapping[TP, int], generations: Mapping[TP, int], why: str
    ) -> None:
        assert one.event is not None
        async with self._db.house() as tx:
            await advance(tx, position, generations)
            if await self._first_time(tx, [one.event]):
                await park(tx, one.record, one.event, why)
                await limit_parked(tx)

    # -- parked and dead ----------------------------------------------------------------------------------------------

    async def _bury(self, tx: Tx, record: Record, why: str) -> None:
        await bury(tx, record, why)
        if record.topic not in self._raw:  # anybody may write there: a bad writer must not stop the good ones
            await limit_dead(tx)

    async def drain_parked(self, _deps: Any, appointment: Appointment) -> None:
        """The job that hears a parked key's letters in order, each in its own transaction. Fails (and comes back) at the first."""
        topic, key = orjson.loads(appointment.subject)
        unreadable: str | None = None  #: why the first of them is
        while True:
            try:
                async with self._db.tx(appointment) as tx:
                    first = await tx.raw.fetchrow(
                        "SELECT partition, position, value, headers FROM parked WHERE topic = $1 AND key = $2"
                        " ORDER BY partition, position LIMIT 1",
                        topic,
                        key,
                    )
                    if first is None:
                        return
                    headers = given_back(first["headers"])
                    record = Record(topic, first["partition"], first["position"], key.encode(), first["value"], headers)
                    if unreadable is None:
                        await self._hear_parked(tx, record)
                    else:
                        await self._bury(tx, record, unreadable)
                    await tx.raw.execute(
                        "DELETE FROM parked WHERE topic = $1 AND partition = $2 AND position = $3",
                        topic,
                        record.partition,
                        record.offset,
                    )
                    if not await tx.raw.fetchval("SELECT 1 FROM parked WHERE topic = $1 AND key = $2", topic, key):
                        return  # leaving deletes the appointment; a letter that parks meanwhile makes it anew
                    tx.keep_appointment = True
                unreadable = None
            except Unreadable as error:  # readable when it was parked, by another version: waiting does not help
                unreadable = str(error)

    async def _hear_parked(self, tx: Tx, record: Record) -> None:
        event = from_wire(record.value, record.headers)
        if event is None or event.type not in self._steps:
            raise Unavailable("It is of a type that only a newer version of this service hears.")
        try:
            await self._step(tx, event)
        except TryLater as error:
            raise Unavailable(f"still waiting: {error}") from error


def _reached(heard: Iterable[_Heard]) -> dict[TP, int]:
    """The position after these records, per partition; they lie in order in each."""
    reached = {(one.record.topic, one.record.partition): one.record.offset + 1 for one in heard}
    return {TP(*place): offset for place, offset in reached.items()}
