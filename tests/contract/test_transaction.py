"""What one transaction promises, on a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta

import asyncpg
import pytest

from shared import errors, freshness, keys
from shared.access import Call, hashed, person
from shared.agenda import Worker
from shared.answers import Repeated
from shared.contracts import CRWithdrawn
from shared.db import Appointment, StaleAppointment, Tx, bootstrap
from shared.db.connection import Connection
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


async def test_each_row_of_a_batch_has_the_actor_and_the_cause_of_its_own_letter(bench: Bench) -> None:
    async with bench.db.house() as tx:
        for tx.actor, tx.cause in (("local|erin", "first"), ("local|olga", "second")):
            tx.audit("a", action="hear", revision=1)
    rows = await bench.admin.fetch("SELECT actor, cause FROM intake.audit ORDER BY id")
    assert [tuple(row) for row in rows] == [("local|erin", "first"), ("local|olga", "second")]


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


async def test_a_transaction_that_had_failed_is_not_taken_for_a_commit(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="had failed"):
        async with bench.db.house() as tx:
            await tx.execute(things.insert().values(id="a", n=1))
            with suppress(asyncpg.DivisionByZeroError):  # a step that goes on after an error of the database
                await tx.raw.execute("SELECT 1 / 0")
    assert await bench.count("things") == 0


async def test_who_is_cancelled_while_the_connection_is_dead_is_cancelled(bench: Bench) -> None:
    is_dead = asyncio.Event()

    async def work() -> None:
        async with bench.db.connection() as (_, raw):
            await raw.execute("BEGIN")
            await bench.admin.execute("SELECT pg_terminate_backend($1)", raw.get_server_pid())
            while not raw.is_closed():
                await asyncio.sleep(0.01)
            is_dead.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await is_dead.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.db.ping()


async def test_no_table_of_the_callers_stands_in_for_the_keys_at_sign_in(bench: Bench) -> None:
    reviewer = await asyncpg.connect(bench.url)
    try:
        await reviewer.execute("SET ROLE reviewer")
        await reviewer.execute("""
            CREATE TEMP TABLE keys (hash bytea, id text, kind text, principal_id bigint, scopes text[],
                made_at timestamptz, expires_at timestamptz, revoked_at timestamptz);
            INSERT INTO keys VALUES ('link', 'mine', 'link', 1, NULL, now(), now() + interval '1 day', NULL);
            CREATE FUNCTION pg_temp.rise() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN UPDATE access.principals SET name = current_user; RETURN NEW; END $$;
            CREATE TRIGGER rise BEFORE UPDATE ON keys FOR EACH ROW EXECUTE FUNCTION pg_temp.rise()""")
        assert not await reviewer.fetchval("SELECT access.sign_in('link', 'session', 'session_1')")
    finally:
        await reviewer.close()
    assert await bench.admin.fetchval("SELECT name FROM access.principals") == "Erin"


async def test_a_principal_is_kept_in_the_spelling_in_which_persons_are_named(bench: Bench) -> None:
    for issuer, subject in (("GitHub", "Mona"), (" github", "MONA "), ("github", "\uff2d\uff4f\uff4e\uff41")):
        made = await keys.grant(bench.admin, subject, name="Mona", roles=["engineer"], issuer=issuer)
        row = await bench.admin.fetchrow("SELECT issuer, subject FROM access.principals WHERE id = $1", made)
        assert f"{row['issuer']}|{row['subject']}" == "github|mona" == person(f"{issuer}|{subject}")
    assert await bench.admin.fetchval("SELECT count(*) FROM access.principals WHERE name = 'Mona'") == 1
    with pytest.raises(errors.Invalid):
        await keys.grant(bench.admin, " ", name="Nobody", roles=["engineer"])


class _Between:
    """A connection after whose first question something happens."""

    def __init__(self, raw: asyncpg.Connection, then: Callable[[], Awaitable[None]]) -> None:
        self._raw, self._then = raw, then

    async def fetchval(self, *asked: object) -> object:
        found = await self._raw.fetchval(*asked)
        await self._then()
        return found


async def test_a_letter_committed_while_we_look_is_not_said_to_be_sent(bench: Bench) -> None:
    await bench.admin.execute("SET search_path = intake, public")
    async with AsyncExitStack() as writing:
        tx = await writing.enter_async_context(bench.db.house())
        tx.emit(fact(tx), sequence=1)
        until = await freshness.spoken_until(_Between(bench.admin, writing.aclose), "intake")
    assert await bench.count("outbox") == 1
    assert until < tx.now
    assert await freshness.spoken_until(bench.admin, "intake") < tx.now


async def test_only_who_still_waits_for_a_commit_is_woken(bench: Bench) -> None:
    for _ in range(3):
        bench.db.on_commit("letters")  # of tasks that failed and were begun again
    letters, appointments = bench.db.on_commit("letters"), bench.db.on_commit("appointments")
    async with bench.db.house() as tx:
        tx.schedule("someday", "it", tx.now + timedelta(hours=24))
    assert not letters.is_set()
    assert not appointments.is_set()  # not due: whoever looks finds nothing
    async with bench.db.house() as tx:
        tx.emit(fact(tx), sequence=1)
    assert letters.is_set()
    assert not appointments.is_set()
    async with bench.db.house() as tx:
        tx.schedule("today", "it")
    assert appointments.is_set()
    assert [len(waiting) for waiting in bench.db._waiting.values()] == [1, 1]


async def test_a_process_asks_once_what_an_array_of_postgresqls_own_is_and_each_connection_about_other_types(
    bench: Bench,
) -> None:
    async with bench.db.connection() as (_, raw):
        assert isinstance(raw, Connection)
    await bench.admin.execute("CREATE TYPE mood AS ENUM ('calm', 'shaken')")
    for turn in range(2):
        asked: list[str] = []
        one = await asyncpg.connect(bench.url, connection_class=Connection)
        try:
            one.add_query_logger(lambda query, asked=asked: asked.append(query.query))
            for times in range(2):
                assert await one.fetchval("SELECT $1::circle[]", [asyncpg.Circle((1, 2), 3)]) == [((1, 2), 3)]
                assert sum("typeinfo_tree" in query for query in asked) == (turn == 0), times
            assert await one.fetchval("SELECT $1::mood[]", ["calm"]) == ["calm"]
            assert sum("typeinfo_tree" in query for query in asked) == 1 + (turn == 0)
        finally:
            await one.close()
