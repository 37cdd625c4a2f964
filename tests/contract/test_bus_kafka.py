"""What KafkaBus has to prove beyond the common suite: foreign records, a broker that dies or freezes, a client that does."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import NoReturn
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from shared.bus import TP, Batch, BusBroken, Letter, PositionLost, SendUnknown, TopicSpec
from shared.bus.kafka import KafkaBus
from shared.bus.kafka_clients import OncePer
from shared.bus.kafka_group import Member
from shared.errors import Unavailable
from tests.contract.ledger import Ledger, hear
from tests.contract.test_bus import numbered
from tests.servers.kafka import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("kafka")]


@pytest.fixture
async def bus(kafka: str) -> AsyncIterator[KafkaBus]:
    opened = KafkaBus(kafka, check_s=0.3, stall_s=0.9)
    yield opened
    await opened.close()


async def topic_of(bus: KafkaBus, partitions: int = 24) -> str:
    name = f"daymark.test-{uuid4().hex[:12]}"
    await bus.apply_topics([TopicSpec(name, partitions=partitions)])
    return name


async def test_what_foreign_writers_leave_out_is_none(bus: KafkaBus, kafka: str) -> None:
    topic = await topic_of(bus)
    foreign = AIOKafkaProducer(bootstrap_servers=kafka)
    await foreign.start()
    await foreign.send_and_wait(topic, b"no key", None)
    await foreign.send_and_wait(topic, None, b"no value")
    await foreign.stop()
    ledger = Ledger()
    subscription = await bus.subscribe(f"of {topic}", [topic], ledger.claim)
    await hear(subscription, ledger, until=2)
    assert {(record.key, record.value) for record in ledger.kept} == {(None, b"no key"), (b"no value", None)}
    await subscription.abandon()


async def test_of_foreign_transactions_only_the_committed_are_heard_and_their_marks_are_no_lag(
    bus: KafkaBus, kafka: str
) -> None:
    topic = await topic_of(bus, partitions=1)
    foreign = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic)
    await foreign.start()
    async with foreign.transaction():
        await foreign.send_and_wait(topic, b"committed")
    await foreign.begin_transaction()
    await foreign.send_and_wait(topic, b"aborted")
    await foreign.abort_transaction()
    await foreign.stop()
    ledger = Ledger()
    subscription = await bus.subscribe(f"of {topic}", [topic], ledger.claim)
    client = subscription._consumer
    give_up_at = time.monotonic() + 4  # several times what the watchdog allows
    while time.monotonic() < give_up_at:
        ledger.keep(await subscription.batch(max_records=10, wait_s=0.2))
    assert ledger.values() == [b"committed"]
    assert subscription._consumer is client
    await subscription.abandon()


async def test_a_position_that_retention_has_passed_is_said_and_not_skipped(bus: KafkaBus, kafka: str) -> None:
    topic = await topic_of(bus, partitions=1)
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 20))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=15)})
    await admin.close()
    ledger = Ledger()
    fresh = await bus.subscribe(f"new of {topic}", [topic], ledger.claim)
    await hear(fresh, ledger, until=5)
    assert [record.offset for record in ledger.kept] == [15, 16, 17, 18, 19]
    late = await bus.subscribe(f"late of {topic}", [topic], Ledger({TP(topic, 0): 3}).claim)
    with pytest.raises(PositionLost):
        for _ in range(50):
            await late.batch(max_records=10, wait_s=0.2)
    for part in (publisher, fresh, late):
        await part.abandon()


async def test_lag_tools_see_what_the_hearer_reached(bus: KafkaBus, kafka: str) -> None:
    topic = await topic_of(bus, partitions=1)
    group = f"of {topic}"
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 20))
    ledger = Ledger()
    subscription = await bus.subscribe(group, [topic], ledger.claim)
    await hear(subscription, ledger, until=20)
    await subscription.commit({TP(topic, 0): 20})
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    give_up_at = time.monotonic() + 10
    while True:
        await subscription.batch(max_records=1, wait_s=0.1)
        if (seen := await admin.list_consumer_group_offsets(group)) and seen[TopicPartition(topic, 0)].offset == 20:
            break
        assert time.monotonic() < give_up_at, seen
    await admin.close()
    await publisher.abandon()
    await subscription.abandon()


def strike_dumb(member: Member) -> None:
    """As aiokafka was seen to be: the fetching task is over, and no call ever raises."""
    assert member._consumer is not None
    member._consumer._fetcher._fetch_task.cancel()


async def test_a_client_that_fell_silent_is_replaced_and_nothing_is_lost(bus: KafkaBus) -> None:
    topic = await topic_of(bus)
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 50))
    ledger = Ledger()
    subscription = await bus.subscribe(f"of {topic}", [topic], ledger.claim)
    await hear(subscription, ledger, until=50)
    dumb = subscription._consumer
    strike_dumb(subscription)
    await publisher.publish(numbered(topic, 50, start=50))
    await hear(subscription, ledger, until=100)
    assert subscription._consumer is not dumb
    assert sorted(int(value or b"") for value in ledger.values()) == list(range(100))
    await subscription.abandon()
    await publisher.abandon()


async def test_a_client_whose_own_tasks_died_is_replaced_and_only_when_all_do_for_a_while_the_bus_does_not_answer(
    bus: KafkaBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await topic_of(bus)
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 50))
    ledger = Ledger()
    subscription = await bus.subscribe(f"of {topic}", [topic], ledger.claim)
    await hear(subscription, ledger, until=50)

    async def dead(**_: object) -> NoReturn:
        raise KafkaError("Unexpected error during coordination")

    ill = subscription._consumer
    assert ill is not None
    ill.getmany = dead
    await publisher.publish(numbered(topic, 50, start=50))
    await hear(subscription, ledger, until=100)
    assert subscription._consumer is not ill
    with monkeypatch.context() as patched:
        patched.setattr("aiokafka.AIOKafkaConsumer.getmany", lambda *_, **__: dead())
        assert await subscription.batch(max_records=10, wait_s=1) == Batch()
        patched.setattr("shared.bus.kafka_group.FAILING_S", 1)
        for _ in range(2):  # for as long as it lasts, whoever asks is told
            with pytest.raises(Unavailable, match="Unexpected error"):
                await subscription.batch(max_records=10, wait_s=5)
    await publisher.publish(numbered(topic, 50, start=100))
    await hear(subscription, ledger, until=150)
    assert sorted(int(value or b"") for value in ledger.values()) == list(range(150))
    await subscription.abandon()
    await publisher.abandon()


async def test_a_hearer_that_is_busy_elsewhere_is_not_taken_for_a_silent_client(bus: KafkaBus) -> None:
    topic = await topic_of(bus)
    ledger = Ledger()
    subscription = await bus.subscribe(f"of {topic}", [topic], ledger.claim)
    await subscription.batch(max_records=1, wait_s=3)
    client = subscription._consumer
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 50))
    await asyncio.sleep(3)  # three times what the watchdog allows, with letters waiting
    await hear(subscription, ledger, until=50)
    assert subscription._consumer is client
    await subscription.abandon()
    await publisher.abandon()


async def test_when_new_clients_are_silent_too_the_process_is_told_to_end(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = KafkaBus(kafka, check_s=0.1, stall_s=0.4)
    topic = await topic_of(bus)
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 50))
    connect, clients = Member._connect, 0

    async def connect_dumb(member: Member) -> None:
        nonlocal clients
        await connect(member)
        strike_dumb(member)
        clients += 1

    monkeypatch.setattr(Member, "_connect", connect_dumb)
    subscription = await bus.subscribe(f"of {topic}", [topic], Ledger().claim)
    began = time.monotonic()
    with pytest.raises(BusBroken):
        for _ in range(300):
            await subscription.batch(max_records=10, wait_s=0.1)
    assert clients == 1 + 3
    assert time.monotonic() - began >= 0.4 * (1 + 2 + 4 + 8)  # each had twice the time of the one before
    await subscription.abandon()
    await publisher.abandon()
    await bus.close()


@pytest.mark.slow
async def test_sends_that_wait_while_the_broker_is_killed_and_started_again_all_arrive(broker: Broker) -> None:
    bus = KafkaBus(broker.address, check_s=1, stall_s=3)
    topic = await topic_of(bus)
    ledger = Ledger()
    subscription = await bus.subscribe("crash", [topic], ledger.claim)
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 100))
    await hear(subscription, ledger, until=100)
    broker.kill()
    waiting = asyncio.create_task(publisher.publish(numbered(topic, 500, start=100)))
    await asyncio.sleep(1)
    assert not waiting.done()
    broker.start()
    (unknown,) = await asyncio.gather(waiting, return_exceptions=True)
    give_up_at = time.monotonic() + 60
    while unknown is not None:  # what a relay does: the same letters again, by a new publisher
        assert isinstance(unknown, SendUnknown)
        assert time.monotonic() < give_up_at
        await publisher.abandon()
        try:
            publisher = await bus.publisher()
            await publisher.publish(numbered(topic, 500, start=100))
        except (SendUnknown, Unavailable) as error:
            unknown = error if isinstance(error, SendUnknown) else SendUnknown(str(error))
        else:
            unknown = None
    give_up_at = time.monotonic() + 30
    while len(set(ledger.values())) < 600:
        assert time.monotonic() < give_up_at, f"{len(set(ledger.values()))} of 600 letters"
        ledger.keep(await subscription.batch(max_records=100, wait_s=0.2))
    assert {int(value or b"") for value in ledger.values()} == set(range(600))
    await publisher.abandon()
    await subscription.abandon()
    await bus.close()


@pytest.mark.slow
async def test_a_frozen_broker_holds_nobody_longer_than_the_bounds_and_all_is_heard_after_it(broker: Broker) -> None:
    bus = KafkaBus(broker.address, check_s=1, stall_s=3)
    topic = await topic_of(bus)
    ledger = Ledger()
    subscription = await bus.subscribe("frost", [topic], ledger.claim)
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 50))
    await hear(subscription, ledger, until=50)
    assert broker._process is not None
    broker._process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()

        async def listening() -> None:
            for _ in range(20):
                before = time.monotonic()
                await subscription.batch(max_records=10, wait_s=0.5)
                assert time.monotonic() - before < 2

        asked = [publisher.publish([Letter(topic, "k", b"50")]), bus.ends([topic]), bus.ping(), bus.publisher()]
        answers = await asyncio.gather(*asked, listening(), return_exceptions=True)
        assert [type(answer) for answer in answers] == [SendUnknown, *[Unavailable] * 3, type(None)]
        before = time.monotonic()
        await publisher.abandon()
        assert time.monotonic() - before < 1
        assert time.monotonic() - started < 20
    finally:
        os.kill(broker._process.pid, signal.SIGCONT)
    healed = time.monotonic()
    successor = await bus.publisher()
    await successor.publish(numbered(topic, 50, start=50))
    while len(set(ledger.values())) < 100:
        assert time.monotonic() - healed < 30
        ledger.keep(await subscription.batch(max_records=100, wait_s=0.2))
    await successor.abandon()
    await subscription.abandon()
    await bus.close()
    left = [task for task in asyncio.all_tasks() if "Sender" in repr(task.get_coro())]
    assert not left, "what an abandoned publisher had under way is still waited for"


@pytest.mark.slow
async def test_when_the_broker_moves_to_another_address_hearing_goes_on_there(broker: Broker) -> None:
    there = Broker(broker.directory)  # the same data, other ports
    there.port += 100
    there.address = f"127.0.0.1:{there.port}"
    bus = KafkaBus(f"{broker.address},{there.address}", check_s=1, stall_s=3)
    topic = await topic_of(bus)
    ledger = Ledger()
    subscription = await bus.subscribe("move", [topic], ledger.claim)
    publisher = await bus.publisher()
    await publisher.publish(numbered(topic, 50))
    await hear(subscription, ledger, until=50)
    client = subscription._consumer
    broker.stop()
    there.start()
    try:
        await publisher.abandon()
        successor = await bus.publisher()
        await successor.publish(numbered(topic, 50, start=50))
        await hear(subscription, ledger, until=100)
        assert subscription._consumer is not client  # by itself it would ask the old address for ever
        assert sorted(int(value or b"") for value in ledger.values()) == list(range(100))
        await successor.abandon()
        await subscription.abandon()
        await bus.close()
    finally:
        there.kill()


def test_a_message_that_aiokafka_repeats_is_said_once_in_a_while_and_others_are_not_held_back() -> None:
    limit = OncePer(every_s=0.2)

    def said(message: str) -> bool:
        return limit(logging.LogRecord("aiokafka", logging.ERROR, __file__, 1, message, (), None))

    assert [said("away %s"), said("away %s"), said("other")] == [True, False, True]
    time.sleep(0.25)
    assert said("away %s")
    for name in ("aiokafka", "aiokafka.consumer.fetcher", "aiokafka.consumer.group_coordinator"):
        assert any(isinstance(one, OncePer) for one in logging.getLogger(name).filters)
