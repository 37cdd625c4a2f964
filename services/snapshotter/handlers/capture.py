"""Reading a window from the sources: concurrent, bounded, done by a deadline, whatever the sources do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from services.snapshotter.domain import Window
from services.snapshotter.samples import Sampled, content_hash, pack
from services.snapshotter.sources import Floats, Missing, Reading, Source, steps
from services.snapshotter.store import KeptSeries
from shared.contracts import SLI, MissingSLI

_log = structlog.get_logger(__name__)

#: Reads under way in one capture; each source bounds itself further.
AT_ONCE = 32
_REASON_LENGTH = 500


@dataclass(frozen=True, eq=False)
class Captured:
    """One window of some SLIs, `readings[i]` being that of `slis[i]`."""

    window: Window
    slis: tuple[SLI, ...]
    readings: tuple[Reading, ...]

    @property
    def missing(self) -> tuple[MissingSLI, ...]:
        return tuple(
            MissingSLI(sli=sli.id, reason=reading.reason)
            for sli, reading in zip(self.slis, self.readings, strict=True)
            if isinstance(reading, Missing)
        )

    @property
    def is_all_missing(self) -> bool:
        return all(isinstance(reading, Missing) for reading in self.readings)

    @property
    def worth_waiting(self) -> tuple[MissingSLI, ...]:
        """What is missing now and may come when asked again."""
        return tuple(
            MissingSLI(sli=sli.id, reason=reading.reason)
            for sli, reading in zip(self.slis, self.readings, strict=True)
            if isinstance(reading, Missing) and reading.retry
        )


@dataclass(frozen=True, eq=False)
class Kept:
    """A capture as it will lie in the tables."""

    series: tuple[KeptSeries, ...]
    content_hash: str


async def capture(sources: Mapping[str, Source], slis: Sequence[SLI], window: Window, *, deadline_s: float) -> Captured:
    """Read every SLI over `window`. Never raises for a source: what is not there by the deadline is missing."""
    free = asyncio.Semaphore(AT_ONCE)
    expected = steps(window.start.timestamp(), window.end.timestamp(), window.step_s)

    async def one(sli: SLI) -> Reading:
        source = sources.get(sli.source)
        if source is None:
            return Missing(f"source {sli.source} is not configured here")
        async with free:
            try:
                found = await source.read(sli.query, window.start.timestamp(), window.end.timestamp(), window.step_s)
            except Exception as error:  # a source's own bug must not cost the other SLIs their snapshot
                _log.exception("a source failed", source=sli.source, sli=sli.id)
                return Missing(f"source {sli.source} failed: {type(error).__name__}", retry=True)
        if isinstance(found, Missing):
            return Missing(found.reason[:_REASON_LENGTH].replace("\0", ""), found.retry)
        if np.shape(found.values) != (expected,):
            return Missing(f"source {sli.source} gave {np.shape(found.values)} values for {expected} steps")
        return found

    tasks = [asyncio.create_task(one(sli)) for sli in slis]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=deadline_s)
        readings = tuple(
            task.result()
            if task.done()
            else Missing(f"source {sli.source} was not done within {deadline_s:g} s", retry=True)
            for sli, task in zip(slis, tasks, strict=True)
        )
    finally:
        late = [task for task in tasks if not task.done()]
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=2)
    return Captured(window, tuple(slis), readings)


def keep(captured: Captured) -> Kept:
    """The rows of a capture: packed samples, hashes and numbers. CPU work: call it in a thread."""
    start_s, step_s = captured.window.start.timestamp(), captured.window.step_s
    sampled = {
        sli.id: Sampled(sli.query, sli.source, reading)
        for sli, reading in zip(captured.slis, captured.readings, strict=True)
    }
    return Kept(
        tuple(
            _row(sli, sampled[sli.id].reading, content_hash(start_s, step_s, {sli.id: sampled[sli.id]}))
            for sli in captured.slis
        ),
        content_hash(start_s, step_s, sampled),
    )


def _row(sli: SLI, reading: Reading, hashed: str) -> KeptSeries:
    values: Floats | None = None if isinstance(reading, Missing) else reading.values
    there = np.empty(0) if values is None else values[np.isfinite(values)]
    low, median, p95, high = (float(q) for q in np.quantile(there, (0, 0.5, 0.95, 1))) if there.size else (None,) * 4
    return KeptSeries(
        sli=sli.id,
        title=sli.title,
        unit=sli.unit,
        source=sli.source,
        query=sli.query,
        missing=reading.reason if isinstance(reading, Missing) else None,
        warnings=() if isinstance(reading, Missing) else tuple(w.replace("\0", "") for w in reading.warnings),
        hash=hashed,
        n=int(there.size),
        min=low,
        median=median,
        p95=p95,
        max=high,
        payload=None if values is None else pack(values),
    )
