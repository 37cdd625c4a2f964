"""What the consumer promises over a real bus, on both: a key parks alone and outlives kill -9, what is unreadable is kept.

The rest of its promises does not depend on the bus, and is in test_consumer.py.
"""

import asyncio
import base64
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cli import dead
from deploy.local import leash
from shared.bus import TP, Bus, Claim, Letter, Record, TopicSpec, open_bus
from shared.bus.partitioner import key_of, partition_of
from shared.contracts import CRWithdrawn, to_wire
from shared.db import bootstrap
from shared.outbox import Relay
from shared.settings import Settings
from tests.contract import plumbing
from tests.contract.hearer import TOPIC, Hearer, event
from tests.contract.hearing import main
from tests.contract.plumbing import Bench
from tests.servers.postgres import Databases

ROOT = Path(__file__).parents[2]
DEAD = "daymark.dead.intake"
TOPICS = (TOPIC, DEAD)


class Town:
    """A bench and a bus with its own URL; what lay there before is passed over."""

    def __init__(self, bench: Bench, bus: Bus, url: str) -> None:
        self.bench, self.bus, self.url = bench, bus, url
        self.is_kafka = url.startswith("kafka:")
        self._began: dict[TP, int] = {}

    async def begin(self) -> None:
        await self.bus.apply_topics([TopicSpec(topic) for topic in (*TOPICS, "daymark.inbound")])
        self._began = dict(await self.bus.ends(TOPICS))
        await self.bench.admin.executemany(
            "INSERT INTO intake.positions (topic, partition, next_offset, generation, types) VALUES ($1, $2, $3, 0, $4)",
            [(*tp, end, [CRWithdrawn.type]) for tp, end in self._began.items() if tp.topic == TOPIC],
        )

    async def say(self, *letters: Letter) -> None:
        publisher = await self.bus.publisher()
        await publisher.publish(letters)
        await publisher.abandon()

    async def lying(self, topic: str, count: int) -> list[Record]:
        """What was said on a topic since we began, once it is `count` records."""

        async def from_our_start(tps: set[TP]) -> dict[TP, Claim]:
            return {tp: Claim(self._began[tp], 1) for tp in tps}

        subscription = await self.bus.subscribe(f"looking-{uuid4().hex[:12]}", [topic], from_our_start)
        found: list[Record] = []
        async with asyncio.timeout(20):
            while len(found) < count:
                found += (await subscription.batch(max_records=100, wait_s=0.5)).records
        await subscription.abandon()
        return found

    async def things(self) -> list[str]:
        """In the order in which they were written."""
        rows = await self.bench.admin.fetch("SELECT id FROM intake.things WHERE id LIKE '%/%' ORDER BY ctid")
        return [row["id"] for row in rows]

    async def know(self, key: str) -> None:
        await self.bench.admin.execute("INSERT INTO intake.things VALUES ($1, 0)", f"about {key}")


def said(cr: str, sequence: int) -> Letter:
    fact = event(cr, sequence)
    return Letter(TOPIC, fact.key, *to_wire(fact))


async def until(what: Callable[[], Awaitable[object]], within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not await what():
            await asyncio.sleep(0.05)


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.xdist_group("kafka")])])
async def town(request: pytest.FixtureRequest, postgres: Databases) -> AsyncIterator[Town]:
    url = await postgres.fresh(await postgres.template("plumbing", plumbing.make))
    bus_url = f"kafka://{request.getfixturevalue('kafka')}" if request.param == "kafka" else url
    async with plumbing.bench(url) as bench, open_bus(bus_url) as bus:
        made = Town(bench, bus, bus_url)
        await made.begin()
        yield made
    await postgres.drop(url)


