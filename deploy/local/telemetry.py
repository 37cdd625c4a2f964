"""The demo's telemetry: a small program of ours that serves the plant's SLIs over the Prometheus HTTP API.

It names itself `daymark-demo-telemetry` wherever a name is asked for. It knows the queries of the policies in `products/`
and nothing else; any other query has no series, as in a Prometheus that never scraped such a metric.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvicorn
import yaml
from fastapi import FastAPI, Request, Response

from deploy.local.plant import SIGNALS, Floats, Plant
from shared.clock import wall
from shared.contracts import Policy, read_policy

NAME = "daymark-demo-telemetry"
PRODUCTS = Path(__file__).parents[2] / "products"
MOST_POINTS = 11_000
READY_S = 15.0
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "": 1}


class _BadData(Exception):
    """A parameter that Prometheus would refuse as well."""


def policies_in(directory: Path = PRODUCTS) -> tuple[Policy, ...]:
    """The policies that lie in a directory. Raises pydantic's ValidationError for one that is none."""
    return tuple(read_policy(yaml.safe_load(path.read_text())) for path in sorted(directory.glob("*.yaml")))


def _present_s() -> float:
    return wall().timestamp()


class DemoTelemetry:
    """`start()` serves on a loopback port from a thread of its own and returns the base URL; `stop()` ends it.

    policies   whose queries are known; those of `products/` when None
    plant      the simulated systems; also to be told of deploys directly
    present_s  the real present, unix seconds: nothing later is ever served
    """

    def __init__(
        self,
        policies: Iterable[Policy] | None = None,
        plant: Plant | None = None,
        present_s: Callable[[], float] = _present_s,
    ) -> None:
        self.plant = plant or Plant()
        self._present_s = present_s
        self._queries = {
            sli.query: (policy.id, sli.id)
            for policy in (policies_in() if policies is None else policies)
            for sli in policy.slis
            if (policy.id, sli.id) in SIGNALS
        }
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, port: int = 0) -> str:
        """Serve on 127.0.0.1 (0 = any free port); returns `http://127.0.0.1:<port>`. Raises OSError, RuntimeError."""
        if self._server is not None:
            raise RuntimeError("the demo's telemetry is already served")
        door = socket.socket()
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("127.0.0.1", port))
        except OSError:
            door.close()
            raise
        config = uvicorn.Config(
            self.app(), lifespan="off", ws="none", log_config=None, server_header=False, timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, args=(self._server, door), name=NAME, daemon=True)
        self._thread.start()
        pause = threading.Event()
        for _ in range(int(READY_S / 0.02)):
            if self._server.started or not self._thread.is_alive():
                break
            pause.wait(0.02)
        if not self._server.started:
            self.stop()
            raise RuntimeError("the demo's telemetry did not start")
        return f"http://127.0.0.1:{door.getsockname()[1]}"

    @staticmethod
    def _serve(server: uvicorn.Server, door: socket.socket) -> None:
        with contextlib.closing(door):
            server.run(sockets=[door])

    def stop(self) -> None:
        """End it; a second time does nothing."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout=10)
            self._server = self._thread = None

    def app(self) -> FastAPI:
        """The HTTP application: Prometheus' query API, and two doors for the demo's deployer."""
        app = FastAPI(title=NAME, openapi_url=None)
        app.add_exception_handler(_BadData, _refuse)
        app.add_api_route("/api/v1/query_range", self._query_range, methods=["GET", "POST"])
        app.add_api_route("/api/v1/query", self._query, methods=["GET", "POST"])
        app.add_api_route("/api/v1/status/buildinfo", self._buildinfo, methods=["GET"])
        app.add_api_route("/demo/deployed", self._deployed, methods=["POST"])
        app.add_api_route("/demo/rolled-back", self._rolled_back, methods=["POST"])
        return app

    def samples(self, query: str, at_s: Floats) -> Floats | None:
        """(T,) the values of a query at times (T,), unix seconds; None when the query is not known."""
        known = self._queries.get(query)
        return None if known is None else self.plant.values(*known, at_s)

    async def _query_range(self, request: Request) -> Response:
        asked = await _parameters(request)
        start_s, end_s = _time(asked, "start"), _time(asked, "end")
        step_s = _duration(asked.get("step", ""))
        if end_s < start_s:
            raise _BadData('invalid parameter "end": end timestamp must not be before start time')
        if (end_s - start_s) / step_s > MOST_POINTS:
            raise _BadData(f"exceeded maximum resolution of {MOST_POINTS:,} points per timeseries")
        at_s: Floats = start_s + step_s * np.arange(int((end_s - start_s) / step_s + 1e-6) + 1, dtype=np.float64)
        at_s = at_s[at_s <= self._present_s()]  # nobody has measured the future
        values = self.samples(asked.get("query", ""), at_s)
        if values is None or not len(at_s):
            return _success("matrix", [])
        pairs = [[at, repr(value)] for at, value in zip(np.round(at_s, 3).tolist(), values.tolist(), strict=True)]
        return _success("matrix", [{"metric": {}, "values": pairs}])

    async def _query(self, request: Request) -> Response:
        asked = await _parameters(request)
        at_s = np.array([_time(asked, "time") if "time" in asked else self._present_s()])
        values = self.samples(asked.get("query", ""), at_s)
        if values is None or at_s[0] > self._present_s():
            return _success("vector", [])
        return _success("vector", [{"metric": {}, "value": [round(float(at_s[0]), 3), repr(float(values[0]))]}])

    async def _buildinfo(self) -> Response:
        return _json({"status": "success", "data": {"application": NAME, "version": NAME, "branch": "demo"}})

    async def _deployed(self, request: Request) -> Response:
        """`{"product": "epl-x", "change": "EPLX-2.8.0", "at_s": 1700000000}`: the deployer says what runs now."""
        said = await _said(request, "product", "change")
        self.plant.deploy(said["product"], said["change"], said["at_s"])
        return _json({"status": "success"})

    async def _rolled_back(self, request: Request) -> Response:
        """`{"product": "epl-x", "at_s": 1700000000}`: the last change is taken back."""
        said = await _said(request, "product")
        return _json({"status": "success", "data": {"change": self.plant.roll_back(said["product"], said["at_s"])}})


async def _parameters(request: Request) -> dict[str, str]:
    """Query string and form together, as Prometheus takes them."""
    asked = dict(request.query_params)
    if request.method == "POST":
        asked |= {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    return asked


async def _said(request: Request, *names: str) -> dict[str, Any]:
    try:
        said = orjson.loads(await request.body())
        at_s = said["at_s"]
        wrong = not all(isinstance(said[name], str) for name in names) or not isinstance(at_s, int | float)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        wrong = True
    if wrong:
        raise _BadData(f"a JSON object with {', '.join(names)} (text) and at_s (unix seconds) is needed")
    return dict(said)


def _time(asked: dict[str, str], name: str) -> float:
    text = asked.get(name, "")
    try:
        at_s = float(text) if re.fullmatch(r"[-+0-9.eE]+", text) else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise _BadData(f'invalid parameter "{name}": cannot parse {text!r} to a valid timestamp') from None
    if not abs(at_s) < 1e11:
        raise _BadData(f'invalid parameter "{name}": {text!r} is out of reach')
    return at_s


def _duration(text: str) -> float:
    form = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d|)", text)
    step_s = float(form[1]) * _UNITS[form[2]] if form else 0.0
    if step_s <= 0:
        raise _BadData(f'invalid parameter "step": {text!r} is not a positive duration')
    return step_s


def _success(kind: str, result: list[Any]) -> Response:
    return _json({"status": "success", "data": {"resultType": kind, "result": result}})


async def _refuse(_: Request, error: Exception) -> Response:
    return _json({"status": "error", "errorType": "bad_data", "error": str(error)}, 400)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, {"server": NAME}, "application/json")
