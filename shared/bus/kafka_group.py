"""A member of a group on Kafka: assigned by Kafka, positioned by the hearer's database, watched by us.

aiokafka calls the listener from a task of its own, at any time. So the listener only notes what is assigned; `batch`
itself claims and seeks before it gives a record, and drops what was fetched under an older assignment.

aiokafka 0.14 was seen to fall silent for ever without an exception (issues 712, 1037; brokers that moved). So a
watchdog asks the brokers through a fresh client how far the topics go. When there is something to hear, and this member
was asked for it and gave nothing for a while, its client is replaced. A broker that answers nobody is not the client's
fault: then nothing is replaced, and `batch` stays empty.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from shared.bus import MAX_RECORD_BYTES, TP, Batch, BusBroken, ClaimPositions, PositionLost, Record
from shared.bus.kafka_clients import ANSWER_S, EARLIEST, LATEST, Cluster, answered, let_go, offsets
from shared.errors import Unavailable

REBUILDS = 3
CLAIM_S = 10.0
COMMIT_S, COMMIT_EVERY_S = 2.0, 1.0
SLICE_S = 0.25  #: how long a new assignment may go unnoticed
#: A broker that just came back may know no topics: who shares out partitions then shares out none, and looks again so late.
METADATA_S = 10.0
FAILING_S = ANSWER_S  #: brokers that let each other in again answer, and of nobody, for a while: clients die of it

log = logging.getLogger(__name__)


class Assigned(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """What Kafka says is ours, and how much of it was claimed: of one client."""

    def __init__(self) -> None:
        self.is_settled = False
        self.due: set[TP] = set()
        self.generations: dict[TP, int] = {}

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.is_settled = False
        self.due, self.generations = set(), {}

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.is_settled = True
        self.due, self.generations = {TP(*tp) for tp in assigned}, {}


class Member:
    """A Subscription. Made by `join`, used by one task."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        topics: Sequence[str],
        claim: ClaimPositions,
        *,
        check_s: float,
        stall_s: float,
    ):
        self._cluster, self._group, self._topics, self._claim = cluster, group, list(topics), claim
        self._check_s, self._stall_s = check_s, stall_s
        self._consumer: AIOKafkaConsumer | None = None
        self._assigned = Assigned()
        self._given = self._empty = 0  # records and empty batches so far: the watchdog's evidence
        self._seen = (0, 0)
        self._silent_since: float | None = None
        self._rebuilds = 0
        self._failing_since: float | None = None
        self._is_stalled = False
        self._commits: dict[TP, int] = {}
        self._tending: asyncio.Task[None] | None = None

    @classmethod
    async def join(
        cls,
        cluster: Cluster,
        group: str,
        topics: Sequence[str],
        claim: ClaimPositions,
        *,
        check_s: float,
        stall_s: float,
    ) -> Member:
        member = cls(cluster, group, topics, claim, check_s=check_s, stall_s=stall_s)
        await member._connect()
        member._tending = asyncio.create_task(member._tend(), name=f"watchdog of {group}")
        return member

    @property
    def assigned(self) -> frozenset[TP]:
        return frozenset(self._assigned.generations)

    async def batch(self, *, max_records: int, wait_s: float) -> Batch:
        until = time.monotonic() + wait_s
        while True:
            if self._is_stalled:
                await self._rebuild()
            elif self._consumer is None:
                await self._replace()
            if self._assigned.due and self._consumer is not None:
                await self._take(self._consumer)
            left = until - time.monotonic()
            records = await self._get(max_records, max(0.0, min(left, SLICE_S)))
            if records:
                self._given += len(records)
                return Batch(records, {r.tp: self._assigned.generations[r.tp] for r in records})
            if left <= 0:
                self._empty += 1
                return Batch()

    async def commit(self, positions: Mapping[TP, int]) -> None:
        self._commits.update(positions)  # sent by `_tend`, once a second: a hearer need not wait for lag tools

    async def abandon(self) -> None:
        if self._tending is not None:
            self._tending.cancel()
        self._let_go()

    # -- the client ----------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        self._assigned = Assigned()
        consumer = AIOKafkaConsumer(
            **self._cluster.arguments,
            client_id="daymark",
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=2 * MAX_RECORD_BYTES,
            metadata_max_age_ms=int(1000 * METADATA_S),
        )
        try:
            async with answered("accept a subscriber"):
                await consumer.start()
        except BaseException:
            let_go(consumer.stop())
            raise
        # After `start`, which would otherwise wait for the whole group; that is what `batch` has time for.
        consumer.subscribe(self._topics, listener=self._assigned)
        self._consumer = consumer

    def _let_go(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            let_go(consumer.stop())

    async def _replace(self) -> None:
        """Take a new client where the last one was let go."""
        try:
            await self._connect()
        except Unavailable as error:
            await self._failed(error)

    async def _failed(self, error: Exception) -> None:
        """The brokers answer, and not as they should. Wait a little; raises Unavailable when that did not help for a while."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if now - self._failing_since >= FAILING_S:
            raise Unavailable(f"Kafka does not serve {self._group}: {error!r}") from error
        log.warning("Kafka does not serve %s, which is tried again: %r", self._group, error)
        await asyncio.sleep(SLICE_S)

    async def _rebuild(self) -> None:
        if self._rebuilds >= REBUILDS:
            raise BusBroken(
                f"{self._group} hears nothing after {REBUILDS} new clients, though there is something to hear"
            )
        log.warning("%s hears nothing, though there is something to hear: a new client", self._group)
        self._let_go()
        try:
            await self._connect()
        except Unavailable as error:  # tried again at the next turn; what reached nobody is no new client
            log.warning("%s has no client: %s", self._group, error)
            await asyncio.sleep(SLICE_S)
        else:
            self._rebuilds += 1
            self._is_stalled = False

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        """Claim what was assigned and seek. A failure leaves it due."""
        mine = self._assigned
        due = mine.due
        try:
            async with asyncio.timeout(CLAIM_S):
                claims = await self._claim(set(due))
        except TimeoutError as error:
            raise Unavailable(f"The positions of {self._group} were not given within {CLAIM_S:g} s.") from error
        new = {tp for tp in due if claims[tp].offset is None}
        try:
            starts = await offsets(self._cluster, {tp.topic for tp in new}, EARLIEST) if new else {}
        except Unavailable as error:
            await self._failed(error)
            return
        if mine.due is not due:
            return  # assigned anew meanwhile: what was claimed is not what we hold
        for tp in due:
            offset = claims[tp].offset
            consumer.seek(TopicPartition(*tp), starts[tp] if offset is None else offset)
        mine.due, mine.generations = set(), {tp: claims[tp].generation for tp in due}

    async def _get(self, max_records: int, wait_s: float) -> list[Record]:
        """What was fetched of the partitions we claimed, in order per partition."""
        mine, consumer = self._assigned, self._consumer
        if consumer is None:
            return []
        try:
            async with asyncio.timeout(wait_s + SLICE_S):  # it waits for an assignment without any bound of its own
                found = await consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=max_records)
        except (TimeoutError, NoOffsetForPartitionError):
            return []  # the latter is of a partition that is still to be claimed
        except OffsetOutOfRangeError as error:
            lost = {TP(*tp): offset for tp, offset in error.args[0].items() if TP(*tp) in mine.generations}
            if lost:
                raise PositionLost(f"positions outside what is kept: {lost}", lost) from error
            return []
        except KafkaError as error:
            # What a client's own tasks died of it says for ever: the next turn takes a new one, and one must do better.
            self._let_go()
            await self._failed(error)
            return []
        self._failing_since = None
        return [
            Record(r.topic, r.partition, r.offset, r.key, r.value, r.headers)
            for tp, records in found.items()
            if tp in mine.generations  # TopicPartition and TP are equal as tuples
            for r in records
        ]

    # -- the watchdog --------------------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        """Commit what the hearer reached, for lag tools; see that the client is alive. For ever, whatever happens."""
        checked = time.monotonic()
        while True:
            await asyncio.sleep(min(COMMIT_EVERY_S, self._check_s))
            try:
                await self._commit()
                if time.monotonic() - checked >= self._check_s:
                    checked = time.monotonic()
                    await self._check()
            except Exception:
                log.exception("the watchdog of %s stumbled, and goes on", self._group)

    async def _check(self) -> None:
        """Ask for a new client when this one was asked, gave nothing for `stall_s`, and there was something to give."""
        was_asked, has_given = self._empty > self._seen[0], self._given > self._seen[1]
        self._seen = self._empty, self._given
        if has_given:
            self._rebuilds = 0
        if has_given or not was_asked:
            self._silent_since = None
            return
        now = time.monotonic()
        try:
            is_behind = await self._is_behind()
        except Unavailable:  # nobody hears now; the client is judged when somebody could
            self._silent_since = self._silent_since or now
            return
        self._silent_since = (self._silent_since or now) if is_behind else None
        # Each new client has twice the time of the one before: while a group comes together, new members only delay it.
        if self._silent_since is not None and now - self._silent_since >= self._stall_s * 2**self._rebuilds:
            self._is_stalled, self._silent_since = True, None

    async def _is_behind(self) -> bool:
        """Whether the topics go on after what this client has passed, or it never got an assignment at all."""
        ends = await offsets(self._cluster, self._topics, LATEST)
        mine, consumer = self._assigned, self._consumer
        if not mine.is_settled or consumer is None:
            return True
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(1):
                for tp in mine.generations:
                    # aiokafka's own position, since it has also passed what is never given: marks of transactions
                    if await consumer.position(TopicPartition(*tp)) < ends.get(tp, 0):
                        return True
                return False
        return True

    async def _commit(self) -> None:
        commits, self._commits = self._commits, {}
        held = {TopicPartition(*tp): offset for tp, offset in commits.items() if tp in self._assigned.generations}
        if held and self._consumer is not None:
            with suppress(KafkaError, TimeoutError, ValueError):
                async with asyncio.timeout(COMMIT_S):
                    await self._consumer.commit(held)
