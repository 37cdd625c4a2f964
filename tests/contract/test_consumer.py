"""What the consumer promises: once-only effect, parked keys, dead letters, fencing. Over both buses: test_hearing.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from shared.aside import TooManyFailures
from shared.bus import MAX_RECORD_BYTES, TP, Batch, Bus, Claim, Letter, Record, SendUnknown, TopicSpec, open_bus
from shared.consumer import Consumer
from shared.contracts import CRWithdrawn, to_wire
from shared.db import Tx, bootstrap
from shared.outbox import Relay
from shared.positions import Fenced
from shared.settings import Settings
from tests.contract import plumbing
from tests.contract.hearer import TOPIC, Hearer, event, record
from tests.contract.plumbing import Bench
from tests.servers.postgres import Databases


@pytest.fixture
async def bench(postgres: Databases) -> AsyncIterator[Bench]:
    url = await postgres.fresh(await postgres.template("plumbing", plumbing.make))
    async with plumbing.bench(url) as made:
        yield made
    await postgres.drop(url)


@pytest.fixture
async def bus(bench: Bench) -> AsyncIterator[Bus]:
    async with open_bus(bench.url) as made:
        await made.apply_topics(
            [TopicSpec(TOPIC, 4), TopicSpec("daymark.inbound", 4), TopicSpec("daymark.dead.intake", 4)]
        )
        yield made


async def test_the_same_letter_twice_has_one_effect(bench: Bench, bus: Bus) -> None:
    hearer, said = Hearer(bench, bus), event("CR-1", 1)
    await hearer.hear(record(said, 0), record(said, 1))
    await hearer.hear(record(said, 2))
    assert await hearer.rows() == ["CR-1/1"]
    assert await bench.admin.fetchval("SELECT next_offset FROM intake.positions") == 3


async def test_a_batch_is_one_commit_with_its_positions(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    await hearer.hear(*(record(event(f"CR-{n}", n), n, n % 4) for n in range(200)))
    assert len(await hearer.rows()) == 200
    assert await bench.admin.fetchval("SELECT sum(next_offset) FROM intake.positions") == 197 + 198 + 199 + 200


async def test_a_letter_that_lacks_context_parks_its_key_and_not_its_neighbours(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    hearer.waiting.add("CR-1")
    await hearer.hear(record(event("CR-1", 1), 0), record(event("CR-2", 1), 1), record(event("CR-1", 2), 2))
    await hearer.hear(record(event("CR-1", 3), 3), record(event("CR-2", 2), 4))
    assert await hearer.rows() == ["CR-2/1", "CR-2/2"]
    assert await bench.count("parked") == 3
    await hearer.drain()  # still waiting: nothing happens, nothing is lost
    assert await bench.count("parked") == 3
    hearer.waiting.clear()
    hearer.poison.clear()
    again = Hearer(bench, bus)  # another process, after a kill: all it needs is in the database
    await bootstrap.move_clock(bench.admin, ahead_s=60)
    await again.drain()
    assert await again.rows() == ["CR-1/1", "CR-2/1", "CR-1/2", "CR-2/2", "CR-1/3"]
    assert await bench.count("parked") == await bench.count("agenda") == 0


async def test_a_step_that_keeps_failing_parks_its_key_alone(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    hearer.poison.add("CR-1")
    await hearer.hear(record(event("CR-2", 1), 0), record(event("CR-1", 1), 1), record(event("CR-3", 1), 2))
    assert await hearer.rows() == ["CR-2/1", "CR-3/1"]
    assert "a bug" in await bench.admin.fetchval("SELECT reason FROM intake.parked")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"\xff\x00garbage", ()),
        (b"{}", (("ce_id", b"1"),)),
        (None, ()),
        (b"not json", to_wire(event("CR-1", 1))[1]),
        (
            b'{"cr_id":"CR-2","product_id":"epl","reason":"x","withdrawn_at":"2026-01-01T00:00:00Z"}',
            to_wire(event("CR-1", 1))[1],
        ),
        (to_wire(event("CR-1", 1))[0], (*to_wire(event("CR-1", 1))[1], ("ce_source", b"daymark/snapshotter"))),
        (to_wire(event("CR-1", 1))[0], (*to_wire(event("CR-1", 1))[1], ("ce_sequence", b"many"))),
        (to_wire(event("CR-1", 1))[0], (*to_wire(event("CR-1", 1))[1], ("ce_specversion", b"0.3"))),
    ],
)
async def test_what_nobody_can_read_is_a_dead_letter_with_its_bytes(
    bench: Bench, bus: Bus, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
) -> None:
    hearer = Hearer(bench, bus)
    await hearer.hear(Record(TOPIC, 0, 0, b"CR-1", value, headers), record(event("CR-9", 1), 1))
    assert await hearer.rows() == ["CR-9/1"]
    dead = await bench.admin.fetchrow("SELECT * FROM intake.dead")
    assert (dead["value"], dead["topic"], dead["position"]) == (value, TOPIC, 0) and dead["reason"]
    letter = await bench.admin.fetchrow("SELECT * FROM intake.outbox")
    assert letter["topic"] == "daymark.dead.intake" and letter["value"] == (value or b"")
    await hearer.hear(Record(TOPIC, 0, 0, b"CR-1", value, headers))  # again, as after a crash: one dead letter
    assert await bench.count("dead") == await bench.count("outbox") == 1


async def test_headers_with_any_bytes_are_buried_and_sent_on_as_they_came(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    odd = (("a", b"\x00\xff\x01"), ("b\x00", b"x"), ("c", b"caf\xc3\xa9"))
    await hearer.hear(Record(TOPIC, 0, 0, b"\x00\xff", b"\x00", odd))
    relay = Relay(bench.db, bus, plumbing.telemetry())
    assert await relay.send_some() == 1
    await relay.let_go()
    claims = {TP("daymark.dead.intake", n): Claim(0, 1) for n in range(4)}

    async def claim(_tps: object) -> dict[TP, Claim]:
        return claims

    reader = await bus.subscribe("reader", ["daymark.dead.intake"], claim)
    async with asyncio.timeout(15):
        while not (found := (await reader.batch(max_records=10, wait_s=1)).records):
            pass
    await reader.abandon()
    headers = dict(found[0].headers)
    assert (headers["a"], headers["c"], found[0].value) == (b"\x00\xff\x01", b"caf\xc3\xa9", b"\x00")


async def test_a_fact_of_a_newer_daymark_is_passed_over(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    value, headers = to_wire(event("CR-1", 1))
    newer = tuple((name, b"cr.teleported.v1" if name == "ce_type" else raw) for name, raw in headers)
    await hearer.hear(Record(TOPIC, 0, 0, b"CR-1", value, newer))
    assert await bench.count("dead") == await bench.count("parked") == await bench.count("things") == 0


async def test_a_command_by_bus_that_is_refused_is_a_dead_letter_and_has_no_effect(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    await hearer.hear(Record("daymark.inbound", 0, 0, None, b"take"), Record("daymark.inbound", 0, 1, None, b"refuse"))
    assert await hearer.rows() == ["inbound/0"]
    assert "forbidden" in await bench.admin.fetchval("SELECT reason FROM intake.dead")
    refused = await bench.admin.fetchrow("SELECT * FROM intake.audit")
    assert refused["refused"] and (refused["object"], refused["reason"]) == ("inbound/1", "not you")


async def test_a_zombie_member_is_fenced(bench: Bench, bus: Bus) -> None:
    zombie, successor = Hearer(bench, bus), Hearer(bench, bus)
    old = await zombie.consumer.claim({TP(TOPIC, 0)})
    await successor.hear(record(event("CR-1", 1), 0))
    with pytest.raises(Fenced):
        await zombie.consumer.hear(Batch([record(event("CR-1", 9), 0)], {TP(TOPIC, 0): old[TP(TOPIC, 0)].generation}))
    assert await zombie.rows() == ["CR-1/1"]


async def test_too_many_parked_keys_stop_the_consumer(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    hearer.waiting = {f"CR-{n}" for n in range(40)}
    with pytest.raises(TooManyFailures):
        await hearer.hear(*(record(event(f"CR-{n}", 1), n) for n in range(40)))
    assert await bench.count("parked") == 20


async def test_keys_parked_long_ago_may_get_a_letter_more_without_stopping_us(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    hearer.waiting = {f"CR-{n}" for n in range(22)}
    await hearer.hear(*(record(event(f"CR-{n}", 1), n) for n in range(20)))
    await bench.admin.execute("UPDATE intake.parked SET parked_at = parked_at - interval '1 hour'")
    await hearer.hear(*(record(event(f"CR-{n}", 2), 20 + n) for n in range(22)))
    assert await bench.count("parked") == 42


async def test_a_lost_position_of_a_fact_stops_though_heartbeats_could_begin_again(bench: Bench, bus: Bus) -> None:
    async def passed(tx: Tx, said: Record) -> None: ...

    hearer = Hearer(bench, bus)
    consumer = Consumer(
        bench.db, bus, plumbing.telemetry(), on={CRWithdrawn: hearer.step}, raw={}, watch={"daymark.inbound": passed}
    )
    await consumer.claim({TP(TOPIC, 0), TP("daymark.inbound", 0)})
    await bench.admin.execute("UPDATE intake.positions SET next_offset = CASE topic WHEN $1 THEN 99 ELSE 0 END", TOPIC)
    await asyncio.wait_for(consumer.run(), 20)
    assert TOPIC in (consumer.progress.problem() or "")


async def test_a_dead_letter_too_large_for_the_bus_holds_up_no_other(bench: Bench, bus: Bus) -> None:
    huge = b"\xff" * (MAX_RECORD_BYTES + 1)
    await Hearer(bench, bus).hear(Record(TOPIC, 0, 7, b"k", huge, (("a", b"b"),)))
    async with bench.db.house() as tx:
        tx.emit(event("CR-1", 1).data, sequence=1)
    relay = Relay(bench.db, bus, plumbing.telemetry())
    assert await relay.send_some() == 2
    await relay.let_go()
    assert await bench.admin.fetchval("SELECT value FROM intake.dead") == huge
    async with asyncio.timeout(20):
        said = await _all(bus, "daymark.dead.intake", 1)
    headers = dict(said[0].headers)
    assert said[0].value == b""
    assert headers["kafka_dlt-original-offset"] == b"7"
    assert int(headers["daymark-cut"]) > MAX_RECORD_BYTES


async def test_a_letter_that_the_bus_will_not_have_holds_up_no_other_lane(bench: Bench, bus: Bus) -> None:
    async with bench.db.house() as tx:
        tx.post("daymark.nowhere", "k", b"never", (), "poison")
        for n in range(40):
            tx.emit(event(f"CR-{n}", 1).data, sequence=1)
    poisoned = await bench.admin.fetchval("SELECT lane FROM intake.outbox WHERE event_id = 'poison'")
    relay = Relay(bench.db, bus, plumbing.telemetry())
    failures = 0
    for _ in range(100):
        try:
            await relay.send_some()
        except SendUnknown:
            failures += 1
            await relay.let_go()
    left = await bench.admin.fetch("SELECT lane FROM intake.unsent")
    assert {row["lane"] for row in left} == {poisoned}
    assert failures < 8  # a lane at rest costs nobody anything
    async with bench.db.house() as tx:
        for n in range(40, 80):
            tx.emit(event(f"CR-{n}", 1).data, sequence=1)
    while await relay.send_some():
        pass
    left = await bench.admin.fetch("SELECT lane FROM intake.unsent")
    assert {row["lane"] for row in left} == {poisoned}
    await bus.apply_topics([TopicSpec("daymark.nowhere", 1)])
    relay._resting = dict.fromkeys(relay._resting, 0.0)  # rested
    while await relay.send_some():
        pass
    assert await bench.admin.fetchval("SELECT count(*) FROM intake.unsent") == 0
    await relay.let_go()


async def _all(bus: Bus, topic: str, count: int) -> list[Record]:
    """What lies on a topic, once it is `count` records."""

    async def from_the_start(tps: set[TP]) -> dict[TP, Claim]:
        return {tp: Claim(None, 1) for tp in tps}

    subscription = await bus.subscribe("looking", [topic], from_the_start)
    found: list[Record] = []
    while len(found) < count:
        found += (await subscription.batch(max_records=100, wait_s=1)).records
    await subscription.abandon()
    return found


async def test_letters_travel_from_outbox_to_step_in_order_and_once(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    relays = [Relay(bench.db, bus, plumbing.telemetry()) for _ in range(3)]
    tasks = [asyncio.create_task(run()) for run in (*(relay.run for relay in relays), hearer.consumer.run)]
    seen: list[str] = []

    async def say(cr: str) -> None:
        for n in range(1, 21):
            async with bench.db.house() as tx:
                await tx.raw.execute("SELECT pg_advisory_xact_lock(hashtext($1))", cr)  # the aggregate's lock
                tx.emit(event(cr, n).data, sequence=n)

    try:
        await asyncio.gather(*(say(f"CR-{n}") for n in range(20)))
        async with asyncio.timeout(30):
            while len(seen := await hearer.rows()) < 400:
                await asyncio.sleep(0.05)
        assert len(seen) == len(set(seen)) == 400
        assert await bench.admin.fetchval("SELECT count(*) FROM intake.unsent") == 0
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_dead_letter_can_be_listed_shown_and_replayed(bench: Bench, bus: Bus) -> None:
    from cli import dead
    from shared.settings import SERVICES

    for service in SERVICES:
        if service != "intake":  # the tool looks into all four
            await bench.admin.execute(f"CREATE TABLE IF NOT EXISTS {service}.dead (LIKE intake.dead INCLUDING ALL)")
    hearer = Hearer(bench, bus)
    await hearer.hear(Record(TOPIC, 0, 0, b"CR-1", b"broken", ()))
    (row,) = await dead.listed(bench.url, None)
    assert (row["service"], row["key"]) == ("intake", "CR-1")
    assert (await dead.shown(bench.url, "intake", row["id"]))["value"] == "broken"
    before = sum((await bus.ends([TOPIC])).values())
    await dead.replayed(bench.url, Settings(bus_url=None), "intake", row["id"])
    assert sum((await bus.ends([TOPIC])).values()) == before + 1
    assert await dead.listed(bench.url, "intake") == []


async def test_when_the_bus_is_away_letters_wait_and_nothing_is_marked_sent(bench: Bench) -> None:
    async with open_bus("kafka://127.0.0.1:1") as nowhere:
        relay = Relay(bench.db, nowhere, plumbing.telemetry())
        async with bench.db.house() as tx:
            tx.emit(event("CR-1", 1).data, sequence=1)
        task = asyncio.create_task(relay.run())
        await asyncio.sleep(1.0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
    assert await bench.admin.fetchval("SELECT count(*) FROM intake.unsent") == 1


async def test_a_letter_is_published_through_the_bus_as_it_was_written(bench: Bench, bus: Bus) -> None:
    async with bench.db.house() as tx:
        tx.post(TOPIC, "CR-1", b"\x00\xff", (("one", b"1"), ("one", b"\xfe")), "id-1")
    relay = Relay(bench.db, bus, plumbing.telemetry())
    assert await relay.send_some() == 1
    await relay.let_go()
    row = await bench.admin.fetchrow(f'SELECT * FROM bus."{TOPIC}"')
    assert bytes(row["value"]) == b"\x00\xff"
    assert Letter(TOPIC, "CR-1", bytes(row["value"])).key == "CR-1"
