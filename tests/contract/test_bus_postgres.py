"""What PostgresBus has to prove beyond the common suite: order of commits, rights, leases, retention."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from deploy.local.postgres import Postgres
from shared.bus import Letter, PositionLost, SendUnknown, TopicSpec, open_bus, postgres, postgres_group, postgres_line
from shared.bus.postgres import PostgresBus
from shared.db.connection import Connection
from shared.errors import Unavailable
from tests.contract.ledger import Ledger, hear, listen
from tests.contract.test_bus import TICK, numbered

TOPIC = "daymark.test"
BLOCKED = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def admin(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    await connection.execute(TICK)
    yield connection
    await connection.close()


@pytest.fixture
async def bus(database: str, admin: asyncpg.Connection) -> AsyncIterator[PostgresBus]:
    opened = PostgresBus(database)
    await opened.apply_topics([TopicSpec(TOPIC)])
    yield opened
    await opened.close()


async def test_commits_delayed_at_random_leave_no_gap_and_no_letter_behind(
    bus: PostgresBus, admin: asyncpg.Connection
) -> None:
    await admin.execute(f"""
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(random() * 0.01); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON bus."{TOPIC}" DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (random() < 0.3) EXECUTE FUNCTION dawdle()""")  # it sleeps inside COMMIT
    ledger = Ledger()
    subscription = await bus.subscribe("dawdling", [TOPIC], ledger.claim)
    hearing = asyncio.create_task(listen(subscription, ledger))

    async def speak(speaker: int) -> None:
        publisher = await bus.publisher()
        for turn in range(15):
            keys = (f"{speaker}-{turn}-{n}" for n in range(4))
            await publisher.publish([Letter(TOPIC, key, f"{speaker}-{turn}".encode()) for key in keys])
        await publisher.abandon()

    await asyncio.gather(*(speak(speaker) for speaker in range(8)))
    give_up_at = time.monotonic() + 20
    while len(ledger.kept) < 480 and time.monotonic() < give_up_at:
        await asyncio.sleep(0.05)
    hearing.cancel()
    assert len(ledger.kept) == 480
    for tp in subscription.assigned:
        offsets = [record.offset for record in ledger.kept if record.tp == tp]
        assert offsets == list(range(len(offsets)))
    for speaker in range(8):
        turns = Counter(value for value in ledger.values() if (value or b"").startswith(f"{speaker}-".encode()))
        assert set(turns.values()) == {4} and len(turns) == 15
    await subscription.abandon()


async def test_a_publisher_that_stops_before_its_commit_holds_up_nobody_for_long(
    bus: PostgresBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_line.SETTINGS, "idle_in_transaction_session_timeout", "500ms")
    stopped = postgres_line.Line(bus._dsn, None)

    async def draw_and_stop(connection: Connection) -> None:
        await connection.execute("BEGIN; UPDATE bus.partitions SET next = next + 1")
        await asyncio.sleep(1.5)

    stopping = asyncio.create_task(stopped.use(draw_and_stop))
    await asyncio.sleep(0.3)
    publisher = await bus.publisher()
    await publisher.publish(numbered(TOPIC, 30))
    assert not stopping.done()
    assert sum((await bus.ends([TOPIC])).values()) == 30  # what it had drawn is drawn again
    await stopping
    await publisher.abandon()


async def test_a_send_cut_off_is_unknown_and_the_next_publisher_goes_on(
    bus: PostgresBus, admin: asyncpg.Connection, database: str
) -> None:
    publisher = await bus.publisher()
    await publisher.publish(numbered(TOPIC, 10))
    blocker = await asyncpg.connect(database)
    await blocker.execute(f"""BEGIN; LOCK TABLE bus."{TOPIC}" IN EXCLUSIVE MODE""")
    sending = asyncio.create_task(publisher.publish(numbered(TOPIC, 10, start=10)))
    while not await admin.fetchval(f"SELECT count(*) {BLOCKED}"):
        await asyncio.sleep(0.01)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with pytest.raises(SendUnknown):
        await sending
    await publisher.abandon()
    await blocker.close()
    successor = await bus.publisher()
    await successor.publish(numbered(TOPIC, 10, start=10))
    assert sum((await bus.ends([TOPIC])).values()) == 20
    await successor.abandon()


async def test_a_stopped_member_loses_its_lease_and_what_it_still_holds_is_fenced(
    bus: PostgresBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_group, "LEASE_S", 0.6)
    monkeypatch.setattr(postgres_group, "BEAT_S", 0.1)
    publisher = await bus.publisher()
    await publisher.publish(numbered(TOPIC, 200, keys=200))
    ledger = Ledger()
    zombie = await bus.subscribe("zombies", [TOPIC], ledger.claim)
    held = await zombie.batch(max_records=200, wait_s=5)
    assert zombie._beating is not None
    zombie._beating.cancel()  # as if its process were stopped
    heir = await bus.subscribe("zombies", [TOPIC], ledger.claim)
    await hear(heir, ledger, until=200, within_s=10)
    assert not ledger.keep(held)

    hearing = asyncio.create_task(listen(heir, ledger))
    woken = asyncio.create_task(listen(zombie, ledger))  # it joins anew, and shares again
    give_up_at = time.monotonic() + 10
    while sorted(len(member.assigned) for member in (heir, zombie)) != [12, 12]:
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.05)
    await publisher.publish(numbered(TOPIC, 200, keys=200, start=200))
    await hear_to(ledger, 400)
    assert sorted(int(value or b"") for value in ledger.values()) == list(range(400))
    hearing.cancel()
    woken.cancel()
    await heir.abandon()
    await zombie.abandon()
    await publisher.abandon()


async def hear_to(ledger: Ledger, count: int) -> None:
    give_up_at = time.monotonic() + 10
    while len(ledger.kept) < count and time.monotonic() < give_up_at:
        await asyncio.sleep(0.05)


async def test_a_hearer_that_stopped_asking_gives_its_partitions_to_others(
    bus: PostgresBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in {"LEASE_S": 0.6, "BEAT_S": 0.1, "IDLE_S": 0.2}.items():
        monkeypatch.setattr(postgres_group, name, seconds)
    ledger = Ledger()
    stuck = await bus.subscribe("stuck", [TOPIC], ledger.claim)
    await stuck.batch(max_records=1, wait_s=0.1)
    assert len(stuck.assigned) == 24
    other = await bus.subscribe("stuck", [TOPIC], ledger.claim)
    give_up_at = time.monotonic() + 10
    while len(other.assigned) < 24:
        assert time.monotonic() < give_up_at
        await other.batch(max_records=1, wait_s=0.1)
    await stuck.abandon()
    await other.abandon()


async def test_only_its_owner_writes_a_topic_and_readers_change_nothing(
    bus: PostgresBus, database: str, admin: asyncpg.Connection
) -> None:
    owner, reader = (f"{name}_{uuid4().hex[:8]}" for name in ("owner", "reader"))
    await admin.execute(f"CREATE ROLE {owner}; CREATE ROLE {reader}")
    others = f"{TOPIC}.others"
    await bus.apply_topics([TopicSpec(others)])
    for _ in range(2):
        await bus.grant({TOPIC: [owner], others: [reader]}, [owner, reader])
    async with open_bus(database, role=owner) as owners, open_bus(database, role=reader) as readers:
        publisher = await owners.publisher()
        await publisher.publish(numbered(TOPIC, 10))
        intruder = await readers.publisher()
        with pytest.raises(SendUnknown, match="not ours"):
            await intruder.publish(numbered(TOPIC, 1))
        await intruder.publish(numbered(others, 1))
        ledger = Ledger()
        subscription = await readers.subscribe("reading", [TOPIC], ledger.claim)
        await hear(subscription, ledger, until=10)
        await subscription.commit(await bus.ends([TOPIC]))
        for part in (publisher, intruder, subscription):
            await part.abandon()
    for role, refused in (
        (reader, f"""INSERT INTO bus."{TOPIC}" VALUES (0, 99, 'k', '', '{{}}', '{{}}')"""),
        (owner, f"""UPDATE bus."{TOPIC}" SET value = ''"""),
        (owner, f"""DELETE FROM bus."{TOPIC}" """),
        (owner, "UPDATE bus.partitions SET topic = 'stolen'"),
        (owner, "UPDATE bus.topics SET partitions = 1"),
    ):
        await admin.execute(f"SET ROLE {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await admin.execute(refused)
    await admin.execute(f"SET ROLE {reader}")
    assert await admin.execute(f"UPDATE bus.partitions SET next = 0 WHERE topic = '{TOPIC}'") == "UPDATE 0"
    await admin.execute("RESET ROLE")
    assert sum((await bus.ends([TOPIC])).values()) == 10
    await admin.execute(f"DROP OWNED BY {owner}, {reader}; DROP ROLE {owner}, {reader}")


async def test_a_topic_with_a_retention_forgets_and_who_comes_too_late_is_told(
    bus: PostgresBus, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "TIDY_S", 0.0)
    fleeting = f"{TOPIC}.fleeting"
    await bus.apply_topics([TopicSpec(fleeting, partitions=1, retention_ms=60_000)])
    publisher = await bus.publisher()
    await publisher.publish(numbered(fleeting, 10))
    await admin.execute(f"""UPDATE bus."{fleeting}" SET at = at - interval '61 s' WHERE "offset" < 7""")
    await publisher.publish(numbered(fleeting, 1, start=10))
    ledger = Ledger()
    subscription = await bus.subscribe("new", [fleeting], ledger.claim)
    await hear(subscription, ledger, until=4)
    assert [record.offset for record in ledger.kept] == [7, 8, 9, 10]
    late = await bus.subscribe("late", [fleeting], Ledger({ledger.kept[0].tp: 6}).claim)
    with pytest.raises(PositionLost):
        await late.batch(max_records=10, wait_s=1)
    for part in (publisher, subscription, late):
        await part.abandon()


async def test_an_idle_member_asks_one_cheap_question_a_poll(bus: PostgresBus, monkeypatch: pytest.MonkeyPatch) -> None:
    topics = [f"{TOPIC}.{n}" for n in range(10)]
    await bus.apply_topics([TopicSpec(topic) for topic in topics])
    subscription = await bus.subscribe("idle", topics, Ledger().claim)
    await subscription.batch(max_records=10, wait_s=0.3)
    asked: list[str] = []
    connection = subscription._line._connection
    assert connection is not None
    connection.add_query_logger(lambda query: asked.append(query.query))
    await subscription.batch(max_records=10, wait_s=1.0)
    polls = [query for query in asked if query == postgres_group.POLL]
    beats = [query for query in asked if query in (postgres_group.BEAT, postgres_group.DEAD)]
    assert 4 <= len(polls) <= 7
    assert len(asked) == len(polls) + len(beats)
    await subscription.abandon()


async def test_shares_of_members_add_up_and_differ_by_one_at_most() -> None:
    for count in range(1, 30):
        members = [uuid4() for _ in range(count)]
        for topic in ("a", "daymark.reviews", "z"):
            shares = [postgres_group.share(member, members, topic, 24) for member in members]
            assert sum(shares) == 24
            assert max(shares) - min(shares) <= 1


@pytest.mark.slow
async def test_a_frozen_server_holds_nobody_longer_than_the_bounds_and_all_goes_on_after_it(home: Path) -> None:
    server = Postgres(home, fsync=False)
    url = server.start()
    try:
        connection = await asyncpg.connect(url)
        await connection.execute(TICK)
        bus = PostgresBus(url)
        await bus.apply_topics([TopicSpec(TOPIC)])
        ledger = Ledger()
        subscription = await bus.subscribe("frozen", [TOPIC], ledger.claim)
        publisher = await bus.publisher()
        await publisher.publish(numbered(TOPIC, 10))
        await hear(subscription, ledger, until=10)
        children = [int(row["pid"]) for row in await connection.fetch("SELECT pid FROM pg_stat_activity WHERE pid > 0")]
        assert server._server is not None
        for pid in (server._server.pid, *children):
            os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            asked = [
                publisher.publish(numbered(TOPIC, 10, start=10)),
                subscription.batch(max_records=10, wait_s=1),
                bus.ping(),
            ]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(answer) for answer in answers] == [SendUnknown, Unavailable, Unavailable]
            await publisher.abandon()
            assert time.monotonic() - started < 15
        finally:
            for pid in (*children, server._server.pid):
                os.kill(pid, signal.SIGCONT)
        successor = await bus.publisher()
        await successor.publish(numbered(TOPIC, 10, start=10))
        while {b"19"} - set(ledger.values()):
            await hear(subscription, ledger, until=len(ledger.kept) + 1)
        first_time = list(dict.fromkeys(ledger.values()))  # the unknown ones may lie there twice
        assert sorted(int(value or b"") for value in first_time) == list(range(20))
        assert all(one <= two for one, two in pairwise(r.offset for r in ledger.kept if r.partition == 0))
        await successor.abandon()
        await subscription.abandon()
        await bus.close()
        await connection.close()
    finally:
        server.stop()
