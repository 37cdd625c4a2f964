"""What those who run a service ask it, under its prefix: alive? ready? which version? how does it fare? what can it do?

Health, readiness and version are open to anybody and say nothing of the process; the rest needs a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from shared.clock import monotonic_s
from shared.doors.described import described
from shared.doors.docs import DOCS_POLICY, docs_page
from shared.errors import Unavailable

_log = structlog.get_logger(__name__)

_ASKING_LIMIT_S = 3.0
_FRESH_S = 0.5  # a crowd of strangers asking costs the database two questions a second


def ops(
    app: FastAPI,
    name: str,
    *,
    ready: Callable[[], Awaitable[Mapping[str, str | None]]],
    version: Callable[[], Awaitable[Mapping[str, Any]]],
    metrics: Callable[[], bytes],
    key: Callable[..., Any],
) -> None:
    """Add the operations' paths under `/{name}`.

    `ready()` says of each check (`database`, `bus`) None or the problem in one sentence: 200 when all are None, 503
    otherwise, 503 after 3 s without an answer. `version()` gives what `/version` shows beside the service's name.
    `metrics` gives Prometheus' text (`telemetry.metrics_text`). `key` is the dependency that refuses strangers; it
    guards `/metrics`, `/openapi.json` and `/docs`. The app itself is made with `openapi_url=None`.
    """
    is_ready, has_version = _Asked(ready), _Asked(version)
    open_to_all = APIRouter(prefix=f"/{name}", tags=["operations"])
    guarded = APIRouter(prefix=f"/{name}", dependencies=[Depends(key)], include_in_schema=False)

    @open_to_all.get("/healthz", summary="Is the process alive?")
    async def healthz() -> dict[str, str]:
        """Always 200 while it answers at all: for whoever restarts what hangs. Open to everybody."""
        return {"status": "alive"}

    @open_to_all.get("/readyz", summary="Can it do its work: database, bus?", responses={503: {"description": "No"}})
    async def readyz() -> Response:
        """503 names each check that fails: for whoever routes requests here. Open to everybody."""
        try:
            checks = await is_ready()
        except TimeoutError:
            checks = {"readiness": f"no answer within {_ASKING_LIMIT_S:g} s"}
        except Exception as error:
            _log.error("readiness could not be asked", service=name, exc_info=error)
            checks = {"readiness": "could not be asked"}
        is_fine = all(problem is None for problem in checks.values())
        shown = {check: "ok" if problem is None else problem for check, problem in checks.items()}
        return JSONResponse({"ready": is_fine, "checks": shown}, 200 if is_fine else 503)

    @open_to_all.get("/version", summary="Which version is it, and is its clock movable?")
    async def which_version() -> dict[str, Any]:
        """The version of the code, and `movable` when this database's clock can be moved (tests, demo). Open to everybody."""
        try:
            return {"service": name, **await has_version()}
        except TimeoutError:
            raise Unavailable("The version could not be asked in time.", retry_after_s=5) from None

    @guarded.get("/metrics")
    async def prometheus() -> Response:
        # In a thread: gauges are few, but histograms of every route are not, and a scrape must delay no request.
        return Response(await asyncio.to_thread(metrics), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @guarded.get("/openapi.json")
    async def openapi() -> Response:
        return JSONResponse(app.openapi())

    @guarded.get("/docs")
    async def docs() -> Response:
        return HTMLResponse(docs_page(app), headers={"Content-Security-Policy": DOCS_POLICY})

    app.include_router(open_to_all)
    app.include_router(guarded)
    described(app)


class _Asked:
    """One question at a time; all who ask within half a second share its answer. Raises what the question raises."""

    def __init__(self, ask: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        self._ask = ask
        self._lock = asyncio.Lock()
        self._answer: Mapping[str, Any] = {}
        self._until = -1.0

    async def __call__(self) -> Mapping[str, Any]:
        async with asyncio.timeout(_ASKING_LIMIT_S), self._lock:
            if monotonic_s() >= self._until:
                self._answer = await self._ask()
                self._until = monotonic_s() + _FRESH_S
            return self._answer
