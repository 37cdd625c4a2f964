"""What the plumbing does about locks, failures that stay, versions side by side, and its own end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, timedelta
from typing import Any

import asyncpg
import pytest

from shared import agenda, aside, freshness, outbox
from shared.agenda import Worker
from shared.aside import TooManyFailures
from shared.bus import TP, Batch, Bus, Letter, Record, TopicSpec, open_bus
from shared.contracts import CRRolledBack, Heartbeat
from shared.db import Appointment, Database, bootstrap, database
from shared.errors import Busy, Forbidden, Unavailable
from shared.outbox import Relay
from shared.service import _Running
from tests.contract import plumbing
from tests.contract.hearer import TOPIC, Hearer, event, record, rolled_back
from tests.contract.plumbing import Bench, things
from tests.servers.postgres import Databases

AT = TP(TOPIC, 0)


@pytest.fixture
async def bench(postgres: Databases) -> AsyncIterator[Bench]:
    url = await postgres.fresh(await postgres.template("plumbing", plumbing.make))
    async with plumbing.bench(url) as made:
        yield made
    await postgres.drop(url)


@pytest.fixture
async def bus(bench: Bench) -> AsyncIterator[Bus]:
    async with open_bus(bench.url) as made:
        await made.apply_topics([TopicSpec(name, 1) for name in (TOPIC, "daymark.inbound", "daymark.dead.intake")])
        yield made


async def until(is_so: Callable[[], Any], within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.05)


# -- readiness ------------------------------------------------------------------------------------------------------------


async def test_when_dead_letters_cannot_be_written_nothing_moves_on_readiness_says_so_and_recovers(
    bench: Bench, bus: Bus
) -> None:
    consumer, running = Hearer(bench, bus).consumer, _Running("intake", None, None)  # type: ignore[arg-type]
    assert await running.ready() == {"started": "not yet"}
    running.begin(bench.db, bus, [consumer])
    await bench.admin.execute("REVOKE INSERT ON intake.dead FROM intake")
    publisher = await bus.publisher()
    await publisher.publish([Letter(TOPIC, "CR-1", b"garbage")])
    await publisher.abandon()
    task = asyncio.create_task(consumer.run())
    try:
        await until(consumer.progress.problem)
        assert await running.ready() == {
            "database": None,
            "bus": None,
            "consumer": consumer.progress.problem(),
        }
        assert "InsufficientPrivilegeError" in (consumer.progress.problem() or "")
        assert await bench.admin.fetchval("SELECT max(next_offset) FROM intake.positions") is None
        await bench.admin.execute("GRANT INSERT ON intake.dead TO intake")
        await until(lambda: consumer.progress.problem() is None)
        assert await bench.count("dead") == 1
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_the_version_is_told_whatever_the_database_answers(bench: Bench, bus: Bus) -> None:
    await bench.admin.execute("REVOKE SELECT ON daymark.clock FROM PUBLIC")
    running = _Running("intake", None, None)  # type: ignore[arg-type]
    running.begin(bench.db, bus, [])
    assert (await running.version())["clock"] == "unknown"
    await bench.admin.execute("GRANT SELECT ON daymark.clock TO PUBLIC")
    assert (await running.version())["clock"] == "movable"


async def test_when_no_connection_is_left_or_no_server_answers_everybody_is_told_to_come_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lonely = Database(bench.url, service="intake", rights={}, role="intake", pool_size=2)
    lonely.engine.pool._timeout, lonely.engine.pool._max_overflow = 0.1, 0  # type: ignore[attr-defined]
    async with lonely.connection(), lonely.connection():
        with pytest.raises(Unavailable):
            async with lonely.connection():
                pass
    monkeypatch.setattr(database, "_TURN_S", 0.1)
    lonely._turns = asyncio.Semaphore(2)
    async with lonely.connection(), lonely.connection():
        with pytest.raises(Unavailable, match="Too much is asked at once"):
            async with lonely.connection():
                pass
    async with lonely.connection(), lonely.connection():  # who waited in vain has left
        pass
    await lonely.close()
    nobody = Database("postgresql://localhost:1/x", service="intake", rights={})
    with pytest.raises(Unavailable):
        async with nobody.connection():
            pass
    await nobody.close()


async def test_who_waits_for_a_connection_gets_it_before_who_asks_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_OVERFLOW", 0)  # those are made anew each time, and making one takes a while
    crowded = Database(bench.url, service="intake", rights={}, role="intake", pool_size=2)
    async with crowded.connection(), crowded.connection():
        pass
    askers, given, passed_by = 16, 0, list[int]()

    async def ask() -> None:
        nonlocal given
        for _ in range(25):
            before = given
            async with crowded.connection() as (_, raw):
                passed_by.append(given - before)
                given += 1
                await raw.execute("SELECT 1")

    await asyncio.gather(*(ask() for _ in range(askers)))
    await crowded.close()
    assert max(passed_by) < askers  # nobody goes twice while another waits


async def test_a_connection_that_the_driver_lost_hold_of_is_given_to_nobody_else(bench: Bench) -> None:
    async def pid() -> int:
        async with bench.db.connection() as (_, raw):
            return int(await raw.fetchval("SELECT pg_backend_pid()"))

    before = await pid()
    assert await pid() == before
    with pytest.raises(Unavailable):
        async with bench.db.connection():
            raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
    assert await pid() != before


# -- locks ----------------------------------------------------------------------------------------------------------------


async def test_a_batch_that_meets_a_lock_is_run_again_from_memory_as_one_commit(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    hearer.locked = 3
    await hearer.hear(*(record(event(f"CR-{n}", 1), n) for n in range(5)))  # raises nothing: nobody leaves the group
    assert len(await hearer.rows()) == 5 and await bench.count("parked") == 0


async def test_a_lock_that_stays_is_not_waited_for_for_ever(
    bench: Bench, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.consumer._BUSY_PAUSES_S", (0.01, 0.01))
    hearer = Hearer(bench, bus)
    hearer.locked = 99
    with pytest.raises(Busy):
        await hearer.hear(record(event("CR-1", 1), 0))
    assert hearer.locked == 96 and await bench.admin.fetchval("SELECT next_offset FROM intake.positions") is None


async def test_a_command_by_bus_that_meets_a_lock_is_no_dead_letter(bench: Bench, bus: Bus) -> None:
    hearer = Hearer(bench, bus)
    hearer.locked = 3
    letter = Record("daymark.inbound", 0, 0, None, b"take")
    with pytest.raises(Busy):
        await hearer.hear(letter)
    await hearer.hear(letter)
    assert await hearer.rows() == ["inbound/0"] and await bench.count("dead") == 0


async def test_a_job_and_a_command_on_one_thing_never_wait_for_each_other_and_the_later_word_counts(
    bench: Bench,
) -> None:
    """Both lock the thing first and its appointment last."""
    has_moved = asyncio.Event()

    async def later(_deps: None, appointment: Appointment) -> None:
        async with bench.db.tx(appointment) as tx:
            has_moved.set()  # the job's transaction is open: now the command locks the thing, and moves the appointment
            await tx.raw.execute("SELECT pg_sleep(0.2)")
            await tx.raw.fetchval("SELECT n FROM things WHERE id = 'a' FOR UPDATE")
            await tx.raw.execute("UPDATE things SET n = n + 100 WHERE id = 'a'")

    async with bench.db.house() as tx:
        await tx.execute(things.insert().values(id="a", n=1))
        tx.schedule("later", "a", tx.now)
    worker = Worker(bench.db, {"later": later}, None, plumbing.telemetry())
    job = asyncio.create_task(worker.drain())
    await has_moved.wait()
    async with bench.db.tx(bench.call("k1")) as tx:
        tx.may("make", "epl", of="a")
        await tx.raw.fetchval("SELECT n FROM things WHERE id = 'a' FOR UPDATE")
        await tx.raw.execute("SELECT pg_sleep(0.4)")
        tx.schedule("later", "a", tx.now + timedelta(hours=1), revision=2)
        tx.audit("a")
        tx.answer(200, {})
    await job
    assert await bench.admin.fetchval("SELECT n FROM intake.things") == 1  # the job was overtaken: no effect
    assert await bench.admin.fetchval("SELECT (revision, last_error) FROM intake.agenda") == (2, None)


# -- versions side by side --------------------------------------------------------------------------------------------------


async def hear_from_where_it_stands(hearer: Hearer, log: list[Record]) -> int:
    """Hear what a topic holds from the claimed position on, as a member would; where that was."""
    claim = (await hearer.consumer.claim({AT}))[AT]
    start = claim.offset or 0
    await hearer.consumer.hear(Batch(log[start:], {AT: claim.generation}))
    return start


async def test_a_new_line_in_on_hears_history_once(bench: Bench, bus: Bus) -> None:
    log = [record(said, n) for n, said in enumerate((event("CR-1", 1), rolled_back("CR-1", 2), event("CR-2", 1)))]
    await hear_from_where_it_stands(Hearer(bench, bus), log)
    newer = Hearer(bench, bus, CRRolledBack)
    assert await hear_from_where_it_stands(newer, log) == 0
    assert await newer.rows() == ["CR-1/1", "CR-2/1", "CR-1/2"]
    await bench.admin.execute("TRUNCATE intake.things")
    log.append(record(event("CR-3", 1), 3))
    assert await hear_from_where_it_stands(newer, log) == 3  # known by now: no start from the beginning
    assert await newer.rows() == ["CR-3/1"]


async def test_what_an_older_replica_passed_over_is_heard_by_the_newer_one(bench: Bench, bus: Bus) -> None:
    older, newer = Hearer(bench, bus), Hearer(bench, bus, CRRolledBack)
    log = [record(event("CR-1", 1), 0)]
    await hear_from_where_it_stands(newer, log)
    log.append(record(rolled_back("CR-1", 2), 1))
    assert await hear_from_where_it_stands(older, log) == 1  # in the middle of a rolling upgrade
    assert await older.rows() == ["CR-1/1"]
    await hear_from_where_it_stands(newer, log)
    assert await newer.rows() == ["CR-1/1", "CR-1/2"]


# -- set aside --------------------------------------------------------------------------------------------------------------


async def test_a_parked_letter_that_became_unreadable_is_a_dead_letter_and_its_key_goes_on(
    bench: Bench, bus: Bus
) -> None:
    hearer = Hearer(bench, bus)
    hearer.waiting.add("CR-1")
    await hearer.hear(*(record(event("CR-1", n + 1), n) for n in range(3)))
    await bench.admin.execute("UPDATE intake.parked SET value = 'not json' WHERE position = 1")
    hearer.waiting.clear()
    await hearer.drain()
    assert await hearer.rows() == ["CR-1/1", "CR-1/3"]
    assert await bench.admin.fetchval("SELECT (position, value) FROM intake.dead") == (1, b"not json")
    assert await bench.count("parked") == await bench.count("agenda") == 0


async def test_a_parked_letter_of_a_newer_version_waits_for_that_version(bench: Bench, bus: Bus) -> None:
    newer = Hearer(bench, bus, CRRolledBack)
    newer.waiting.add("CR-1")
    await newer.hear(record(rolled_back("CR-1", 1), 0))
    await Hearer(bench, bus).drain()
    assert await bench.count("parked") == 1 and await newer.rows() == []
    newer.waiting.clear()
    await bootstrap.move_clock(bench.admin, ahead_s=60)
    await newer.drain()
    assert await newer.rows() == ["CR-1/1"]


async def test_too_many_dead_letters_stop_the_consumer(bench: Bench, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "DEAD_LIMIT", 10)
    with pytest.raises(TooManyFailures):
        await Hearer(bench, bus).hear(*(Record(TOPIC, 0, n, b"k", b"garbage", ()) for n in range(20)))
    assert await bench.count("dead") == 10 == await bench.admin.fetchval("SELECT next_offset FROM intake.positions")


# -- the rest ---------------------------------------------------------------------------------------------------------------


async def test_a_worker_that_ends_leaves_no_task_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agenda, "_SHUTDOWN_S", 0.05)
    has_begun, has_ended = asyncio.Event(), asyncio.Event()

    async def long(_deps: None, appointment: Appointment) -> None:
        has_begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await bench.db.ping()  # what a job still does when it is cancelled: give things back
            has_ended.set()

    async with bench.db.house() as tx:
        tx.schedule("long", "a", tx.now)
    before = asyncio.all_tasks()
    task = asyncio.create_task(Worker(bench.db, {"long": long}, None, plumbing.telemetry()).run())
    await has_begun.wait()
    await asyncio.sleep(0.1)  # it waits for the next wake-up now
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert has_ended.is_set() and asyncio.all_tasks() == before


async def test_letters_sent_long_ago_are_swept_in_small_bites_also_when_there_is_always_one_to_send(
    bench: Bench, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_SWEEP_EVERY_S", 0.0), ("_SWEEP_AGAIN_S", 0.0), ("_SWEPT_AT_ONCE", 4)):
        monkeypatch.setattr(outbox, name, value)
    await bench.admin.execute(
        "INSERT INTO intake.outbox (event_id, lane, topic, key, value, headers, created_at)"
        " SELECT n::text, 1, 't', 'k', '', '[]', now() - make_interval(days => CASE WHEN n <= 10 THEN 8 ELSE 6 END)"
        " FROM generate_series(1, 12) n"
    )
    await bench.admin.execute(
        "INSERT INTO intake.unsent SELECT id, lane, now() FROM intake.outbox WHERE event_id = '3'"
    )
    relay, turns = Relay(bench.db, bus, plumbing.telemetry()), 0

    async def always() -> int:
        nonlocal turns
        turns += 1
        if turns > 5:
            raise asyncio.CancelledError
        return 1

    monkeypatch.setattr(relay, "send_some", always)
    with suppress(asyncio.CancelledError):
        await relay.run()
    assert await bench.count("outbox") == 3  # two that are young, and one that has never been sent


async def test_heartbeats_of_many_replicas_reach_back_an_hour_and_stay_few(bench: Bench) -> None:
    await bench.admin.execute(
        "INSERT INTO intake.heartbeats (service, as_of, ends) SELECT 'intake', now() - interval '2 s' * n,"
        ' CASE WHEN n < 900 THEN \'{"t": {"0": 9}}\' ELSE \'{"t": {"0": 5}}\' END::jsonb FROM generate_series(1, 3000) n'
    )
    await bench.admin.execute(
        "INSERT INTO intake.positions (topic, partition, next_offset, generation) VALUES ('t', 0, 5, 1)"
    )
    async with bench.db.house() as tx:
        beat = Heartbeat(service="intake", replica="r", as_of=tx.now.astimezone(UTC), ends={"t": {0: 9}})
        await freshness.on_heartbeat(tx, Record("daymark.heartbeats", 0, 0, b"intake", beat.model_dump_json().encode()))
        found = await freshness.as_of(tx, ["intake"])
        assert found is not None and 1790 < (tx.now - found).total_seconds() < 1900  # the newest that we have passed
        assert await freshness.as_of(tx, ["intake", "reviewer"]) is None
    assert 200 < await bench.count("heartbeats") < 230
    assert await bench.admin.fetchval("SELECT now() - min(as_of) > interval '69 minutes' FROM intake.heartbeats")


async def test_a_refused_look_is_on_the_record_too(bench: Bench) -> None:
    with pytest.raises(Forbidden):
        async with bench.db.read(bench.call()) as tx:
            tx.may("plan", "epl", of="epl-2026.12")
    row = await bench.admin.fetchrow("SELECT action, object, product_id, refused, actor FROM intake.audit")
    assert tuple(row) == ("plan", "epl-2026.12", "epl", True, "local|erin")


@pytest.mark.parametrize(
    "forbidden",
    [
        "DELETE FROM intake.lanes",
        "INSERT INTO intake.lanes VALUES (99)",
        "DELETE FROM intake.inbox",
        "DELETE FROM intake.dead",
        "UPDATE intake.parked SET key = 'x'",
        "SELECT nextval('intake.audit_id_seq')",
        "SELECT nextval('intake.outbox_id_seq')",
        "CREATE TABLE intake.mine (n int)",
    ],
)
async def test_a_service_may_do_no_more_than_it_does(bench: Bench, forbidden: str) -> None:
    async with bench.db.connection() as (_, raw):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await raw.execute(forbidden)
