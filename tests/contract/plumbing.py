"""A service with nothing but plumbing, in the schema of intake: what every service rests on, on a real server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from shared import keys
from shared.access import Call, hashed
from shared.db import Database, bootstrap, plumbing
from shared.telemetry import Telemetry

metadata = MetaData(schema="intake")
plumbing(metadata)
things = Table("things", metadata, Column("id", Text, primary_key=True), Column("n", BigInteger, nullable=False))

RIGHTS = {"make": frozenset({"engineer"}), "plan": frozenset({"release_manager"})}


@dataclass
class Bench:
    """One service's database, its admin, and a key of an engineer."""

    url: str
    db: Database
    admin: asyncpg.Connection
    key: str

    def call(self, once: str | None = None, digest: bytes = b"same", route: str = "POST /things") -> Call:
        return Call(hashed(self.key), route, digest, once, cause=once)

    async def count(self, table: str) -> int:
        n: int = await self.admin.fetchval(f"SELECT count(*) FROM intake.{table}")
        return n


async def make(url: str) -> None:
    """Clock, access, roles, and the plumbing's tables in one schema."""
    from sqlalchemy import make_url, text
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    admin = await asyncpg.connect(url)
    await bootstrap.prepare(admin, movable=True)
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL ROLE intake_owner"))
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    await bootstrap.settle(admin, "intake")
    await admin.close()


@asynccontextmanager
async def bench(url: str) -> AsyncIterator[Bench]:
    admin = await asyncpg.connect(url)
    _, secret = await keys.create_key(admin, await keys.grant(admin, "erin", name="Erin", roles=["engineer"]))
    db = Database(url, service="intake", rights=RIGHTS, role="intake")
    try:
        yield Bench(url, db, admin, secret)
    finally:
        await db.close()
        await admin.close()


def telemetry() -> Telemetry:
    return Telemetry("intake", version="test")
