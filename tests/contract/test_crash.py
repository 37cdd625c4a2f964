"""What a service's connections do when the database crashes and comes back."""

import asyncio
from pathlib import Path

import pytest

from shared.db import Database
from shared.errors import Unavailable
from tests.servers.services import Server

pytestmark = pytest.mark.slow


async def test_connections_that_died_with_the_server_are_not_handed_out_again(home: Path) -> None:
    server = Server(home)
    db = Database(server.start(), service="intake", rights={}, pool_size=4)
    try:
        await asyncio.gather(*(db_work(db) for _ in range(4)))  # four in the pool
        server.crash()
        with pytest.raises(Unavailable):
            await db.ping()
        server.start()
        for _ in range(3):
            await db.ping()
        await asyncio.gather(*(db_work(db) for _ in range(6)))
    finally:
        await db.close()
        server.stop()


async def db_work(db: Database) -> None:
    async with db.connection() as (_, raw):
        await raw.fetchval("SELECT pg_sleep(0.2)")
