"""One connection to PostgreSQL that cannot hang its user."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import asyncpg

from shared.db.connection import Connection
from shared.errors import Unavailable

T = TypeVar("T")

SETTINGS = {
    "application_name": "daymark bus",
    "jit": "off",
    # A publisher that is stopped between drawing its offsets and committing holds up its partitions no longer than this.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "5s",
}


class Line:
    """Made when first needed, used by one at a time, every use bounded, thrown away at the first failure.

    There is no rollback to wait for: whoever fails in the middle of a transaction loses the connection, and the server
    rolls back by itself.
    """

    def __init__(self, dsn: str, role: str | None):
        self._dsn = dsn
        self._settings = SETTINGS | ({"role": role} if role else {})
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None

    async def use(self, work: Callable[[Connection], Awaitable[T]], *, within_s: float = 5) -> T:
        """What `work` returns. Raises Unavailable when the server does not do it within `within_s` seconds."""
        try:
            async with asyncio.timeout(within_s), self._lock:
                try:
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await asyncpg.connect(
                            self._dsn,
                            connection_class=Connection,
                            command_timeout=within_s,
                            server_settings=self._settings,
                        )
                    return await work(self._connection)
                except BaseException:
                    self.drop()
                    raise
        except TimeoutError as error:
            raise Unavailable(f"PostgreSQL did not answer the bus within {within_s:g} s.") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Unavailable(f"PostgreSQL does not serve the bus: {error}") from error

    def drop(self) -> None:
        """Let go at once, without a word to the server."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Say goodbye, for 2 s at most. Never raises."""
        if self._connection is not None and not self._lock.locked():
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._connection.close(timeout=2)
        self.drop()
