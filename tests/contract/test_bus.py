"""What both buses promise. One suite, run on PostgresBus and on KafkaBus."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from itertools import pairwise
from uuid import uuid4

import asyncpg
import pytest
from aiokafka.partitioner import murmur2 as kafkas_murmur2

from shared.bus import (
    MAX_RECORD_BYTES,
    PARTITIONS,
    TP,
    Bus,
    Claim,
    Letter,
    PositionLost,
    SendUnknown,
    Subscription,
    TopicSpec,
    open_bus,
)
from shared.bus.partitioner import murmur2, partition_of
from shared.errors import Unavailable
from tests.contract.ledger import Ledger, hear, listen

TICK = "CREATE FUNCTION daymark_tick() RETURNS timestamptz STABLE LANGUAGE sql AS 'SELECT clock_timestamp()'"


@pytest.fixture(
    params=[
        "postgres",
        pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.xdist_group("kafka")]),
    ]
)
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    server = request.getfixturevalue(request.param)
    if request.param == "kafka":
        async with open_bus(f"kafka://{server}") as opened:
            yield opened
        return
    url = await server.fresh()
    connection = await asyncpg.connect(url)
    await connection.execute(TICK)
    await connection.close()
    async with open_bus(url) as opened:
        yield opened
    await server.drop(url)


@pytest.fixture
async def topic(bus: Bus) -> str:
    """A topic of the test's own."""
    name = f"daymark.test-{uuid4().hex[:12]}"
    assert await bus.apply_topics([TopicSpec(name)]) == []
    return name


async def say(bus: Bus, *letters: Letter) -> None:
    publisher = await bus.publisher()
    await publisher.publish(letters)
    await publisher.abandon()


def numbered(topic: str, count: int, *, keys: int = 10, start: int = 0) -> list[Letter]:
    return [Letter(topic, f"CR-{n % keys}", str(n).encode()) for n in range(start, start + count)]


async def test_letters_of_one_key_are_heard_in_the_order_they_were_said(bus: Bus, topic: str) -> None:
    publisher = await bus.publisher()
    for start in range(0, 600, 60):
        await publisher.publish(numbered(topic, 60, start=start))
    ledger = Ledger()
    subscription = await bus.subscribe("order", [topic], ledger.claim)
    await hear(subscription, ledger, until=600)
    heard: dict[bytes | None, list[int]] = defaultdict(list)
    for record in ledger.kept:
        heard[record.key].append(int(record.value or b""))
    assert len(heard) == 10
    assert all(one < following for numbers in heard.values() for one, following in pairwise(numbers))
    await subscription.abandon()
    await publisher.abandon()


async def test_a_letter_arrives_byte_for_byte_with_its_headers(bus: Bus, topic: str) -> None:
    headers = (("ce_id", b"1"), ("twice", b"a"), ("twice", b"b"), ("odd", bytes(range(256))), ("empty", b""))
    await say(bus, Letter(topic, "Schlüssel", bytes(range(256)), headers), Letter(topic, "", b""))
    ledger = Ledger()
    subscription = await bus.subscribe("bytes", [topic], ledger.claim)
    await hear(subscription, ledger, until=2)
    by_key = {record.key: record for record in ledger.kept}
    assert by_key["Schlüssel".encode()].value == bytes(range(256))
    assert by_key["Schlüssel".encode()].headers == headers
    assert by_key[b""].value == b"" and by_key[b""].headers == ()
    await subscription.abandon()


async def test_a_payload_of_a_megabyte_and_many_of_the_largest_letters_pass(bus: Bus, topic: str) -> None:
    megabyte, largest = b"s" * 1024 * 1024, b"x" * 256 * 1024
    await say(bus, Letter(topic, "suite", megabyte), *(Letter(topic, "one key", largest) for _ in range(12)))
    ledger = Ledger()
    subscription = await bus.subscribe("large", [topic], ledger.claim)
    await hear(subscription, ledger, until=13)
    assert sorted(len(value or b"") for value in ledger.values()) == [256 * 1024] * 12 + [1024 * 1024]
    await subscription.abandon()


async def test_a_key_lies_in_the_partition_that_kafka_gives_it(bus: Bus, topic: str) -> None:
    keys = [f"CR-{n}" for n in range(100)]
    await say(bus, *(Letter(topic, key, b"") for key in keys))
    ledger = Ledger()
    subscription = await bus.subscribe("places", [topic], ledger.claim)
    await hear(subscription, ledger, until=100)
    assert {r.key: r.partition for r in ledger.kept} == {k.encode(): partition_of(k, PARTITIONS) for k in keys}
    await subscription.abandon()


def test_our_hash_of_a_key_is_kafkas() -> None:
    keys = [bytes(range(200, 200 + length)) for length in range(17)] + [f"CR-{n}é".encode() for n in range(2000)]
    assert [murmur2(key) for key in keys] == [kafkas_murmur2(key) & 0xFFFFFFFF for key in keys]