@contextmanager
def a_process(town: Town) -> Iterator[None]:
    """One that hears (tests/contract/hearing.py), killed with -9 at the end."""
    command = [sys.executable, "-m", "tests.contract.hearing", town.bench.url, town.url]
    process = leash.spawn(command, death=signal.SIGKILL, cwd=ROOT)
    try:
        yield
        assert process.poll() is None, "it ended by itself"
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_key_parks_alone_is_drained_and_outlives_a_process_killed_with_9(town: Town) -> None:
    bench = town.bench
    await town.know("CR-2")

    async def are_there(*things: str) -> bool:
        return set(things) <= set(await town.things())

    with a_process(town):
        await town.say(said("CR-1", 1), said("CR-2", 1), said("CR-3", 1), said("CR-1", 2))
        await until(lambda: are_there("CR-2/1"))
        await until(lambda: bench.admin.fetchval("SELECT count(*) = 3 FROM intake.parked"))
        await town.know("CR-3")
        await until(lambda: are_there("CR-3/1"))
        assert await town.things() == ["CR-2/1", "CR-3/1"]
        assert await bench.admin.fetchval("SELECT array_agg(DISTINCT key) FROM intake.parked") == ["CR-1"]
    await town.know("CR-1")
    await town.say(said("CR-1", 3), said("CR-2", 2))
    await bootstrap.move_clock(bench.admin, ahead_s=600)  # no pause before the next attempt is left
    if not town.is_kafka:  # the dead member's lease is at an end; Kafka has no way to say so, and takes its 10 s
        await bench.admin.execute("UPDATE bus.members SET until = until - interval '1 hour'")
    async with meanwhile(main(bench.url, town.url)):
        await until(lambda: are_there("CR-1/1", "CR-1/2", "CR-1/3", "CR-2/2"))
    assert [each for each in await town.things() if each.startswith("CR-1")] == ["CR-1/1", "CR-1/2", "CR-1/3"]
    assert len(await town.things()) == 6
    assert await bench.count("parked") == await bench.count("agenda") == await bench.count("dead") == 0


async def test_bytes_that_nobody_can_read_lie_in_dead_with_their_headers_and_are_replayed_as_they_came(
    town: Town,
) -> None:
    raw_key = b"CR-\xff" if town.is_kafka else b"CR-1"  # PostgreSQL keeps keys as text, and nobody else writes there
    headers = (("ce_id", b"\xfe\x01"), ("odd", b"\x00\xff"), ("odd", b"again"))
    await town.say(Letter(TOPIC, key_of(raw_key), b"\xff\x00garbage", headers), said("CR-9", 1))
    hearer = Hearer(town.bench, town.bus)
    async with meanwhile(hearer.consumer.run()):
        await until(lambda: town.bench.admin.fetchval("SELECT count(*) = 1 FROM intake.dead"))
        await until(hearer.rows)
    assert await hearer.rows() == ["CR-9/1"]
    relay = Relay(town.bench.db, town.bus, plumbing.telemetry())
    assert await relay.send_some() == 1
    await relay.let_go()
    (letter,) = await town.lying(DEAD, 1)
    row = await town.bench.admin.fetchrow("SELECT * FROM intake.dead")
    assert letter.value == row["value"] == b"\xff\x00garbage" and row["key"] == raw_key
    assert letter.headers[: len(headers)] == headers
    told = dict(letter.headers[len(headers) :])
    place = (TOPIC, str(partition_of(key_of(raw_key), 24)), str(row["position"]), "daymark-intake", row["reason"])
    names = ("topic", "partition", "offset", "consumer-group")
    assert tuple(told[f"kafka_dlt-original-{name}"].decode() for name in names) == place[:4]
    assert told["kafka_dlt-exception-message"].decode() == place[4] == "a header is not UTF-8"

    exactly = (await dead.shown(town.bench.url, "intake", row["id"]))["base64"]
    assert base64.b64decode(exactly["key"]) == raw_key and base64.b64decode(exactly["value"]) == letter.value
    assert tuple((name, base64.b64decode(raw)) for name, raw in exactly["headers"]) == headers
    settings = Settings(bus_url=town.url if town.is_kafka else None)
    await dead.replayed(town.bench.url, settings, "intake", row["id"])
    again = [each for each in await town.lying(TOPIC, 3) if each.value == letter.value]
    assert [(each.key, each.partition, each.headers) for each in again] == [
        (raw_key, row["partition"], headers),
        (raw_key, row["partition"], headers),
    ]
