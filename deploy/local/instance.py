"""Daymark in one process: the four services behind one port, over one PostgreSQL.

The same applications as in production, put side by side; nothing here decides anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from services.incidents.app import build as build_incidents
from services.intake.app import build as build_intake
from services.reviewer.app import build as build_reviewer
from services.snapshotter.app import build as build_snapshotter
from shared import keys
from shared.bus import open_bus
from shared.db.migrations import upgrade
from shared.settings import Settings
from shared.topics import apply as apply_topics

#: Two people for each human role and one program, so that every step of the process can be walked at once.
PEOPLE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("erin", "Erin (engineer)", ("engineer",)),
    ("eli", "Eli (engineer)", ("engineer",)),
    ("pia", "Pia (PTASK engineer)", ("ptask", "engineer")),
    ("paul", "Paul (PTASK engineer)", ("ptask", "engineer")),
    ("olga", "Olga (operations)", ("operations",)),
    ("omar", "Omar (operations)", ("operations",)),
    ("rita", "Rita (release manager)", ("release_manager",)),
    ("ravi", "Ravi (release manager)", ("release_manager",)),
    ("ada", "Ada (auditor)", ("auditor",)),
    ("anton", "Anton (auditor)", ("auditor",)),
    ("pipeline", "The delivery pipeline", ("integration",)),
)


class OneProcess:
    """An ASGI application that hands each request to the service whose prefix it has; the console has the rest."""

    def __init__(self, settings: Settings) -> None:
        self.services: Mapping[str, FastAPI] = {
            "intake": build_intake(settings),
            "snapshotter": build_snapshotter(settings),
            "incidents": build_incidents(settings),
            "reviewer": build_reviewer(settings),
        }
        self._lifespan_app: ASGIApp = FastAPI(lifespan=self._lifespan, openapi_url=None)

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for app in self.services.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan_app(scope, receive, send)
            return
        prefix = scope["path"].split("/", 2)[1] if scope["path"].startswith("/") else ""
        await self.services.get(prefix, self.services["reviewer"])(scope, receive, send)


async def prepare(admin_url: str, settings: Settings, *, movable: bool = False, behind_s: float = 0.0) -> None:
    """Tables, roles and topics, where they are missing."""
    await upgrade(admin_url, movable=movable, behind_s=behind_s)
    async with open_bus(settings.bus_at(admin_url), access=settings.kafka_access()) as bus:
        for drift in await apply_topics(bus):
            print(f"  topics: {drift}")


async def people(admin_url: str, home: Path) -> dict[str, str]:
    """The demo people and their keys, made once; `keys.json` (mode 600) has them by role and by name."""
    file = home / "keys.json"
    if file.exists():
        found: dict[str, str] = json.loads(file.read_text())
        return found
    admin = await asyncpg.connect(admin_url)
    try:
        by_name: dict[str, str] = {}
        by_role: dict[str, str] = {}
        for subject, name, roles in PEOPLE:
            principal = await keys.grant(admin, subject, name=name, roles=roles)
            _, by_name[subject] = await keys.create_key(admin, principal)
            by_role.setdefault(roles[0], by_name[subject])
    finally:
        await admin.close()
    made = {**by_role, **by_name}
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(made, out, indent=2)
    part.rename(file)  # whole, or not there: a killed first start begins again
    return made


async def sign_in_link(admin_url: str, base_url: str, subject: str = "olga") -> str:
    """A link that signs a browser in once, as one of the demo people."""
    admin = await asyncpg.connect(admin_url)
    try:
        principal = await admin.fetchval("SELECT id FROM access.principals WHERE subject = $1", subject)
        return f"{base_url}/sign-in?link={await keys.create_link(admin, principal)}"
    finally:
        await admin.close()


def local_settings(admin_url: str, **more: Any) -> Settings:
    """Settings of an instance on this machine: what the environment says, over this database."""
    return Settings(database_url=admin_url, **more)
