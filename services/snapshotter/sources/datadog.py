"""Datadog's metrics API, `GET /api/v1/query`.

Left to itself Datadog chooses how much time one point stands for, and averages spikes away: so each metric of a query gets a
roll-up of exactly one step, and an answer with another interval is refused. Its points lie on whole multiples of the step;
each step of the window takes the point that it lies in. What can be asked per hour is limited, and Datadog says how much is
left: when nothing is, the source waits as long as it was told, or says that it cannot.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from typing import Any

import httpx2
import numpy as np
import orjson
from pydantic import HttpUrl, SecretStr

from services.snapshotter.sources import Floats, Missing, Reading, Series, steps
from services.snapshotter.sources._http import Fault, Limits, client, fitting, in_time, plain, received
from shared.telemetry import trace_headers

#: Datadog coarsens a query of more points than 1,500, whatever it is asked for: a day at a minute's step fits.
MOST_POINTS = 1_440
#: One metric of a query: `avg:trace.web.request{env:prod} by {service}.as_rate()`.
_METRIC = re.compile(
    r"(?P<over>[a-z][a-z0-9]*):[A-Za-z][A-Za-z0-9_.]*\{[^{}]*\}(?:\s*by\s*\{[^{}]*\})?(?P<more>(?:\.[a-z_]+\([^()]*\))*)"
)
_ROLLUP = re.compile(r"\.rollup\((?:\s*[a-z]+\s*,)?\s*(\d+)\s*\)")


class DatadogSettings(Limits):
    """What is behind the name of a source: which Datadog, and two keys of which the application key reads metrics."""

    kind: str = "datadog"
    url: HttpUrl = HttpUrl("https://api.datadoghq.com")  #: of the site that the organisation is on
    api_key: SecretStr
    application_key: SecretStr


def open_source(name: str, settings: Mapping[str, Any]) -> DatadogSource:
    """A source on these settings. Raises ValueError, without the values, when they do not fit."""
    return DatadogSource(fitting(DatadogSettings, name, settings))


class DatadogSource:
    """Reads one series per query. Used from one event loop."""

    def __init__(self, settings: DatadogSettings, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._address = str(settings.url).rstrip("/") + "/api/v1/query"
        self._free = asyncio.Semaphore(settings.at_once)
        self._closed_until = 0.0  #: the loop's time until which nothing is left to be asked
        keys = {
            "DD-API-KEY": settings.api_key.get_secret_value(),
            "DD-APPLICATION-KEY": settings.application_key.get_secret_value(),
        }
        self._client = client(keys, settings, transport)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def read(
        self, query: str, start_s: float, end_s: float, step_s: int, match: Mapping[str, str] | None = None
    ) -> Reading:
        """One number per step of `[start, end)`, or `Missing`; a day at a time. Raises ValueError for a senseless window."""
        total = steps(start_s, end_s, step_s)
        if match:
            return Missing("matchers cannot be put into a Datadog query: write the tags into it", fault="refused")
        values: Floats = np.full(total, np.nan)
        scope: object = None
        try:
            asked = rolled_up(query, step_s)
            for first in range(0, total, MOST_POINTS):
                count = min(MOST_POINTS, total - first)
                grid_s = math.floor((start_s + first * step_s) / step_s) * step_s
                series = await self._ask(asked, grid_s, grid_s + count * step_s - 1)
                if series is None:
                    continue
                if scope is not None and series.get("scope") != scope:
                    raise Fault(
                        "the query returns 2 series over this window, one is needed", retry=False, fault="several"
                    )
                scope = series.get("scope")
                values[first : first + count] = _on_grid(series, grid_s, step_s, count)
        except Fault as fault:
            return fault.missing
        if scope is None:
            words = "no series: the source knows nothing by this query in this window"
            return Missing(words, fault="nothing", silent=True)
        if np.isnan(values).all():
            return Missing(f"no numbers: all {total} steps are empty", fault="no_numbers", silent=True)
        return Series(values)

    async def _ask(self, query: str, from_s: int, to_s: int) -> dict[str, Any] | None:
        """The one series of one request, None when there is none. Raises Fault."""
        asked: dict[str, str | int] = {"query": query, "from": from_s, "to": to_s}
        async with self._free:
            await self._until_open()
            request = self._client.build_request("GET", self._address, params=asked, headers=trace_headers())
            status, headers, body = await in_time(
                received(self._client, request, self._settings.max_bytes), self._settings.timeout_s
            )
            left, opens_in_s = headers.get("x-ratelimit-remaining"), _seconds(headers.get("x-ratelimit-reset"))
            if opens_in_s is not None and (status == 429 or left == "0"):
                self._closed_until = asyncio.get_running_loop().time() + opens_in_s
        return _only_series(_whole(status, body))

    async def _until_open(self) -> None:
        """Wait until something may be asked again, unless that is longer than an answer may take. Raises Fault."""
        wait_s = self._closed_until - asyncio.get_running_loop().time()
        if wait_s > self._settings.timeout_s:
            raise Fault(f"Datadog's limit is used up for another {wait_s:.0f} s", retry=True)
        if wait_s > 0:
            await asyncio.sleep(wait_s)


def rolled_up(query: str, step_s: int) -> str:
    """The query with a roll-up of one step for each metric. Raises Fault when it has another, or cannot be read."""
    found = list(_METRIC.finditer(query))
    braces = sum(each.group().count("{") for each in found)
    if not found or braces != query.count("{"):
        raise Fault("this is no query of Datadog metrics that a roll-up can be put into", retry=False)
    parts, at = [], 0
    for each in found:
        parts.append(query[at : each.end()])
        at = each.end()
        own = _ROLLUP.search(each["more"])
        if own is not None:
            if int(own[1]) != step_s:
                raise Fault(f"the query rolls up {own[1]} s, and the policy's step is {step_s} s", retry=False)
        elif ".rollup(" in each["more"]:
            raise Fault("the query rolls up without saying how many seconds", retry=False)
        else:
            # Within a step: a count is summed, a least or largest stays one, all else is averaged.
            over = "sum" if ".as_count()" in each["more"] else each["over"] if each["over"] in ("min", "max") else "avg"
            parts.append(f".rollup({over}, {step_s})")
    return "".join([*parts, query[at:]])


def _seconds(text: str | None) -> float | None:
    """A number of seconds in a header; at most a day, whatever it says."""
    return min(float(text), 86_400.0) if text is not None and re.fullmatch(r"\d{1,9}", text) else None


def _whole(status: int, body: bytes) -> dict[str, Any]:
    """The parsed answer. Raises Fault unless it is a success by HTTP's word and by Datadog's own."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    said: dict[str, Any] = found if isinstance(found, dict) else {}
    errors = said.get("errors")
    told = said.get("error") or ("; ".join(map(str, errors)) if isinstance(errors, list) else "")
    words = f": {plain(told)}" if told else ""
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
    if said.get("status") != "ok" or words:
        raise Fault(f"the source says HTTP 200 and status {plain(said.get('status'))}{words}", retry=True)
    return said


