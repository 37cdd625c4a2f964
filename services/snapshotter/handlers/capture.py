"""Reading a window from the sources: concurrent, bounded, done by a deadline, whatever the sources do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog

from services.snapshotter.domain import Window
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.keeping import uploaded
from services.snapshotter.samples import Sampled, bundle, content_hash, pack, roll_up
from services.snapshotter.sources import Floats, Missing, Reading, Series, Source, steps
from services.snapshotter.store import Kept, KeptSeries
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


async def capture(
    sources: Mapping[str, Source],
    slis: Sequence[SLI],
    window: Window,
    *,
    deadline_s: float,
    known: Mapping[str, Series] | None = None,
) -> Captured:
    """Read every SLI over `window`, but for those that are `known`, by id: an earlier try has read them.

    Never raises for a source: what is not there by the deadline is missing.
    """
    known = known or {}
    free = asyncio.Semaphore(AT_ONCE)
    start_s, end_s = window.start.timestamp(), window.end.timestamp()
    expected = steps(start_s, end_s, window.step_s)

    async def one(sli: SLI) -> Reading:
        if sli.id in known:
            return known[sli.id]
        source = sources.get(sli.source)
        if source is None:
            return Missing(f"source {sli.source} is not configured here")
        async with free:
            try:
                found = await source.read(sli.query, start_s, end_s, window.step_s, sli.match)
            except Exception as error:  # a source's own bug must not cost the other SLIs their snapshot
                _log.exception("a source failed", source=sli.source, sli=sli.id)
                return Missing(f"source {sli.source} failed: {type(error).__name__}", retry=True)
        if isinstance(found, Missing):
            return replace(found, reason=found.reason[:_REASON_LENGTH].replace("\0", ""))
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
    """The rows and the payload of a capture: packed samples, hashes and numbers. CPU work: call it in a thread."""
    start_s, step_s = captured.window.start.timestamp(), captured.window.step_s
    sampled = {
        sli.id: Sampled(sli.asked, sli.source, reading)
        for sli, reading in zip(captured.slis, captured.readings, strict=True)
    }
    made = bundle(None if isinstance(reading, Missing) else reading.values for reading in captured.readings)
    return Kept(
        tuple(
            replace(
                _row(sli, sampled[sli.id].reading, content_hash(start_s, step_s, {sli.id: sampled[sli.id]}), step_s),
                place=place,
                packed=None if place is None else made.data[place.first : place.first + place.length],
            )
            for sli, place in zip(captured.slis, made.places, strict=True)
        ),
        content_hash(start_s, step_s, sampled),
        made,
    )


async def prepared(deps: Deps, captured: Captured) -> Kept:
    """A capture, ready for the transaction that keeps it: packed by a worker, and uploaded when it is large.

    Raises Unavailable when the object store fails.
    """
    made = await deps.workers.run(keep, captured)
    return replace(made, bundle=await uploaded(deps, made.bundle))


def _row(sli: SLI, reading: Reading, hashed: str, step_s: int) -> KeptSeries:
    values: Floats | None = None if isinstance(reading, Missing) else reading.values
    there = np.empty(0) if values is None else values[np.isfinite(values)]
    low, median, p95, high = (float(q) for q in np.quantile(there, (0, 0.5, 0.95, 1))) if there.size else (None,) * 4
    return KeptSeries(
        sli=sli.id,
        title=sli.title,
        unit=sli.unit,
        source=sli.source,
        query=sli.asked,
        missing=reading.reason if isinstance(reading, Missing) else None,
        silent=isinstance(reading, Missing) and reading.silent,
        warnings=() if isinstance(reading, Missing) else tuple(w.replace("\0", "") for w in reading.warnings),
        hash=hashed,
        n=int(there.size),
        min=low,
        median=median,
        p95=p95,
        max=high,
        rollup=None if values is None else pack(roll_up(values, step_s).ravel()),
    )
