"""Prometheus' HTTP API, as Prometheus, Thanos, Mimir, VictoriaMetrics, Grafana's proxy and Amazon speak it.

A query is sent as the policy's author wrote it; what is to be matched on is put into it by a parser, never as text. What
comes back is believed only when it is whole: one series, on the grid that was asked, without a warning that something is
left away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import httpx2
import numpy as np
import orjson
from pydantic import Field, HttpUrl, SecretStr

from services.snapshotter.sources import Floats, Missing, Reading, Series, steps
from services.snapshotter.sources._http import Fault, Limits, client, fitting, in_time, plain, received
from services.snapshotter.sources._promql import injected
from services.snapshotter.sources._sigv4 import AmazonKeys, Signed
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


class PrometheusSettings(Limits):
    """What is behind the name of a source. `headers` carries credentials and tenants (`X-Scope-OrgID`)."""

    kind: str = "prometheus"
    url: HttpUrl  #: without `/api/v1`
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    aws: AmazonKeys | None = None  #: for Amazon, which wants each request signed


def open_source(name: str, settings: Mapping[str, Any]) -> PrometheusSource:
    """A source on these settings. Raises ValueError, without the values, when they do not fit."""
    return PrometheusSource(fitting(PrometheusSettings, name, settings))


class PrometheusSource:
    """Reads one series per query over `query_range`. Used from one event loop."""

    def __init__(self, settings: PrometheusSettings, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._address = str(settings.url).rstrip("/") + "/api/v1/query_range"
        self._free = asyncio.Semaphore(settings.at_once)
        self._method = "POST"
        self._client = client(
            {name: value.get_secret_value() for name, value in settings.headers.items()},
            settings,
            transport,
            Signed(settings.aws) if settings.aws else None,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def read(
        self, query: str, start_s: float, end_s: float, step_s: int, match: Mapping[str, str] | None = None
    ) -> Reading:
        """One number per step of `[start, end)`, or `Missing`. Windows beyond 11,000 steps are read in parts.

        Raises ValueError when the window makes no sense.
        """
        total = steps(start_s, end_s, step_s)
        try:
            query = injected(query, match or {})
        except ValueError as error:
            return Missing(plain(error), fault="refused")
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
                    raise Fault(
                        "the query returns 2 series over this window, one is needed", retry=False, fault="several"
                    )
                names = part.metric
                values[first : first + grid.count] = part.values
        except Fault as fault:
            return fault.missing
        if names is None:
            words = "no series: the source knows nothing by this query in this window"
            return Missing(words, fault="nothing", silent=True)
        endless = int(np.isinf(values).sum())
        if endless:
            values[np.isinf(values)] = np.nan
            notes.append(f"{endless} of {total} values were infinite (a division by zero?) and are taken as not read")
        if np.isnan(values).all():
            words = f"no numbers: all {total} steps are NaN, infinite or absent"
            return Missing(words, fault="no_numbers", silent=not endless)  # an infinity was said, and not understood
        return Series(values, tuple(notes))

    async def _ask(self, query: str, grid: _Grid) -> _Part:
        """What one request brings. Raises Fault."""
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
            status, body = await in_time(self._send(form), timeout_s)
            if len(body) < _AT_ONCE_BYTES:
                return _part(status, body, grid)
            return await asyncio.get_running_loop().run_in_executor(_DECODER, _part, status, body, grid)

    async def _send(self, form: dict[str, str]) -> tuple[int, bytes]:
        """(HTTP status, body). POST, since queries are long; GET when that is all the source takes, remembered."""
        if self._method == "POST":
            request = self._client.build_request("POST", self._address, data=form, headers=trace_headers())
            status, _, body = await received(self._client, request, self._settings.max_bytes)
            if status != 405:
                return status, body
            self._method = "GET"
        request = self._client.build_request("GET", self._address, params=form, headers=trace_headers())
        status, _, body = await received(self._client, request, self._settings.max_bytes)
        return status, body


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
    """An answer, believed only when it is whole. Raises Fault."""
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
    """Raises Fault unless this is a success, by HTTP's word and by the API's own."""
    said = answer if isinstance(answer, dict) else {}
    words = f": {plain(said['error'])}" if isinstance(said.get("error"), str) else ""
    if status in (400, 422):
        raise Fault(f"the source refuses the query (HTTP {status}){words}", retry=False, fault="refused")
    if 300 <= status < 400:
        raise Fault(f"the source points elsewhere (HTTP {status}); its settings need the final address", retry=True)
    if status in (401, 403):
        raise Fault(f"the source does not let us in (HTTP {status}){words}", retry=True)
    if status == 429:
        raise Fault(f"the source is asked too often (HTTP 429){words}", retry=True)
    if status != 200:
        raise Fault(f"the source answers with an error (HTTP {status}){words}", retry=True)
    if not isinstance(answer, dict):
        raise Fault("the source answers with something that is not a Prometheus answer", retry=True)
    if said.get("status") != "success":
        raise Fault(f"the source says HTTP 200 and status {plain(said.get('status'))}{words}", retry=True)


def _notes(answer: dict[str, Any]) -> list[str]:
    """Remarks that leave the numbers whole. Raises Fault for every remark that does not.

    Warnings come with partial answers (a store is down, samples were dropped). Infos are Prometheus' remarks on style
    ("metric might not be a counter"), except when they, too, say that something was ignored.
    """
    warnings, infos = answer.get("warnings") or [], answer.get("infos") or []
    if not isinstance(warnings, list) or not isinstance(infos, list):
        raise Fault("the source's warnings cannot be read", retry=True)
    if warnings:
        # A remark of the query language is about the query and stays; anything else is about the store.
        retry = not all(str(warning).startswith("PromQL") for warning in warnings)
        raise Fault(NOT_WHOLE + plain("; ".join(map(str, warnings))), retry=retry)
    if answer.get("isPartial"):  # VictoriaMetrics
        raise Fault(NOT_WHOLE + "some of the source's storage nodes did not answer", retry=True)
    for info in map(str, infos):
        if not info.startswith("PromQL info:") or "ignor" in info:
            raise Fault(NOT_WHOLE + plain(info), retry=False)
    return [plain(info) for info in infos]


def _only_series(answer: dict[str, Any]) -> dict[str, Any] | None:
    """The one series of an answer, None when it has none. Raises Fault for several, or for another shape."""
    data = answer.get("data")
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(data, dict) or data.get("resultType") != "matrix" or not isinstance(result, list):
        raise Fault("the answer is not a matrix of series", retry=True)
    if len(result) > 1:
        raise Fault(f"the query returns {len(result)} series, one is needed", retry=False, fault="several")
    if not result:
        return None
    if not isinstance(result[0], dict) or not isinstance(result[0].get("metric"), dict):
        raise Fault("the answer's series cannot be read", retry=True)
    if result[0].get("histograms"):
        raise Fault("the query returns histograms, numbers are needed", retry=False)
    return result[0]


def _on_grid(series: dict[str, Any], grid: _Grid) -> Floats:
    """(count,) float64: each sample at its step, NaN where there is none. Raises Fault for samples off the grid."""
    samples = series.get("values")
    if not isinstance(samples, list):
        raise Fault("the series' samples cannot be read", retry=True)
    values: Floats = np.full(grid.count, np.nan)
    if not samples:
        return values
    try:
        if {*map(len, samples)} != {2}:
            raise ValueError("no pairs")
        flat = [*chain.from_iterable(samples)]
        times, numbers = _times(flat[::2]), _numbers(flat[1::2])
    except (TypeError, ValueError, OverflowError):
        raise Fault("a sample in the answer is not a time and a number", retry=True) from None
    place = np.rint((times - grid.start_s) / grid.step_s)
    off = np.abs(times - (grid.start_s + place * grid.step_s)) > OFF_GRID_S
    if off.any():
        raise Fault("the source answers for other times than it was asked for", retry=False)
    if place[0] < 0 or place[-1] >= grid.count or (np.diff(place) < 1).any():
        raise Fault("the source answers outside the window, or twice for one step", retry=True)
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


__all__ = ["MOST_POINTS", "PrometheusSettings", "PrometheusSource", "open_source"]
