"""Connections of one service, and the opening and closing of transactions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any
from weakref import WeakSet

import asyncpg
import orjson
from sqlalchemy import PoolProxiedConnection, exc, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from shared.access import Call, Principal, Rights
from shared.answers import Answer, Repeated
from shared.db.connection import Connection
from shared.db.core import Core
from shared.db.tx import Appointment, StaleAppointment, Tx, Work
from shared.errors import Busy, Conflict, DaymarkError, Forbidden, KeyReused, Unauthenticated, Unavailable
from shared.jsons import dumps

#: Everything that asks the server is bounded: a frozen backend must not freeze us (asyncpg has no bound of its own).
_COMMAND_TIMEOUT_S = 8.0
_OVERFLOW = 4  #: connections beyond the pool's size, while more is asked at once
_TURN_S = 5.0  #: how long anybody waits for a connection
_SERVER_SETTINGS = {
    "timezone": "UTC",
    "statement_timeout": "6000",
    "lock_timeout": "2000",
    "idle_in_transaction_session_timeout": "15000",
    "jit": "off",
}

#: Who holds this key or session: one row, or none.
_WHO = (
    "SELECT p.issuer, p.subject, p.name, k.scopes,"
    " ARRAY(SELECT g.product_id || ' ' || g.role FROM access.grants g WHERE g.principal_id = p.id) AS grants"
    " FROM access.keys k JOIN access.principals p ON p.id = k.principal_id"
    " WHERE k.hash = $1 AND k.kind IN ('key', 'session') AND k.revoked_at IS NULL AND NOT p.is_disabled"
    " AND (k.expires_at IS NULL OR k.expires_at > daymark_now())"
)
_OPEN_READ = f"SELECT daymark_now() AS now, w.* FROM ({_WHO}) w"
# The inbox row is written first: a concurrent twin waits here on the unique index, then finds the first answer.
_OPEN_ONCE = (
    f"WITH w AS ({_WHO}), fresh AS ("
    "INSERT INTO inbox (scope, id, digest, at)"
    " SELECT 'http:' || w.issuer || '|' || w.subject || '|' || $2, $3, $4, daymark_now() FROM w"
    " ON CONFLICT DO NOTHING RETURNING 1)"
    " SELECT daymark_now() AS now, w.*, EXISTS (SELECT 1 FROM fresh) AS is_fresh FROM w"
)


class Database:
    """One service's door to PostgreSQL. Every call raises Unavailable when the server does not answer in time."""

    def __init__(self, url: str, *, service: str, rights: Rights, role: str | None = None, pool_size: int = 8) -> None:
        settings = {**_SERVER_SETTINGS, "application_name": f"daymark-{service}", "search_path": f"{service},public"}
        if role is not None:
            settings["role"] = role
        self.url, self.role, self.service, self.rights = url, role, service, rights
        self.engine: AsyncEngine = create_async_engine(
            make_url(url).set(drivername="postgresql+asyncpg"),
            isolation_level="AUTOCOMMIT",  # BEGIN and COMMIT are ours: see tx.py
            pool_size=pool_size,
            max_overflow=_OVERFLOW,
            pool_recycle=1800,
            connect_args={
                "connection_class": Connection,
                "timeout": 5,
                "command_timeout": _COMMAND_TIMEOUT_S,
                "server_settings": settings,
                "prepared_statement_cache_size": 500,
            },
            json_serializer=lambda value: dumps(value).decode(),
            json_deserializer=orjson.loads,
        )
        # The pool itself lets whoever asks anew go before those who wait: under load, some would wait in vain.
        self._turns = asyncio.Semaphore(pool_size + _OVERFLOW)
        self._is_real = False  #: until it was asked
        # Of those who still wait: a task begun again asks anew.
        self._waiting: dict[Work, WeakSet[asyncio.Event]] = {"letters": WeakSet(), "appointments": WeakSet()}

    def on_commit(self, of: Work) -> asyncio.Event:
        """An event set after every commit that left such work: wakes the relay, or the agenda, in this process."""
        event = asyncio.Event()
        self._waiting[of].add(event)
        return event

    def _wake(self, left: Iterable[Work]) -> None:
        for work in left:
            for event in self._waiting[work]:
                event.set()

    async def close(self) -> None:
        await self.engine.dispose()

    async def movable_now(self) -> datetime | None:
        """What the clock says where it can be moved (demo, tests); None where time is real, and when nobody answers."""
        if self._is_real:
            return None
        try:
            async with asyncio.timeout(2), self.connection() as (_, raw):
                row = await raw.fetchrow("SELECT is_movable, daymark_now() AS now FROM daymark.clock")
        except (DaymarkError, TimeoutError, OSError, asyncpg.PostgresError):
            return None
        self._is_real = not row["is_movable"]  # for good: a clock never changes its kind
        return row["now"] if row["is_movable"] else None

    # -- opening --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def tx(self, by: Call | Appointment) -> AsyncIterator[Tx]:
        """One transaction for one command or one job; committed when the block ends, before anybody is answered.

        A repeated command raises Repeated with the first answer; its key with another body KeyReused; no valid key
        Unauthenticated. A refused right leaves its audit row alone. A stale job raises StaleAppointment.
        """
        try:
            async with self.connection() as (core, raw):
                await raw.execute("BEGIN")
                tx = await (self._command(core, raw, by) if isinstance(by, Call) else self._job(core, raw, by))
                try:
                    yield tx
                    if isinstance(by, Call) and tx.action is None:
                        raise RuntimeError("a command changed something without passing the choke point")
                    if isinstance(by, Call) and not tx._audits:
                        raise RuntimeError("a command left nothing on the record")
                    if tx.once is not None and tx._answer is None:
                        raise RuntimeError("a command with a key left no answer for its repeats")
                    await tx.flush()
                    await _commit(raw)
                    if isinstance(by, Appointment):
                        by.is_ended = not tx.keep_appointment
                except Forbidden as refusal:
                    await raw.execute("ROLLBACK")
                    await self._record_refusal(raw, tx, refusal)
                    raise
        except Exception as error:
            raise translated(error) from error
        self._wake(tx.left)

    @asynccontextmanager
    async def read(self, call: Call) -> AsyncIterator[Tx]:
        """A read-only look by somebody with a valid key, of one moment. Raises Unauthenticated.

        A refused right leaves its audit row here as well.
        """
        try:
            async with self.connection() as (core, raw):
                await raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                row = await raw.fetchrow(_OPEN_READ, call.credential)
                if row is None:
                    raise Unauthenticated
                tx = self._tx_of(core, raw, row, call)
                try:
                    yield tx
                    await raw.execute("COMMIT")
                except Forbidden as refusal:
                    await raw.execute("ROLLBACK")
                    await self._record_refusal(raw, tx, refusal)
                    raise
        except Exception as error:
            raise translated(error) from error

    @asynccontextmanager
    async def house(self, actor: str | None = None) -> AsyncIterator[Tx]:
        """A transaction of the service itself, nobody's command: the consumer's batches, the plumbing's own work."""
        try:
            async with self.connection() as (core, raw):
                await raw.execute("BEGIN")
                now = await raw.fetchval("SELECT daymark_now()")
                tx = Tx(core, raw, self.service, self.service, self.rights, now, actor or f"daymark|{self.service}")
                try:
                    yield tx
                    await tx.flush()
                    await _commit(raw)
                except Forbidden as refusal:  # a signed command that came by the bus
                    await raw.execute("ROLLBACK")
                    await self._record_refusal(raw, tx, refusal)
                    raise
        except Exception as error:
            raise translated(error) from error
        self._wake(tx.left)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[Core, asyncpg.Connection]]:
        """A pooled connection, spoken to by SQLAlchemy and by its driver. An open transaction is rolled back, or it is dropped."""
        await self._turn()
        try:
            pooled = await self._pooled()
        except BaseException:
            self._turns.release()
            raise
        try:
            raw: asyncpg.Connection = pooled.driver_connection
            while raw.is_closed():
                # The pool cannot see it: our statements go past SQLAlchemy. After a crash of the server each connection
                # that was pooled is dead, and would be handed out again for ever.
                await greenlet_spawn(pooled.invalidate)
                pooled = await self._pooled()
                raw = pooled.driver_connection
            try:
                yield Core(self.engine, pooled), raw
            except asyncpg.InternalClientError as error:
                # The driver is still busy with what was cut off before: in the pool it would fail whoever gets it next.
                await greenlet_spawn(pooled.invalidate)
                raise translated(error) from error
            finally:
                if raw.is_in_transaction():
                    try:
                        await _through(raw.execute("ROLLBACK", timeout=3))
                    except Exception:
                        # The server rolls back by itself. Raised, this would stand in place of our own cancellation.
                        await greenlet_spawn(pooled.invalidate)
                    except BaseException:
                        await greenlet_spawn(pooled.invalidate)
                        raise
        finally:
            try:
                with suppress(exc.SQLAlchemyError, OSError):
                    await greenlet_spawn(pooled.close)
            finally:
                self._turns.release()

    async def _turn(self) -> None:
        """Wait for one's turn. Raises Unavailable when it does not come."""
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(_TURN_S):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Unavailable("Too much is asked at once; nothing was changed, try again.", retry_after_s=2) from error

    async def _pooled(self) -> PoolProxiedConnection:
        try:
            return await self.engine.raw_connection()
        except self.engine.dialect.loaded_dbapi.Error as error:  # of a server that is starting; by its cause we know it
            cause = error.__cause__
            raise translated(cause if isinstance(cause, Exception) else error) from error
        except (exc.SQLAlchemyError, OSError) as error:  # no server, or no connection left: the same to all who ask
            raise translated(error) from error

    async def now(self) -> datetime:
        """The database's time."""
        async with self.connection() as (_, raw):
            now: datetime = await raw.fetchval("SELECT daymark_now()")
            return now

    async def ping(self) -> None:
        """Raises Unavailable when the server does not answer."""
        try:
            async with self.connection() as (_, raw):
                await raw.fetchval("SELECT 1", timeout=2)
        except Exception as error:
            raise translated(error) from error

    # -- who ------------------------------------------------------------------------------------------------------

    async def _command(self, core: Core, raw: asyncpg.Connection, call: Call) -> Tx:
        if call.once is None:
            row = await raw.fetchrow(_OPEN_READ, call.credential)
        else:
            row = await raw.fetchrow(_OPEN_ONCE, call.credential, call.route, call.once, call.digest)
        if row is None:
            raise Unauthenticated
        tx = self._tx_of(core, raw, row, call)
        if call.once is not None:
            tx.once = (f"http:{tx.actor}|{call.route}", call.once)
            tx.id_seed = "|".join(tx.once)
            if not row["is_fresh"]:
                raise await self._repeat(raw, tx.once, call.digest)
        return tx

    async def _repeat(self, raw: asyncpg.Connection, once: tuple[str, str], digest: bytes) -> Exception:
        first = await raw.fetchrow(
            "SELECT digest, status, headers, body FROM inbox WHERE scope = $1 AND id = $2", *once
        )
        if first is None or first["status"] is None:
            return Busy("A twin of this request is under way.", retry_after_s=1)
        if first["digest"] != digest:
            return KeyReused("This Idempotency-Key was used for another request; take a new one for new content.")
        headers = tuple((name, value) for name, value in first["headers"])
        return Repeated(Answer(first["status"], first["body"], headers))

    def _tx_of(self, core: Core, raw: asyncpg.Connection, row: Mapping[str, Any], call: Call) -> Tx:
        grants = frozenset((product, role) for product, _, role in (grant.partition(" ") for grant in row["grants"]))
        scopes = frozenset(row["scopes"]) if row["scopes"] is not None else None
        who = Principal(row["issuer"], row["subject"], row["name"], grants, scopes)
        return Tx(core, raw, self.service, self.service, self.rights, row["now"], who.id, who, call.cause)

    async def _job(self, core: Core, raw: asyncpg.Connection, held: Appointment) -> Tx:
        now = await raw.fetchval(
            "SELECT daymark_now() FROM agenda WHERE job = $1 AND subject = $2 AND token = $3 AND revision = $4",
            held.job,
            held.subject,
            held.token,
            held.revision,
        )
        if now is None:
            raise StaleAppointment(f"{held.job} {held.subject}")
        actor = f"daymark|{self.service}"
        tx = Tx(core, raw, self.service, self.service, self.rights, now, actor, appointment=held)
        tx.cause, tx.traceparent = f"{held.job} {held.subject}"[:200], held.traceparent
        return tx

    async def _record_refusal(self, raw: asyncpg.Connection, tx: Tx, refusal: Forbidden) -> None:
        await raw.execute(
            "INSERT INTO audit (at, actor, action, object, product_id, evidence, cause, refused, reason, detail)"
            " VALUES ($1, $2, $3, $4, $5, '{}', $6, true, $7, '{}')",
            tx.now,
            tx.actor,
            tx.action or "unnamed",
            tx.refused_object,
            tx._product,
            tx.cause,
            refusal.detail,
        )