def _only_series(answer: dict[str, Any]) -> dict[str, Any] | None:
    found = answer.get("series")
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Fault("the answer has no list of series", retry=True)
    if len(found) > 1:
        raise Fault(f"the query returns {len(found)} series, one is needed", retry=False, fault="several")
    return found[0] if found else None


def _on_grid(series: dict[str, Any], grid_s: int, step_s: int, count: int) -> Floats:
    """(count,) float64: each point at its step, NaN where there is none. Raises Fault for points of another interval."""
    points, interval = series.get("pointlist"), series.get("interval")
    if interval != step_s:
        raise Fault(f"the source answers in steps of {plain(interval)} s instead of {step_s} s", retry=False)
    values: Floats = np.full(count, np.nan)
    try:
        at = np.array([float(point[0]) for point in points or ()])
        numbers = np.array([math.nan if point[1] is None else float(point[1]) for point in points or ()])
    except (TypeError, ValueError, IndexError, OverflowError):
        raise Fault("a point in the answer is not a time and a number", retry=True) from None
    place = (at / 1000 - grid_s) / step_s
    if not np.isfinite(place).all() or (place != np.rint(place)).any():
        raise Fault("the source answers for other times than it was asked for", retry=False)
    # A point before or after the window, where a bucket begins that only touches it, is nobody's here.
    inside = (place >= 0) & (place < count)
    if (np.diff(place[inside]) < 1).any():
        raise Fault("the source answers twice for one step", retry=True)
    values[place[inside].astype(np.intp)] = numbers[inside]
    values[np.isinf(values)] = np.nan
    return values


__all__ = ["MOST_POINTS", "DatadogSettings", "DatadogSource", "open_source", "rolled_up"]
