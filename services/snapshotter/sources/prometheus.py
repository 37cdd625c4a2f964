"""Prometheus' HTTP API, as Prometheus, Thanos, Mimir, VictoriaMetrics and Grafana's proxy speak it.

A query is sent as the policy's author wrote it; nothing is ever formatted into it. What comes back is believed only when
it is whole: one series, on the grid that was asked, without a warning that something is left away.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import httpx2
import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, ValidationError

from services.snapshotter.sources import Floats, Missing, Reading, Series, steps
from shared.telemetry import trace_headers

#: Prometheus answers at most 11,000 points a series; longer windows are read in parts.
MOST_POINTS = 11_000
#: Times travel as milliseconds; a step further off than this is not the step that was asked for.
OFF_GRID_S = 0.002
NOT_WHOLE = "partial answer: "
#: An answer of a day at 60 s is read in less than a millisecond, which is less than a thread costs. Larger ones are read
#: beside the loop, one after another: two threads would only take the interpreter from each other, and from the loop.
_AT_ONCE_BYTES = 100_000
_DECODER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prometheus-answers")


class PrometheusSettings(BaseModel):
    """What is behind the name of a source. `headers` carries credentials and tenants (`X-Scope-OrgID`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: str = "prometheus"
    url: HttpUrl  #: without `/api/v1`
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    timeout_s: float = Field(default=30, gt=0, le=600)  #: for one request, from first byte sent to last received
    at_once: int = Field(default=8, ge=1, le=64)  #: requests under way at the same time
    gzip: bool = False  #: for a source beyond a slow line: packing answers costs it more time than a local net needs
    max_bytes: int = Field(default=32_000_000, ge=1_000)  #: of one answer, unpacked
    ca_file: str | None = None  #: a PEM file to trust instead of the system's authorities


def open_source(name: str, settings: Mapping[str, Any]) -> PrometheusSource:
    """A source on these settings. Raises ValueError, without the values, when they do not fit."""
    try:
        return PrometheusSource(PrometheusSettings.model_validate(settings))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ValueError(f"source {name}: {wrong}") from None


class _Fault(Exception):
    """Carries a `Missing` out of the depth of an answer; never leaves this file."""

    def __init__(self, reason: str, *, retry: bool) -> None:
        super().__init__(reason)
        self.missing = Missing(reason, retry)


class PrometheusSource:
    """Reads one series per query over `query_range`. Used from one event loop."""

    def __init__(self, settings: PrometheusSettings, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._address = str(settings.url).rstrip("/") + "/api/v1/query_range"
        self._free = asyncio.Semaphore(settings.at_once)
        self._method = "POST"
        self._client = httpx2.AsyncClient(
            transport=transport,
            headers={
                "Accept-Encoding": "gzip" if settings.gzip else "identity",
                **{name: value.get_secret_value() for name, value in settings.headers.items()},
            },
            timeout=settings.timeout_s,
            follow_redirects=False,  # a redirect could carry the credentials elsewhere
            trust_env=False,  # only the settings say how a source is reached
            verify=ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True,
            limits=httpx2.Limits(max_connections=settings.at_once),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def read(self, query: str, start_s: float, end_s: float, step_s: int) -> Reading:
        """One number per step of `[start, end)`, or `Missing`. Windows beyond 11,000 steps are read in parts.

        Raises ValueError when the window makes no sense.
        """
        total = steps(start_s, end_s, step_s)
        values: Floats = np.full(total, np.nan)
        notes: list[str] = []
        names: dict[str, str] | None = None
        try:
            for first in range(0, total, MOST_POINTS):
                grid = _Grid(start_s + first * step_s, step_s, min(MOST_POINTS, total - first))
                part = await self._ask(query, grid)
                notes += [note for note in part.notes if note not in notes]
                if part.metric is None:
                    continue
                if names is not None and part.metric != names:  # each part has one series, but not the same one
                    raise _Fault("the query returns 2 series over this window, one is needed", retry=False)
                names = part.metric
                values[first : first + grid.count] = part.values
        except _Fault as fault:
            return fault.missing
        if names is None:
            return Missing("no series: the source knows nothing by this query in this window")
        endless = int(np.isinf(values).sum())
        if endless:
            values[np.isinf(values)] = np.nan
            notes.append(f"{endless} of {total} values were infinite (a division by zero?) and are taken as not read")
        if np.isnan(values).all():
            return Missing(f"no numbers: all {total} steps are NaN, infinite or absent")
        return Series(values, tuple(notes))

    async def _ask(self, query: str, grid: _Grid) -> _Part:
        """What one request brings. Raises _Fault."""
        timeout_s = self._settings.timeout_s
        form = {
            "query": query,
            "start": f"{grid.start_s:.3f}",
            "end": f"{grid.start_s + (grid.count - 1) * grid.step_s:.3f}",  # the API's window is closed
            "step": str(grid.step_s),
            "timeout": f"{timeout_s:g}s",  # the server need not go on when we have left
            "partial_response": "false",  # Thanos: half an answer looks like a drop
            "nocache": "1",  # VictoriaMetrics: otherwise it moves start and end
        }
        async with self._free:
            try:
                async with asyncio.timeout(timeout_s):
                    status, body = await self._send(form)
            except (TimeoutError, httpx2.TimeoutException):
                raise _Fault(f"the source did not answer within {timeout_s:g} s", retry=True) from None
            except httpx2.ConnectError as error:
                raise _Fault(f"the source cannot be reached: {_plain(str(error))}", retry=True) from None
            except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
                raise _Fault(
                    f"the connection broke off: {_plain(str(error) or type(error).__name__)}", retry=True
                ) from None
            if len(body) < _AT_ONCE_BYTES:
                return _part(status, body, grid)
            return await asyncio.get_running_loop().run_in_executor(_DECODER, _part, status, body, grid)

    async def _send(self, form: dict[str, str]) -> tuple[int, bytes]:
        """(HTTP status, body). POST, since queries are long; GET when that is all the source takes, remembered."""
        if self._method == "POST":
            status, body = await self._receive(
                self._client.build_request("POST", self._address, data=form, headers=trace_headers())
            )
            if status != 405:
                return status, body
            self._method = "GET"
        return await self._receive(
            self._client.build_request("GET", self._address, params=form, headers=trace_headers())
        )

    async def _receive(self, request: httpx2.Request) -> tuple[int, bytes]:
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._settings.max_bytes:
                    raise _Fault(f"the answer is larger than {self._settings.max_bytes:,} bytes", retry=False)
            return response.status_code, bytes(body)
        finally:
            await response.aclose()


@dataclass(frozen=True, slots=True)
class _Grid:
    """The steps of one request."""

    start_s: float
    step_s: int
    count: int


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """What one request brought: (count,) values of the one series that `metric` names; None when there is no series."""

    metric: dict[str, str] | None
    values: Floats
    notes: list[str]


def _part(status: int, body: bytes, grid: _Grid) -> _Part:
    """An answer, believed only when it is whole. Raises _Fault."""
    answer = _parsed(body)
    _refuse_bad_status(status, answer)
    said = answer if isinstance(answer, dict) else {}
    notes = _notes(said)
    series = _only_series(said)
    if series is None:
        return _Part(None, np.empty(0), notes)
    return _Part(series["metric"], _on_grid(series, grid), notes)


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _refuse_bad_status(status: int, answer: object) -> None:
    """Raises _Fault unless this is a success, by HTTP's word and by the API's own."""
    said = answer if isinstance(answer, dict) else {}
    words = f": {_plain(said['error'])}" if isinstance(said.get("error"), str) else ""
    if status in (400, 422):
        raise _Fault(f"the source refuses the query (HTTP {status}){words}", retry=False)
    if 300 <= status < 400:
        raise _Fault(f"the source points elsewhere (HTTP {status}); its settings need the final address", retry=True)
    if status in (401, 403):
        raise _Fault(f"the source does not let us in (HTTP {status}){words}", retry=True)
    if status == 429:
        raise _Fault(f"the source is asked too often (HTTP 429){words}", retry=True)
    if status != 200:
        raise _Fault(f"the source answers with an error (HTTP {status}){words}", retry=True)
    if not isinstance(answer, dict):
        raise _Fault("the source answers with something that is not a Prometheus answer", retry=True)
    if said.get("status") != "success":
        raise _Fault(f"the source says HTTP 200 and status {_plain(said.get('status'))}{words}", retry=True)


def _notes(answer: dict[str, Any]) -> list[str]:
    """Remarks that leave the numbers whole. Raises _Fault for every remark that does not.

    Warnings come with partial answers (a store is down, samples were dropped). Infos are Prometheus' remarks on style
    ("metric might not be a counter"), except when they, too, say that something was ignored.
    """
    warnings, infos = answer.get("warnings") or [], answer.get("infos") or []
    if not isinstance(warnings, list) or not isinstance(infos, list):
        raise _Fault("the source's warnings cannot be read", retry=True)
    if warnings:
        # A remark of the query language is about the query and stays; anything else is about the store.
        retry = not all(str(warning).startswith("PromQL") for warning in warnings)
        raise _Fault(NOT_WHOLE + _plain("; ".join(map(str, warnings))), retry=retry)
    if answer.get("isPartial"):  # VictoriaMetrics
        raise _Fault(NOT_WHOLE + "some of the source's storage nodes did not answer", retry=True)
    for info in map(str, infos):
        if not info.startswith("PromQL info:") or "ignor" in info:
            raise _Fault(NOT_WHOLE + _plain(info), retry=False)
    return [_plain(info) for info in infos]


def _only_series(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The one series of an answer, None when it has none. Raises _Fault for several, or for another shape."""
    data = answer.get("data")
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(data, dict) or data.get("resultType") != "matrix" or not isinstance(result, list):
        raise _Fault("the answer is not a matrix of series", retry=True)
    if len(result) > 1:
        raise _Fault(f"the query returns {len(result)} series, one is needed", retry=False)
    if not result:
        return None
    if not isinstance(result[0], dict) or not isinstance(result[0].get("metric"), dict):
        raise _Fault("the answer's series cannot be read", retry=True)
    if result[0].get("histograms"):
        raise _Fault("the query returns histograms, numbers are needed", retry=False)
    return result[0]


def _on_grid(series: dict[str, Any], grid: _Grid) -> Floats:
    """(count,) float64: each sample at its step, NaN where there is none. Raises _Fault for samples off the grid."""
    samples = series.get("values")
    if not isinstance(samples, list):
        raise _Fault("the series' samples cannot be read", retry=True)
    values: Floats = np.full(grid.count, np.nan)
    if not samples:
        return values
    try:
        if {*map(len, samples)} != {2}:
            raise ValueError("no pairs")
        flat = [*chain.from_iterable(samples)]
        times, numbers = _times(flat[::2]), _numbers(flat[1::2])
    except (TypeError, ValueError, OverflowError):
        raise _Fault("a sample in the answer is not a time and a number", retry=True) from None
    place = np.rint((times - grid.start_s) / grid.step_s)
    off = np.abs(times - (grid.start_s + place * grid.step_s)) > OFF_GRID_S
    if off.any():
        raise _Fault("the source answers for other times than it was asked for", retry=False)
    if place[0] < 0 or place[-1] >= grid.count or (np.diff(place) < 1).any():
        raise _Fault("the source answers outside the window, or twice for one step", retry=True)
    values[place.astype(np.intp)] = numbers
    return values


# Checks over a whole column at once: a loop in Python over 11,000 samples costs more than everything else together.


def _times(at: list[object]) -> Floats:
    if not {*map(type, at)} <= {int, float}:
        raise ValueError("no time")
    times: Floats = np.array(at, dtype=np.float64)
    if not np.isfinite(times).all():
        raise ValueError("no time")
    return times


def _numbers(texts: list[str]) -> Floats:
    """The API writes numbers as text, so that NaN and Inf survive. Python would also read "1_0", " 1 ", foreign digits."""
    line = "".join(texts)
    if not line.isascii() or "_" in line or line.split(maxsplit=1) != [line]:
        raise ValueError("no number")
    return np.fromiter(map(float, texts), dtype=np.float64, count=len(texts))


def _plain(words: object) -> str:
    """One line that is safe to keep and to show: a source's words are a stranger's."""
    line = "".join(c if c.isprintable() else " " for c in str(words))
    return line if len(line) <= 300 else line[:299] + "…"


__all__ = ["MOST_POINTS", "PrometheusSettings", "PrometheusSource", "open_source"]
