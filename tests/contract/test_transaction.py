"""What one transaction promises, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from shared import errors, keys
from shared.access import Call, hashed
from shared.agenda import Worker
from shared.answers import Repeated
from shared.contracts import CRWithdrawn
from shared.db import Appointment, StaleAppointment, Tx, bootstrap
from tests.contract import plumbing
from tests.contract.plumbing import Bench, things
from tests.servers.postgres import Databases


@pytest.fixture
async def bench(postgres: Databases) -> AsyncIterator[Bench]:
    url = await postgres.fresh(await postgres.template("plumbing", plumbing.make))
    async with plumbing.bench(url) as made:
        yield made
    await postgres.drop(url)


def fact(tx: Tx, cr_id: str = "CR-1") -> CRWithdrawn:
    return CRWithdrawn(cr_id=cr_id, product_id="epl", reason="because", withdrawn_at=tx.now)


async def command(bench: Bench, call: Call, thing: str = "a") -> int:
    """A command with one of everything: a row, a letter, an appointment, a record, an answer."""
    async with bench.db.tx(call) as tx:
        tx.may("make", "epl", of=thing)
        await tx.execute(things.insert().values(id=thing, n=1))
        tx.emit(fact(tx), sequence=1, policy_version="v1")
        tx.schedule("later", thing, tx.now + timedelta(hours=1), payload={"x": 1})
        tx.audit(thing, revision=1, evidence=["sha256:1"], policy_version="v1", note="n")
        return tx.answer(201, {"id": thing}, location=f"/things/{thing}").status


async def test_a_command_writes_row_letter_appointment_inbox_and_record_together(bench: Bench) -> None:
    assert await command(bench, bench.call("k1")) == 201
    counts = [await bench.count(table) for table in ("things", "outbox", "agenda", "inbox", "audit")]
    assert counts == [1, 1, 1, 1, 1]
    row = await bench.admin.fetchrow("SELECT * FROM intake.audit")
    assert (row["actor"], row["action"], row["object"], row["evidence"]) == ("local|erin", "make", "a", ["sha256:1"])
    assert (row["policy_version"], row["refused"], row["product_id"], row["cause"]) == ("v1", False, "epl", "k1")


async def test_a_failing_command_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bench.db.tx(bench.call("k1")) as tx:
            tx.may("make")
            await tx.execute(things.insert().values(id="a", n=1))
            tx.audit("a")
            tx.emit(fact(tx), sequence=1)
            _ = 1 / 0
    counts = [await bench.count(table) for table in ("things", "outbox", "agenda", "inbox", "audit")]
    assert counts == [0, 0, 0, 0, 0]


async def test_a_repeat_gets_the_first_answer_and_no_second_effect(bench: Bench) -> None:
    await command(bench, bench.call("k1"))
    with pytest.raises(Repeated) as again:
        await command(bench, bench.call("k1"))
    assert (again.value.answer.status, again.value.answer.body) == (201, b'{"id":"a"}')
    assert dict(again.value.answer.headers)["location"] == "/things/a"
    assert dict(again.value.answer.headers)["daymark-events"]
    assert await bench.count("outbox") == 1


async def test_the_same_key_with_another_body_is_refused(bench: Bench) -> None:
    await command(bench, bench.call("k1"))
    with pytest.raises(errors.KeyReused):
        await command(bench, bench.call("k1", digest=b"other"), "b")
    assert await bench.count("things") == 1


async def test_a_key_is_scoped_to_its_principal_and_route(bench: Bench) -> None:
    _, secret = await keys.create_key(bench.admin, await keys.grant(bench.admin, "eli", name="Eli", roles=["engineer"]))
    await command(bench, bench.call("k1"))
    await command(bench, Call(hashed(secret), "POST /things", b"same", "k1"), "b")
    await command(bench, bench.call("k1", route="POST /others"), "c")
    assert await bench.count("things") == 3


async def test_a_race_of_twins_has_one_effect(bench: Bench) -> None:
    for turn in range(20):
        results = await asyncio.gather(
            *(command(bench, bench.call(f"race-{turn}"), f"t{turn}") for _ in range(4)), return_exceptions=True
        )
        assert results.count(201) == 1, results
        assert all(result == 201 or isinstance(result, (Repeated, errors.Busy)) for result in results)
    assert await bench.count("things") == await bench.count("outbox") == 20


async def test_a_refused_right_leaves_its_record_alone(bench: Bench) -> None:
    with pytest.raises(errors.Forbidden):
        async with bench.db.tx(bench.call("k1")) as tx:
            tx.may("make", "epl", of="a")
            await tx.execute(things.insert().values(id="a", n=1))
            tx.may("plan", "epl", of="r1")
    assert [await bench.count(table) for table in ("things", "inbox", "audit")] == [0, 0, 1]
    row = await bench.admin.fetchrow("SELECT * FROM intake.audit")
    assert row["refused"] and row["action"] == "plan" and row["object"] == "r1" and "release_manager" in row["reason"]


async def test_a_command_that_passes_no_choke_point_or_leaves_no_record_does_not_commit(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="choke point"):
        async with bench.db.tx(bench.call()) as tx:
            await tx.execute(things.insert().values(id="a", n=1))
    with pytest.raises(RuntimeError, match="record"):
        async with bench.db.tx(bench.call()) as tx:
            tx.may("make")
            await tx.execute(things.insert().values(id="a", n=1))
    assert await bench.count("things") == 0


@pytest.mark.parametrize("how", ["unknown", "revoked", "expired", "disabled"])
async def test_a_key_that_is_not_good_opens_nothing(bench: Bench, how: str) -> None:
    call = bench.call("k1")
    if how == "unknown":
        call = Call(hashed("dmk_guess"), "POST /things", b"", "k1")
    elif how == "revoked":
        await keys.revoke(bench.admin, await bench.admin.fetchval("SELECT id FROM access.keys"))
    elif how == "expired":
        await bench.admin.execute("UPDATE access.keys SET expires_at = daymark_now() + interval '1 hour'")
        await bootstrap.move_clock(bench.admin, ahead_s=3601)
    else:
        await bench.admin.execute("UPDATE access.principals SET is_disabled = true")
    with pytest.raises(errors.Unauthenticated):
        await command(bench, call)
    assert await bench.count("inbox") == await bench.count("audit") == 0


async def test_a_scoped_key_does_only_what_it_is_scoped_for(bench: Bench) -> None:
    await bench.admin.execute("UPDATE access.keys SET scopes = '{plan}'")
    with pytest.raises(errors.Forbidden, match="scoped"):
        await command(bench, bench.call("k1"))


async def test_nobody_at_runtime_can_change_the_record_or_read_another_schema(bench: Bench) -> None:
    await command(bench, bench.call("k1"))
    async with bench.db.connection() as (_, raw):
        for statement in (
            "UPDATE audit SET actor = 'me'",
            "DELETE FROM audit",
            "TRUNCATE audit",
            "UPDATE access.keys SET revoked_at = NULL",
            "INSERT INTO access.grants SELECT id, '*', 'operations' FROM access.principals",
            "UPDATE daymark.clock SET ahead = interval '1 day'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await raw.execute(statement)


async def test_the_clock_only_moves_forward_and_no_real_one_becomes_movable(bench: Bench, postgres: Databases) -> None:
    before = await bench.db.now()
    await bootstrap.move_clock(bench.admin, ahead_s=86400)
    assert (await bench.db.now()) - before >= timedelta(days=1)
    with pytest.raises(asyncpg.RaiseError):
        await bootstrap.move_clock(bench.admin, ahead_s=3600)
    with pytest.raises(asyncpg.RaiseError):
        await bench.admin.execute("UPDATE daymark.clock SET is_movable = false")
    url = await postgres.fresh()
    admin = await asyncpg.connect(url)
    await bootstrap.prepare(admin)
    await bootstrap.prepare(admin, movable=True, behind_s=5)
    assert not await bootstrap.is_movable(admin)
    with pytest.raises(asyncpg.PostgresError):
        await bootstrap.move_clock(admin, ahead_s=3600)
    await admin.close()
    await postgres.drop(url)


async def test_a_due_job_is_done_once_and_its_appointment_is_gone(bench: Bench) -> None:
    done: list[Appointment] = []

    async def later(_deps: None, appointment: Appointment) -> None:
        async with bench.db.tx(appointment) as tx:
            await tx.execute(things.insert().values(id="done", n=appointment.payload["x"]))
        done.append(appointment)

    await command(bench, bench.call("k1"))
    worker = Worker(bench.db, {"later": later}, None, plumbing.telemetry())
    assert await worker.drain() == 0  # an hour early
    await bootstrap.move_clock(bench.admin, ahead_s=3601)
    assert await worker.drain() == 1
    assert [(one.subject, one.attempts) for one in done] == [("a", 1)]
    assert await bench.count("agenda") == 0


async def test_a_failing_job_comes_back_and_a_moved_one_has_no_effect(bench: Bench) -> None:
    tries: list[int] = []

    async def later(_deps: None, appointment: Appointment) -> None:
        tries.append(appointment.attempts)
        if len(tries) == 1:
            raise OSError("source down")
        async with bench.db.house() as other:  # meanwhile the cause is corrected: revision 2, an hour later
            other.schedule("later", "a", other.now + timedelta(hours=1), revision=2)
        with pytest.raises(StaleAppointment):
            async with bench.db.tx(appointment) as tx:
                await tx.execute(things.insert().values(id="done", n=1))
        raise StaleAppointment

    await command(bench, bench.call("k1"))
    worker = Worker(bench.db, {"later": later}, None, plumbing.telemetry())
    await bootstrap.move_clock(bench.admin, ahead_s=3601)
    assert await worker.drain() == 1
    assert "source down" in await bench.admin.fetchval("SELECT last_error FROM intake.agenda")
    await bootstrap.move_clock(bench.admin, ahead_s=3610)
    await worker.drain()
    assert tries == [1, 2]
    assert await bench.admin.fetchval("SELECT count(*) FROM intake.things WHERE id = 'done'") == 0
    assert await bench.admin.fetchval("SELECT revision FROM intake.agenda") == 2


async def test_due_appointments_are_found_through_the_index(bench: Bench) -> None:
    await bench.admin.execute(
        "INSERT INTO intake.agenda (job, subject, revision, due_at, next_at, payload)"
        " SELECT 'later', n::text, 0, t, t, '{}' FROM (SELECT n, daymark_now() + interval '1 day' * n AS t"
        " FROM generate_series(1, 20000) n) s"
    )
    await bench.admin.execute("ANALYZE intake.agenda")
    plan = await bench.admin.fetch(
        "EXPLAIN SELECT job FROM intake.agenda WHERE next_at <= daymark_now() ORDER BY next_at LIMIT 8"
    )
    text = "\n".join(row[0] for row in plan)
    assert "Index Cond: (next_at <= " in text, text


async def test_a_cancelled_command_gives_its_connection_back_clean(bench: Bench) -> None:
    async def slow(turn: int) -> None:
        async with bench.db.tx(bench.call(f"slow-{turn}")) as tx:
            tx.may("make")
            await tx.execute(things.insert().values(id=f"s{turn}", n=1))
            await tx.raw.execute("SELECT pg_sleep(0.05)")
            tx.audit("a")

    for turn in range(60):
        task = asyncio.create_task(slow(turn))
        await asyncio.sleep(0.0007 * turn)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await command(bench, bench.call("after"), "after")
    open_ones = await bench.admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'daymark-intake' AND state LIKE 'idle in%'"
    )
    assert open_ones == 0
    assert await bench.count("things") == await bench.count("audit")