async def _commit(raw: asyncpg.Connection) -> None:
    """Commit, and be sure of it. Raises Unavailable when nobody can say whether it was done."""
    try:
        done = await raw.execute("COMMIT")
    except Exception as error:
        if isinstance(translated(error), Unavailable):
            raise Unavailable(
                "The database did not say whether it was done; look, or ask again with the same Idempotency-Key.",
                retry_after_s=2,
            ) from error
        raise
    if done != "COMMIT":  # PostgreSQL answers ROLLBACK, and no error, where a statement failed and somebody went on
        raise RuntimeError(f"the transaction had failed before its end: {done}")


async def _through(work: Coroutine[Any, Any, Any]) -> None:
    """Finish `work` even when we are cancelled meanwhile: a connection left half-way would be nobody's."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=4)
        raise


_DUPLICATE = re.compile(r'constraint "(?P<name>[^"]+)"')


def translated(error: Exception) -> Exception:
    """What a driver's error means for the caller: later (503), another request works on it (409), or our bug (itself)."""
    if isinstance(error, DaymarkError):
        return error
    cause: BaseException = error
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        cause = error.orig.__cause__ or error.orig
    if isinstance(cause, (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)):
        return Busy("Another request is working on the same thing.", retry_after_s=1)
    if isinstance(cause, asyncpg.UniqueViolationError):
        found = _DUPLICATE.search(str(cause))
        return Conflict(f"This exists already ({found['name'] if found else 'unique'}).")
    if isinstance(
        cause,
        (
            OSError,
            TimeoutError,
            asyncpg.PostgresConnectionError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            asyncpg.CannotConnectNowError,
            asyncpg.AdminShutdownError,
            asyncpg.CrashShutdownError,
            asyncpg.TooManyConnectionsError,
            asyncpg.QueryCanceledError,
            asyncpg.IdleInTransactionSessionTimeoutError,
            exc.TimeoutError,
        ),
    ) or (isinstance(error, exc.DBAPIError) and error.connection_invalidated):
        return Unavailable("The database does not answer; nothing was changed, try again.", retry_after_s=2)
    return error
