"""A service, put together: doors in front, database and bus behind, and the four tasks that carry facts.

Only each service's `app.py` calls this. The same function makes a service that runs alone (`uvicorn services.intake.app:app`,
replicas at will) and one of the four in the one-process mode.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from typing import Any, Protocol

import structlog
from fastapi import APIRouter, FastAPI, Request

from shared.access import Rights
from shared.agenda import Job, Worker
from shared.bus import Bus, open_bus
from shared.consumer import Consumer, RawStep, Step
from shared.contracts import Fact
from shared.contracts.heartbeats import TOPIC as HEARTBEATS
from shared.db import Database
from shared.doors.caller import Caller
from shared.doors.described import Examples, exemplified
from shared.doors.limits import limits
from shared.doors.ops import ops
from shared.doors.problems import problems
from shared.errors import DaymarkError
from shared.freshness import Heart, on_heartbeat
from shared.outbox import Relay
from shared.progress import Progress
from shared.settings import Settings
from shared.telemetry import Telemetry, configure_logs

_log = structlog.get_logger(__name__)

VERSION = installed_version("daymark")
_STOP_S = 6.0


class Part(Protocol):
    """One of the tasks that carry facts."""

    progress: Progress

    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a service's `deps` are made of."""

    db: Database
    bus: Bus
    telemetry: Telemetry
    settings: Settings


MakeDeps = Callable[[Parts], AbstractAsyncContextManager[Any]]


def service(
    *,
    name: str,
    card: str,
    routers: Sequence[APIRouter],
    rights: Rights,
    on: Mapping[type[Fact], Step],
    jobs: Mapping[str, Job[Any]],
    deps: MakeDeps,
    raw: Mapping[str, RawStep] | None = None,
    hears_heartbeats: bool = False,
    uploads: Mapping[str, int] | None = None,
    examples: Examples | None = None,
    settings: Settings | None = None,
) -> FastAPI:
    """The ASGI application of one service; connections and tasks begin with its lifespan.

    `uploads`: path -> bytes, where a body may be larger than elsewhere. `examples`: what the doors once really answered,
    for the OpenAPI document. `hears_heartbeats`: for read models that say `as_of`.
    """
    settings = settings or Settings()
    telemetry = Telemetry(name, version=VERSION, otlp_endpoint=settings.otlp_endpoint)
    running = _Running(name, settings, telemetry)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if not structlog.is_configured():  # by whoever runs us: otherwise a plain `uvicorn` gets our lines as well
            configure_logs()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, telemetry.close)  # it waits for exporters, bounded
            url, role = settings.database_for(name)
            db = Database(url, service=name, rights=rights, role=role, pool_size=settings.pool_size)
            stack.push_async_callback(db.close)
            telemetry.watch_engine(db.engine)
            bus_url, access = settings.bus_at(url), settings.kafka_access()
            bus = await stack.enter_async_context(open_bus(bus_url, role=role, access=access))
            made = await stack.enter_async_context(deps(Parts(db, bus, telemetry, settings)))
            app.state.deps, app.state.db, app.state.settings = made, db, settings
            watch = {HEARTBEATS: on_heartbeat} if hears_heartbeats else {}
            consumer = Consumer(db, bus, telemetry, on=on, raw=raw or {}, watch=watch)
            worker = Worker(db, {**jobs, "drain_parked": consumer.drain_parked}, made, telemetry)
            heart = Heart(db, bus, telemetry, every_s=settings.heartbeat_s, heard=consumer.topics)
            parts: list[Part] = [Relay(db, bus, telemetry), Relay(db, bus, telemetry), consumer, worker, heart]
            running.begin(db, bus, parts)
            tasks = [
                asyncio.create_task(_kept_going(part, running), name=f"{name} {type(part).__name__}") for part in parts
            ]
            # What was imported stays for good: the collector need not look at it again and again.
            gc.collect()
            gc.freeze()
            # A request leaves hardly a cycle behind: looked for at each 700 objects, as is usual, they cost a twentieth of it.
            gc.set_threshold(20_000, 10, 20)
            _log.info("started", service=name, version=VERSION)
            try:
                yield
            finally:
                running.is_stopping = True
                for task in tasks:
                    task.cancel()
                _, stuck = await asyncio.wait(tasks, timeout=_STOP_S)
                if stuck:
                    _log.warning("left behind", tasks=[task.get_name() for task in stuck])
                _log.info("stopped", service=name)

    title, _, about = card.strip().partition("\n")
    app = FastAPI(
        title=f"Daymark {name}",
        summary=title,
        description=about.strip(),
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=telemetry.for_fastapi(),
    )
    for router in routers:
        app.include_router(router)
    exemplified(app, examples or {})
    ops(app, name, ready=running.ready, version=running.version, metrics=telemetry.metrics_text, key=known)
    problems(app)
    limits(app, larger=uploads or {})
    telemetry.watch(app)
    return app


async def known(call: Caller, request: Request) -> None:
    """A dependency that lets in whoever has a valid key or session. Raises Unauthenticated."""
    db: Database = request.app.state.db
    async with db.read(call):
        pass


async def _kept_going(part: Part, running: _Running) -> None:
    """A task that ends by an error nobody foresaw is logged and begun again: silence would be worse."""
    while not running.is_stopping:
        try:
            await part.run()
            return
        except Exception as error:
            part.progress.failed(error)
            _log.exception("a task of the plumbing failed and begins again")
            if not running.is_stopping:
                await asyncio.sleep(2)


class _Running:
    """What readiness and version ask of a service that may not have started yet."""

    def __init__(self, name: str, settings: Settings, telemetry: Telemetry) -> None:
        self._name, self._settings, self._telemetry = name, settings, telemetry
        self._carriers: tuple[Database, Bus, Sequence[Part]] | None = None
        self._is_movable: bool | None = None
        self.is_stopping = False

    def begin(self, db: Database, bus: Bus, parts: Sequence[Part]) -> None:
        self._carriers = (db, bus, parts)

    async def ready(self) -> Mapping[str, str | None]:
        """Check name -> None, or what is wrong."""
        if self._carriers is None:
            return {"started": "not yet"}
        db, bus, parts = self._carriers
        database, letters = await asyncio.gather(_why_not(db.ping), _why_not(bus.ping))
        checks = {"database": database, "bus": letters}
        for part in parts:
            check = type(part).__name__.lower()
            checks[check] = checks.get(check) or part.progress.problem()
        return checks

    async def version(self) -> Mapping[str, Any]:
        """Open to all: what runs here, and whether its clock can be moved (demo, tests)."""
        if self._is_movable is None and self._carriers is not None:
            try:
                async with self._carriers[0].connection() as (_, raw):
                    self._is_movable = bool(await raw.fetchval("SELECT is_movable FROM daymark.clock"))
            except Exception as error:  # whatever the driver raises: that the clock is unknown is an answer
                _log.info("the clock's kind could not be asked", error=repr(error))
                return {"service": self._name, "version": VERSION, "clock": "unknown"}
        clock = "unknown" if self._is_movable is None else "movable" if self._is_movable else "real"
        return {"service": self._name, "version": VERSION, "clock": clock}


async def _why_not(ping: Callable[[], Awaitable[None]]) -> str | None:
    try:
        async with asyncio.timeout(2.5):
            await ping()
    except (DaymarkError, TimeoutError, OSError) as error:
        return str(error) or "no answer in time"
    return None