async def test_who_joins_late_hears_everything_from_the_start(bus: Bus, topic: str) -> None:
    await say(bus, *numbered(topic, 50))
    first = Ledger()
    early = await bus.subscribe("early", [topic], first.claim)
    await hear(early, first, until=50)
    late = Ledger()
    subscription = await bus.subscribe("late", [topic], late.claim)
    await hear(subscription, late, until=50)
    assert Counter(first.values()) == Counter(late.values())
    await early.abandon()
    await subscription.abandon()


async def test_a_restart_resumes_where_the_hearers_database_says_whatever_was_committed(bus: Bus, topic: str) -> None:
    await say(bus, *numbered(topic, 100))
    ledger = Ledger()
    subscription = await bus.subscribe("restart", [topic], ledger.claim)
    await hear(subscription, ledger, until=100)
    await subscription.commit(dict.fromkeys(subscription.assigned, 1))
    await subscription.abandon()
    await say(bus, *numbered(topic, 20, start=100))
    again = await bus.subscribe("restart", [topic], ledger.claim)
    await hear(again, ledger, until=120)
    assert sorted(int(value or b"") for value in ledger.values()) == list(range(120))
    await again.abandon()


async def test_members_share_the_partitions_and_nothing_is_lost_or_doubled_when_they_come_and_go(
    bus: Bus, topic: str
) -> None:
    ledger, said = Ledger(), 0
    publisher = await bus.publisher()
    members: list[Subscription] = []
    tasks: list[asyncio.Task[None]] = []

    async def settled(count: int) -> None:
        nonlocal said
        give_up_at = time.monotonic() + 30
        while True:
            await publisher.publish(numbered(topic, 50, keys=50, start=said))
            said += 50
            shares = [len(member.assigned) for member in members]
            if len(shares) == count and sum(shares) == PARTITIONS and max(shares) - min(shares) <= 1:
                return
            assert time.monotonic() < give_up_at, shares
            await asyncio.sleep(0.1)

    for count in (1, 2, 3):
        members.append(await bus.subscribe("share", [topic], ledger.claim))
        tasks.append(asyncio.create_task(listen(members[-1], ledger)))
        await settled(count)
    for count in (2, 1):
        tasks.pop(0).cancel()
        await members.pop(0).abandon()
        await settled(count)
    give_up_at = time.monotonic() + 30
    while len(ledger.kept) < said and time.monotonic() < give_up_at:
        await asyncio.sleep(0.1)
    assert sorted(int(value or b"") for value in ledger.values()) == list(range(said))
    tasks[0].cancel()
    await members[0].abandon()
    await publisher.abandon()


async def test_a_batch_fetched_before_a_takeover_is_fenced_by_its_generation(bus: Bus, topic: str) -> None:
    await say(bus, *numbered(topic, 200, keys=200))
    ledger = Ledger()
    slow = await bus.subscribe("fence", [topic], ledger.claim)
    held = await slow.batch(max_records=200, wait_s=10)
    assert held.records
    await slow.abandon()  # its process goes on with what it holds
    quick = await bus.subscribe("fence", [topic], ledger.claim)
    await hear(quick, ledger, until=200)
    assert not ledger.keep(held)
    assert sorted(int(value or b"") for value in ledger.values()) == list(range(200))
    await quick.abandon()


async def test_the_ends_are_where_the_next_letters_will_lie(bus: Bus, topic: str) -> None:
    assert await bus.ends([topic]) == {TP(topic, partition): 0 for partition in range(PARTITIONS)}
    await say(bus, *(Letter(topic, "one", b"") for _ in range(7)))
    ends = await bus.ends([topic])
    assert ends[TP(topic, partition_of("one", PARTITIONS))] == 7
    assert sum(ends.values()) == 7


async def test_a_position_that_the_bus_does_not_have_is_said_and_not_skipped(bus: Bus, topic: str) -> None:
    await say(bus, *numbered(topic, 100, keys=100))
    subscription = await bus.subscribe("lost", [topic], Ledger({TP(topic, 3): 10_000}).claim)
    with pytest.raises(PositionLost):
        for _ in range(50):
            await subscription.batch(max_records=100, wait_s=0.2)
    await subscription.abandon()


async def test_applying_topics_twice_changes_nothing_and_says_nothing(bus: Bus, topic: str) -> None:
    await say(bus, *numbered(topic, 5))
    before = await bus.ends([topic])
    assert await bus.apply_topics([TopicSpec(topic)]) == []
    assert await bus.ends([topic]) == before


