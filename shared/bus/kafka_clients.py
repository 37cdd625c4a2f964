"""What aiokafka's clients need from their users: bounds on every wait, an end that is not waited for, a quieter log."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.offset import OffsetRequest

from shared.bus import ANYBODY, TP, KafkaAccess
from shared.errors import Unavailable

ANSWER_S = 5.0
LEAVE_S = 5.0
COMMITTED = 1  #: isolation: of a foreign transaction, only what was committed
LATEST, EARLIEST = -1, -2

_leaving: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def answered(what: str, within_s: float = ANSWER_S) -> AsyncIterator[None]:
    """Whatever happens inside ends within `within_s` seconds; what fails there is Unavailable."""
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError as error:
        raise Unavailable(f"Kafka did not {what} within {within_s:g} s.") from error
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka did not {what}: {error or type(error).__name__}") from error


class Cluster:
    """Where the brokers are and how they let us in: what each client is made with."""

    def __init__(self, servers: str, access: KafkaAccess = ANYBODY) -> None:
        """`servers`: `host:port[,host:port]`. Raises OSError when a certificate cannot be read."""
        self.arguments: dict[str, Any] = {"bootstrap_servers": servers}
        if access.tls:
            context = ssl.create_default_context(cafile=access.ca_file)
            if access.certificate_file is not None:
                context.load_cert_chain(access.certificate_file, access.key_file)
            self.arguments["ssl_context"] = context
        if access.sasl is not None:
            self.arguments |= {
                "sasl_mechanism": access.sasl,
                "sasl_plain_username": access.user,  # of SCRAM as well
                "sasl_plain_password": access.password,
            }
        safety = "SSL" if access.tls else "PLAINTEXT"
        self.arguments["security_protocol"] = f"SASL_{safety}" if access.sasl is not None else safety


async def offsets(cluster: Cluster, topics: Iterable[str], at: int) -> dict[TP, int]:
    """LATEST: the next offset, EARLIEST: the first one kept, of each partition, asked by a client of its own.

    Raises Unavailable when the brokers do not answer, or a topic does not exist.
    """
    wanted = sorted(set(topics))
    client = AIOKafkaClient(**cluster.arguments, client_id="daymark-offsets")
    found: dict[TP, int] = {}
    try:
        async with answered("tell its offsets"):
            await client.bootstrap()
            await client.set_topics(wanted)
            for leader, partitions in _by_leader(client, wanted).items():
                request = OffsetRequest(-1, COMMITTED, [(t, [(p, at) for p in ps]) for t, ps in partitions.items()])
                for topic, answers in (await client.send(leader, request)).topics:
                    for partition, code, _, offset in answers:
                        if code:
                            raise for_code(code)(f"{topic}, partition {partition}")
                        found[TP(topic, partition)] = offset
    finally:
        let_go(client.close())
    return found


def _by_leader(client: Any, topics: list[str]) -> dict[int, dict[str, list[int]]]:
    asked: dict[int, dict[str, list[int]]] = {}
    for topic in topics:
        partitions = client.cluster.partitions_for_topic(topic)
        if not partitions:
            raise Unavailable(f"The topic {topic} does not exist yet.")
        for partition in partitions:
            leader = client.cluster.leader_for_partition(TP(topic, partition))
            if leader is None or leader == -1:
                raise Unavailable(f"{topic}, partition {partition}, has no leader now.")
            asked.setdefault(leader, {}).setdefault(topic, []).append(partition)
    return asked


def let_go(ending: Coroutine[Any, Any, None]) -> None:
    """Run the end of a client by itself, bounded, whatever comes of it: `stop()` was seen to hang and to raise
    CancelledError (aiokafka 1101, 647, 974)."""

    async def end() -> None:
        with suppress(Exception, asyncio.CancelledError):
            async with asyncio.timeout(LEAVE_S):
                await ending

    task = asyncio.create_task(end(), name="leaving Kafka")
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)


async def let_all_go() -> None:
    """Wait for those who are leaving, not longer than they may take."""
    if _leaving:
        await asyncio.wait(_leaving, timeout=LEAVE_S + 1)


async def cut(producer: AIOKafkaProducer) -> None:
    """End a producer without flushing: what it still holds is unknown, and better sent once by its successor."""
    producer._closed = True
    sender = producer._sender.sender_task
    if sender is not None:
        sender.cancel()
        sender.add_done_callback(lambda task: task.cancelled() or task.exception())
    await producer.client.close()
    # Cancelled once, it waits for its requests under way one by one, some of which nothing answers any more.
    while sender is not None and not sender.done():
        sender.cancel()
        await asyncio.wait({sender}, timeout=0.05)


class OncePer:
    """Of each message of a logger one line per `every_s`: aiokafka writes one a try while a broker is away."""

    def __init__(self, every_s: float):
        self._every_s = every_s
        self._said: dict[tuple[str, str], float] = {}

    def __call__(self, record: logging.LogRecord) -> bool:
        now, what = time.monotonic(), (record.name, str(record.msg))
        if now - self._said.get(what, -self._every_s) < self._every_s:
            return False
        self._said[what] = now
        return True


def quieten(every_s: float = 10.0) -> None:
    """Filters sit on each logger, since a parent's filter does not see what its children say."""
    limit = OncePer(every_s)
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "aiokafka"]:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.addFilter(limit)


quieten()
