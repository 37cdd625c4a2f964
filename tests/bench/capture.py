"""Reading 500 SLIs over 24 hours from a real Prometheus, against a client that only fetches and decodes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import orjson

from services.snapshotter.domain import Window
from services.snapshotter.handlers.capture import capture, keep
from services.snapshotter.sources import Series, open_source
from shared.contracts import SLI
from tests.bench.rows import alternately
from tests.servers.prometheus import serving

SLIS, DAY, STEP, TIMES, AT_ONCE = 500, timedelta(days=1), 60, 5, 32
START = datetime(2026, 3, 2, tzinfo=UTC)


def _openmetrics() -> str:
    """Each SLI a gauge of its own label, one sample a minute, with as many digits as a rate or a quantile has."""
    rng = random.Random(7)
    first = int(START.timestamp())
    lines = ["# TYPE sli gauge"]
    for n in range(SLIS):
        level = rng.uniform(0.1, 500)
        lines += [f'sli{{n="{n}"}} {level * rng.lognormvariate(0, 0.05)!r} {first + STEP * i}' for i in range(1440)]
    return "\n".join(lines) + "\n# EOF\n"


def _slis() -> list[SLI]:
    return [SLI(id=f"s{n}", title=f"S{n}", source="main", query=f'sli{{n="{n}"}}') for n in range(SLIS)]


async def _bare(url: str) -> float:
    """Seconds to fetch the same ranges, all at once as far as the connections go, and to decode them with orjson."""
    first = START.timestamp()
    form = {"start": f"{first:.3f}", "end": f"{first + 86_400 - STEP:.3f}", "step": str(STEP)}
    limits = httpx2.Limits(max_connections=AT_ONCE)
    async with httpx2.AsyncClient(timeout=60, trust_env=False, limits=limits) as client:

        async def fetch(query: str) -> int:
            answer = await client.post(f"{url}/api/v1/query_range", data={"query": query, **form})
            return len(orjson.loads(answer.content)["data"]["result"][0]["values"])

        began = time.perf_counter()
        counts = await asyncio.gather(*(fetch(sli.query) for sli in _slis()))
        took = time.perf_counter() - began
    assert set(counts) == {1440}, set(counts)
    return took


async def _ours(url: str, *, kept: bool = False) -> float:
    """Seconds until every series is an array; `kept`: and the snapshot is hashed and packed as well."""
    source = open_source("main", {"kind": "prometheus", "url": url})
    window = Window(START, START + DAY, STEP)
    try:
        began = time.perf_counter()
        captured = await capture({"main": source}, _slis(), window, deadline_s=120)
        if kept:
            await asyncio.to_thread(keep, captured)
        took = time.perf_counter() - began
    finally:
        await source.close()
    assert all(isinstance(reading, Series) and reading.values.size == 1440 for reading in captured.readings)
    return took


@contextmanager
def _warm() -> Iterator[str]:
    with serving(_openmetrics()) as url:
        asyncio.run(_bare(url))  # the first look at a block is nobody's to pay for
        yield url


def captured() -> dict[str, Any]:
    with _warm() as url:
        found = asyncio.run(alternately(TIMES, lambda: _ours(url), lambda: _bare(url)))
    what = f"{SLIS} SLIs x 24 h at {STEP} s as arrays, against httpx2 + orjson on {AT_ONCE} connections (<= 1.25)"
    return {**found, "unit": "s", "what": what}


def captured_and_kept() -> dict[str, Any]:
    with _warm() as url:
        found = asyncio.run(alternately(TIMES, lambda: _ours(url, kept=True), lambda: _bare(url)))
    return {**found, "unit": "s", "what": "the same, hashed and packed as well"}


BENCHES = {"capture": captured, "capture_kept": captured_and_kept}