async def test_partitions_are_never_changed_and_what_drifted_is_said_in_sentences(bus: Bus, topic: str) -> None:
    fleeting = f"{topic}.fleeting"
    assert await bus.apply_topics([TopicSpec(fleeting, retention_ms=60_000)]) == []
    said = await bus.apply_topics([TopicSpec(topic, partitions=48), TopicSpec(fleeting, retention_ms=5_000)])
    assert len(said) == 2
    assert said[0].startswith(f"{topic} has 24 partitions, not 48")
    assert said[1] == f"{fleeting} keeps its letters for 60 s, not for 5 s."
    assert len(await bus.ends([topic])) == 24


async def test_a_letter_too_large_is_refused_and_the_next_publisher_is_well(bus: Bus, topic: str) -> None:
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 1))
    with pytest.raises(SendUnknown):
        await publisher.publish([Letter(topic, "huge", b"x" * (MAX_RECORD_BYTES + 100_000))])
    await publisher.abandon()
    await say(bus, *numbered(topic, 1, start=1))
    assert sum((await bus.ends([topic])).values()) == 2


async def test_a_topic_that_does_not_exist_is_not_made_by_accident(bus: Bus, topic: str) -> None:
    missing = f"{topic}.missing"
    with pytest.raises(Unavailable):
        await bus.subscribe("nobody", [missing], Ledger().claim)
    publisher = await bus.publisher()
    with pytest.raises(SendUnknown):
        await publisher.publish([Letter(missing, "k", b"")])
    await publisher.abandon()
    with pytest.raises(Unavailable):
        await bus.ends([missing])


async def test_a_waiting_hearer_hears_at_once_and_an_idle_one_returns_in_time(bus: Bus, topic: str) -> None:
    ledger = Ledger()
    subscription = await bus.subscribe("prompt", [topic], ledger.claim)
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 1))
    await hear(subscription, ledger, until=1)
    started = time.monotonic()
    assert (await subscription.batch(max_records=10, wait_s=0.5)).records == ()
    assert 0.4 < time.monotonic() - started < 2
    waiting = asyncio.create_task(subscription.batch(max_records=10, wait_s=10))
    await asyncio.sleep(0.3)
    started = time.monotonic()
    await publisher.publish(numbered(topic, 1))
    assert len((await waiting).records) == 1
    assert time.monotonic() - started < 1
    await publisher.abandon()
    await subscription.abandon()


async def test_no_more_records_come_at_once_than_were_asked_for(bus: Bus, topic: str) -> None:
    await say(bus, *numbered(topic, 300, keys=300))
    ledger = Ledger()
    subscription = await bus.subscribe("sip", [topic], ledger.claim)
    while len(ledger.kept) < 300:
        batch = await subscription.batch(max_records=7, wait_s=5)
        assert 0 < len(batch.records) <= 7
        assert batch.generations.keys() == {record.tp for record in batch.records}
        assert ledger.keep(batch)
    await subscription.abandon()


async def test_a_claim_that_fails_reaches_the_hearer_and_is_asked_again(bus: Bus, topic: str) -> None:
    await say(bus, *numbered(topic, 30))
    ledger, failures = Ledger(), 0

    async def claim(partitions: set[TP]) -> Mapping[TP, Claim]:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise ConnectionError("the hearer's database is away")
        return await ledger.claim(partitions)

    subscription = await bus.subscribe("unlucky", [topic], claim)
    for _ in range(100):
        with suppress(ConnectionError):
            await hear(subscription, ledger, until=30)
            break
    assert failures == 2
    assert sorted(int(value or b"") for value in ledger.values()) == list(range(30))
    await subscription.abandon()


async def test_leaving_takes_seconds_at_most_and_a_commit_of_nonsense_does_no_harm(bus: Bus, topic: str) -> None:
    publisher = await bus.publisher()
    subscription = await bus.subscribe("leaving", [topic], Ledger().claim)
    await subscription.batch(max_records=1, wait_s=0.5)
    await subscription.commit({TP("daymark.elsewhere", 99): 5, TP(topic, 0): 10**12})
    started = time.monotonic()
    await publisher.abandon()
    await subscription.abandon()
    await publisher.abandon()
    await subscription.abandon()
    assert time.monotonic() - started < 3


async def test_a_bus_that_answers_can_be_pinged(bus: Bus) -> None:
    started = time.monotonic()
    await bus.ping()
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("url", ["kafka://127.0.0.1:9", "postgresql://nobody@127.0.0.1:9/none"])
async def test_a_bus_that_is_away_says_so_in_time(url: str) -> None:
    started = time.monotonic()
    async with open_bus(url) as bus:
        for ask in (bus.ping(), bus.ends(["daymark.any"]), bus.subscribe("g", ["daymark.any"], Ledger().claim)):
            with pytest.raises(Unavailable):
                await ask
        with pytest.raises((Unavailable, SendUnknown)):
            await say(bus, Letter("daymark.any", "k", b""))
    assert time.monotonic() - started < 15
