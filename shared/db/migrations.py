"""One Alembic tree per service (`services/<name>/migrations/versions`), run by its owner's role, never at app start."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from shared.db import bootstrap
from shared.settings import SERVICES

_ROOT = Path(__file__).resolve().parents[2]


def metadata_of(service: str) -> MetaData:
    """The tables that the service's store declares."""
    declared: MetaData = importlib.import_module(f"services.{service}.store").metadata
    return declared


def _config(service: str, connection: Connection, metadata: MetaData | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(_ROOT / "services" / service / "migrations" / "versions"))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(connection=connection, service=service, metadata=metadata)
    return config


async def upgrade(
    admin_url: str, *, movable: bool = False, behind_s: float = 0.0, say: Callable[[str], None] = lambda _: None
) -> None:
    """Bring the whole database to this code's shape. Idempotent; safe to run twice at once. `say` hears how far it is."""
    admin = await asyncpg.connect(str(make_url(admin_url).set(drivername="postgresql").render_as_string(False)))
    try:
        await bootstrap.prepare(admin, movable=movable, behind_s=behind_s)
        for n, service in enumerate(SERVICES, 1):
            say(f"Bringing the tables of {service} up to date ({n} of {len(SERVICES)})")
            await _as_owner(admin_url, service, lambda config: command.upgrade(config, "head"))
            await bootstrap.settle(admin, service)
    finally:
        await admin.close()


async def revise(admin_url: str, service: str, message: str) -> None:
    """Write the next migration of a service from the difference between its tables and the database (developers)."""
    await _as_owner(
        admin_url,
        service,
        lambda config: command.revision(config, message=message, autogenerate=True),
        metadata_of(service),
    )


async def _as_owner(admin_url: str, service: str, act: Any, metadata: MetaData | None = None) -> None:
    """`metadata` only to write a migration: running them must not need what the services import."""
    engine = create_async_engine(make_url(admin_url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f'SET LOCAL ROLE "{service}_owner"'))
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('daymark migrations'))"))
            await connection.run_sync(lambda sync: act(_config(service, sync, metadata)))
    finally:
        await engine.dispose()


def main() -> None:
    """`python -m shared.db.migrations SERVICE MESSAGE ADMIN_URL`: write a migration."""
    import sys

    service, message, url = sys.argv[1:4]
    asyncio.run(revise(url, service, message))


if __name__ == "__main__":
    main()
