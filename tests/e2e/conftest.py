"""The demo's story, told once for all who look at it, and a browser to look with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import pytest
import uvicorn
from playwright.async_api import Browser
from starlette.types import ASGIApp

from deploy.local import story
from deploy.local.instance import sign_in_link
from deploy.local.plant import EFFECTS
from shared.doors.server import uvicorn_settings
from tests.flow.world import EFFECTS as WORSE_EFFECTS
from tests.flow.world import World, begun
from tests.servers import chromium
from tests.servers.postgres import Databases


@dataclass(frozen=True)
class Told:
    """A world in which the story was told, and the address where a browser finds it."""

    world: World
    crs: dict[str, str]  #: role in the story -> CR id
    url: str

    async def link(self, subject: str = "olga") -> str:
        """A one-time link for one of the demo's people."""
        database = self.world.settings.database_url
        assert database is not None
        return await sign_in_link(database.get_secret_value(), self.url, subject)


class _Served(uvicorn.Server):
    """Ctrl-C stays with pytest."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The application, whose lifespan another has, on a free port of this machine; its address."""
    settings = {**uvicorn_settings(), "lifespan": "off", "timeout_graceful_shutdown": 2}
    server = _Served(uvicorn.Config(app, host="127.0.0.1", port=0, **settings))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done(), "the server did not start"
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture(scope="module")  # a package's fixture would outlive it: folders of tests are no packages here
async def told(postgres: Databases) -> AsyncIterator[Told]:
    """The story's world; the pages are read first, then the guides go on from there."""
    async with begun(postgres, {**EFFECTS, **WORSE_EFFECTS}) as world:
        world.t.present = story.present()
        world.t.at = world.t.present - timedelta(days=story.DAYS) + timedelta(minutes=2)
        crs = await story.tell(world.t)
        await world.quiet()
        async with served(world.app) as url:
            yield Told(world, crs, url)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium.browser() as made:
        yield made
