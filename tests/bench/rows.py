"""What several benches need: a fresh server with our tables, and a median that says how it was made."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from deploy.local.postgres import Postgres
from shared.db.migrations import upgrade
from tests.servers import directory


@contextmanager
def server() -> Iterator[str]:
    """An embedded PostgreSQL as production runs it (fsync on), with our tables; its admin's URL."""
    with directory.temporary() as home:
        postgres = Postgres(home)
        try:
            url = postgres.start()
            asyncio.run(upgrade(url, movable=True))
            yield url
        finally:
            postgres.stop()


@asynccontextmanager
async def admin(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def alternately(
    times: int, ours: Callable[[], Awaitable[float]], limit: Callable[[], Awaitable[float]]
) -> dict[str, Any]:
    """Medians of both, measured in turns (first one, then the other first), so that a noisy minute hits both."""
    mine: list[float] = []
    bare: list[float] = []
    for turn in range(times):
        pair = [(ours, mine), (limit, bare)]
        for measure, into in pair if turn % 2 else pair[::-1]:
            into.append(await measure())
    return {"ours": statistics.median(mine), "limit": statistics.median(bare), "n": times}
