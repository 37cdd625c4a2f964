"""`daymark up`: everything on this machine, from nothing but Python, until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from deploy.local.instance import OneProcess, local_settings, people, prepare, sign_in_link
from deploy.local.postgres import Postgres, PostgresError, default_home
from shared.db import bootstrap
from shared.doors.server import uvicorn_settings
from shared.settings import SERVICES, Settings
from shared.telemetry import configure_logs

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = 130  #: exit code of what Ctrl-C ended before it had come to its own end, as shells have it


@dataclass(frozen=True, slots=True)
class Running:
    """A started instance."""

    base_url: str
    admin_url: str
    home: Path
    keys: dict[str, str]
    app: OneProcess
    server: uvicorn.Server


def up(
    *,
    home: Path | None = None,
    port: int | None = None,
    movable: bool = False,
    behind_s: float = 0.0,
    sources: Mapping[str, Mapping[str, Any]] | None = None,
    then: Callable[[Running], Coroutine[Any, Any, None]] | None = None,
    farewell: Callable[[], str] = lambda: "The data is kept; the next start finds it again.",
    as_json: bool = False,
) -> None:
    """Start, print where things are, run `then` beside it, stop cleanly on Ctrl-C or SIGTERM.

    `movable` and `behind_s` only hold for a new instance: see shared/db/bootstrap.py. `as_json`: where things are is one
    JSON document on standard output, and all else goes to standard error. Ends the process with one sentence where it
    cannot start: the home is another process's, or the port is.
    """
    home = (home or default_home()).absolute()
    port = port if port is not None else int(os.environ.get("DAYMARK_PORT", "8080"))
    configure_logs(level=os.environ.get("DAYMARK_LOG_LEVEL", "WARNING"))
    make_home(home)
    # uvicorn gives a signal back when it has ended; SIGTERM as it is would end us before the database is.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    given = os.environ.get("DAYMARK_DATABASE_URL")
    server = None if given else Postgres(home)
    try:
        admin_url = given or (server.start() if server else "")
    except PostgresError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        print("Stopped before it was up.", flush=True, file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    try:
        more = {"sources": sources} if sources is not None else {}
        settings = local_settings(admin_url, **more)
        with asyncio.Runner() as runner:
            runner.run(_serve(settings, admin_url, home, port, movable, behind_s, then, as_json))
    except KeyboardInterrupt:
        pass
    finally:
        if server is not None:
            server.stop()
        print(f"Stopped. {farewell()}", flush=True, file=sys.stderr if as_json else sys.stdout)


def make_home(home: Path) -> None:
    """The directory, where it is new. Ends the process with one sentence where that cannot be."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(
            f"{home} cannot be made ({error.strerror}): set DAYMARK_HOME to a place of your own."
        ) from None


async def _serve(
    settings: Settings,
    admin_url: str,
    home: Path,
    port: int,
    movable: bool,
    behind_s: float,
    then: Callable[[Running], Coroutine[Any, Any, None]] | None,
    as_json: bool,
) -> None:
    async with started(settings, admin_url, home, port, movable=movable, behind_s=behind_s) as running:
        print(json.dumps(await document(running)) if as_json else await greeting(running), flush=True)
        if then is None and not as_json:
            print(await invitation(running), flush=True)
        await _until_told(running.server, asyncio.create_task(then(running)) if then else None)


async def _until_told(server: uvicorn.Server, beside: asyncio.Task[None] | None) -> None:
    """Until the server is told to end. What `beside` raises is raised, but not that its server left in the middle."""
    while not server.should_exit:
        await asyncio.sleep(0.1)
        if beside is not None and beside.done() and not server.should_exit:
            beside.result()
            beside = None
    if beside is not None:
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)


@asynccontextmanager
async def started(
    settings: Settings, admin_url: str, home: Path, port: int, *, movable: bool = False, behind_s: float = 0.0
) -> AsyncIterator[Running]:
    """The instance, answering on loopback; SIGINT and SIGTERM ask it to stop. Port 0 takes a free one."""
    await prepare(admin_url, settings, movable=movable, behind_s=behind_s)
    made = await people(admin_url, home)
    app = OneProcess(settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, **uvicorn_settings()))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if serving.done():
                await serving
                raise SystemExit(f"Daymark did not start: is port {port} taken? Set DAYMARK_PORT to another.")
            await asyncio.sleep(0.02)
        bound = server.servers[0].sockets[0].getsockname()[1]
        await load_products(app)
        yield Running(f"http://127.0.0.1:{bound}", admin_url, home, made, app, server)
    finally:
        server.should_exit = True
        await serving


async def load_products(app: OneProcess) -> None:
    """The policies of `products/`, for products that are not known yet. What was changed since is not touched."""
    from services.intake.handlers import load_products as load

    await load(app.services["intake"].state.deps, sorted((ROOT / "products").glob("*.yaml")))


async def greeting(running: Running) -> str:
    """What a person needs to know, at each start."""
    return f"""
Daymark is up.

  console    {running.base_url}/
  API docs   {running.base_url}/intake/docs  (and /snapshotter /incidents /reviewer)
  keys       {running.home / "keys.json"}  (by role and by name)
  data       {running.home}

Ctrl-C stops it; the data stays."""


async def document(running: Running) -> dict[str, Any]:
    """The same for a program, with a sign-in link."""
    return {
        "console": f"{running.base_url}/",
        "docs": [f"{running.base_url}/{service}/docs" for service in SERVICES],
        "keys": str(running.home / "keys.json"),
        "data": str(running.home),
        "sign_in": await sign_in_link(running.admin_url, running.base_url),
    }


async def invitation(running: Running) -> str:
    """A link that signs a browser in. Made when somebody can use it: it is good for an hour of the instance's clock."""
    link = await sign_in_link(running.admin_url, running.base_url)
    return f"\nSign in (once, within the hour, as Olga of operations):\n\n  {link}\n"


async def move_clock(admin_url: str, ahead_s: float) -> None:
    """Step a movable instance's clock: `ahead_s` of real time (negative: behind), only ever forward."""
    import asyncpg

    admin = await asyncpg.connect(admin_url)
    try:
        await bootstrap.move_clock(admin, ahead_s=ahead_s)
    finally:
        await admin.close()
