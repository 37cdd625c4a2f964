"""KafkaBus: the bus of production, on aiokafka. Its hazards and our answers are in kafka_clients and kafka_group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.producer.message_accumulator import BatchBuilder

from shared.bus import (
    ANYBODY,
    MAX_RECORD_BYTES,
    TP,
    ClaimPositions,
    KafkaAccess,
    Letter,
    SendUnknown,
    TopicSpec,
    refuse_too_large,
)
from shared.bus.kafka_clients import LATEST, Cluster, answered, cut, let_all_go, let_go, offsets
from shared.bus.kafka_group import Member
from shared.bus.partitioner import key_bytes, partition_of
from shared.errors import Unavailable

SEND_S = 10.0
APPLY_S = 30.0
#: Below what a broker takes from a topic that is not ours (1 MiB): a batch over the limit ends an idempotent producer.
BATCH_BYTES = 1_000_000
TOPIC_BYTES = 2 * MAX_RECORD_BYTES

Work = Callable[[AIOKafkaAdminClient], Awaitable[None]]


class KafkaPublisher:
    """One idempotent producer. After a failure it is cut off in the background, and nobody waits for it."""

    def __init__(self, producer: AIOKafkaProducer):
        self._producer = producer

    async def publish(self, letters: Sequence[Letter]) -> None:
        refuse_too_large(letters)
        sent: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(SEND_S):
                topics = {letter.topic for letter in letters}
                counts = {topic: len(await self._producer.partitions_for(topic)) for topic in topics}
                lines: dict[tuple[str, int], list[Letter]] = {}
                for letter in letters:
                    at = letter.topic, partition_of(letter.key, counts[letter.topic])
                    lines.setdefault(at, []).append(letter)
                for (topic, partition), line in lines.items():
                    for batch in self._batches(line):
                        sent.append(await self._producer.send_batch(batch, topic, partition=partition))
                await asyncio.gather(*sent)
        except Exception as error:  # whatever it was: what is under way cannot be called back
            for future in sent:
                future.cancel()  # or aiokafka complains that nobody heard of its failure
            raise SendUnknown(
                f"Kafka did not confirm {len(letters)} letters: {error or type(error).__name__}"
            ) from error

    def _batches(self, line: Sequence[Letter]) -> Iterator[BatchBuilder]:
        """The letters of one partition in as few batches as hold them: one future each, and one request for all."""
        batch = self._producer.create_batch()
        for _, key, value, headers in line:
            letter = {"key": key_bytes(key), "value": value, "headers": list(headers), "timestamp": None}
            if batch.append(**letter) is None:  # full; an empty one takes a letter of any size
                yield batch
                batch = self._producer.create_batch()
                batch.append(**letter)
        yield batch

    async def abandon(self) -> None:
        let_go(cut(self._producer))


class KafkaBus:
    """`servers`: `host:port[,host:port]`. The watchdog looks every `check_s` seconds and acts after `stall_s` of silence."""

    def __init__(self, servers: str, access: KafkaAccess = ANYBODY, *, check_s: float = 10.0, stall_s: float = 30.0):
        self._cluster, self._check_s, self._stall_s = Cluster(servers, access), check_s, stall_s

    async def publisher(self) -> KafkaPublisher:
        producer = AIOKafkaProducer(
            **self._cluster.arguments,
            client_id="daymark",
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=int(SEND_S * 1000),
        )
        try:
            async with answered("accept a publisher"):
                await producer.start()
        except BaseException:
            let_go(cut(producer))
            raise
        return KafkaPublisher(producer)

    async def subscribe(self, group: str, topics: Iterable[str], claim: ClaimPositions) -> Member:
        wanted = tuple(sorted(set(topics)))
        await self.ends(wanted)
        return await Member.join(self._cluster, group, wanted, claim, check_s=self._check_s, stall_s=self._stall_s)

    async def ends(self, topics: Iterable[str]) -> Mapping[TP, int]:
        return await offsets(self._cluster, topics, LATEST)

    async def ping(self) -> None:
        await self._admin("answer", _nothing, 2.0)

    async def close(self) -> None:
        await let_all_go()

    async def apply_topics(self, specs: Sequence[TopicSpec]) -> Sequence[str]:
        said: list[str] = []

        async def apply(admin: AIOKafkaAdminClient) -> None:
            there = await _described(admin)
            replicas = 3 if len((await admin.describe_cluster())["brokers"]) >= 3 else 1
            missing = [spec for spec in specs if spec.name not in there]
            if missing:
                await _create(admin, missing, replicas)
                await self._await_leaders([spec.name for spec in missing])
            for spec in specs:
                if spec.name in there:
                    said.extend(spec.drift(*there[spec.name]))

        await self._admin("apply the topics", apply, APPLY_S)
        return said

    async def _await_leaders(self, topics: Sequence[str]) -> None:
        """Return when the brokers serve what the controller has just made."""
        while True:
            try:
                await offsets(self._cluster, topics, LATEST)
                return
            except Unavailable:
                await asyncio.sleep(0.1)

    async def _admin(self, what: str, work: Work, within_s: float) -> None:
        admin = AIOKafkaAdminClient(**self._cluster.arguments, client_id="daymark-admin")
        try:
            async with answered(what, within_s):
                await admin.start()
                await work(admin)
        finally:
            let_go(admin.close())


async def _nothing(admin: AIOKafkaAdminClient) -> None: ...


async def _described(admin: AIOKafkaAdminClient) -> dict[str, tuple[int, int]]:
    """topic -> (partitions, retention in ms) of every topic there is."""
    counts = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    if not counts:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": None}) for topic in counts]
    kept = {
        name: int(entry[1])
        for answer in await admin.describe_configs(asked)
        for _, _, _, name, entries in answer.resources
        for entry in entries
        if entry[0] == "retention.ms"
    }
    return {topic: (count, kept[topic]) for topic, count in counts.items()}


async def _create(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], replicas: int) -> None:
    answer = await admin.create_topics(
        [
            NewTopic(
                spec.name,
                spec.partitions,
                replicas,
                topic_configs={
                    "cleanup.policy": "delete",
                    "retention.ms": str(spec.retention_ms),
                    "retention.bytes": "-1",
                    "max.message.bytes": str(TOPIC_BYTES),
                    "min.insync.replicas": str(min(2, replicas)),
                },
            )
            for spec in specs
        ]
    )
    for topic, code, *why in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):  # a twin may have made it at the same time
            raise Unavailable(f"Kafka did not create {topic}: {why[0] if why else for_code(code).__name__}")
