"""The samples of a snapshot, alone or beside another's: read a few series at a time, and streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from services.snapshotter import domain, store
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.keeping import with_samples
from services.snapshotter.handlers.reading import visible_snapshot
from services.snapshotter.samples import RANKS, plots, unpack
from services.snapshotter.samples.plots import Grid, Line
from services.snapshotter.samples.writers import ArrowWriter, CsvWriter, JsonWriter, Shown, Writer
from services.snapshotter.sources import Floats, steps
from services.snapshotter.store import KeptSeries
from shared.access import Call
from shared.errors import Conflict, Invalid, NotFound

Format = Literal["json", "csv", "arrow"]

#: Series fetched and written together.
AT_ONCE = 20


@dataclass(frozen=True, eq=False)
class Streamed:
    """An answer on its way: its media type, and its bytes in pieces."""

    media_type: str
    pieces: AsyncIterator[bytes]


@dataclass(frozen=True, eq=False)
class _Side:
    """One snapshot of an answer."""

    of: domain.Snapshot
    series: Mapping[str, KeptSeries]
    grid: Grid


async def read_series(
    deps: Deps,
    call: Call,
    snapshot_id: str,
    *,
    slis: Sequence[str] = (),
    beside: str | None = None,
    points: int | None = None,
    form: Format = "json",
) -> Streamed:
    """Samples of some SLIs of a snapshot, or of all; `beside` another, by time of day; at most `points` steps of each.

    What has expired is shown by its hourly roll-up, and what stands beside it as well. Raises NotFound; Invalid when the two
    have other steps; Conflict when one of the two is gone meanwhile; Unavailable when an object store fails.
    """
    async with deps.db.read(call) as tx:
        mine = _side(await visible_snapshot(tx, snapshot_id), await store.series_of(tx, snapshot_id, slis or None))
        other = None
        if beside is not None:
            wanted = list(mine.series)
            other = _side(await visible_snapshot(tx, beside), await store.series_of(tx, beside, wanted))
        hashes = {one.place.payload for side in (mine, other) if side for one in side.series.values() if one.place}
        gone = {each.hash for each in (await store.payloads_at(tx, hashes)).values() if each.expired_at is not None}
    for sli in slis:
        if sli not in mine.series:
            raise NotFound(f"{snapshot_id} has no SLI {sli}.")
    if other is not None and other.grid.step_s != mine.grid.step_s:
        steps_s = f"{mine.grid.step_s} s and {other.grid.step_s} s"
        raise Invalid(f"{snapshot_id} and {beside} have steps of {steps_s}: they cannot be laid over each other.")
    is_hourly = bool(gone)
    writer = _writer(form, mine, other, is_hourly=is_hourly, points=points)
    pieces = _pieces(deps, writer, mine, other, is_hourly, points)
    first = await anext(pieces)  # so that what cannot be read at all is a problem, and not half an answer

    async def all_of_it() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return Streamed(writer.media_type, all_of_it())


def _side(of: domain.Snapshot, series: Sequence[KeptSeries]) -> _Side:
    start_s = of.window.start.timestamp()
    count = steps(start_s, of.window.end.timestamp(), of.window.step_s)
    return _Side(of, {one.sli: one for one in series}, Grid(start_s, of.window.step_s, count))


def _writer(form: Format, mine: _Side, other: _Side | None, *, is_hourly: bool, points: int | None) -> Writer:
    if form == "json":
        grid = mine.grid.hourly() if is_hourly else mine.grid
        grid = grid.thinned(points) if points else grid
        head: dict[str, Any] = {"snapshot": mine.of.id, "start_s": grid.start_s, "step_s": grid.step_s}
        head |= {"steps": grid.count, "resolution": "hourly" if is_hourly else "raw"}
        return JsonWriter({**head, "with": other.of.id if other else None})
    columns = ("min", "max") if points else tuple(RANKS) if is_hourly else ("value",)
    rows = CsvWriter if form == "csv" else ArrowWriter
    return rows(columns, is_paired=other is not None)


async def _pieces(
    deps: Deps, writer: Writer, mine: _Side, other: _Side | None, is_hourly: bool, points: int | None
) -> AsyncIterator[bytes]:
    """The bytes of the answer, a few series at a time."""
    ids = list(mine.series)
    written = writer.begin()
    for first in range(0, len(ids), AT_ONCE):
        some = [mine.series[sli] for sli in ids[first : first + AT_ONCE]]
        theirs = [other.series[one.sli] for one in some if one.sli in other.series] if other else []
        if not is_hourly:  # roll-ups lie in the rows themselves
            fetched = await with_samples(deps, [*some, *theirs])
            some, theirs = fetched[: len(some)], fetched[len(some) :]
        beside = {one.sli: one for one in theirs}
        yield written + await asyncio.to_thread(_written, writer, some, mine, other, beside, is_hourly, points)
        written = b""
    yield written + writer.end()


def _written(
    writer: Writer,
    some: Sequence[KeptSeries],
    mine: _Side,
    other: _Side | None,
    beside: Mapping[str, KeptSeries],
    is_hourly: bool,
    points: int | None,
) -> bytes:
    parts = []
    for one in some:
        about: dict[str, Any] = _about(one)
        theirs = beside.get(one.sli)
        line = _line(one, mine.grid, is_hourly)
        second = None
        if other is not None:
            about["with"] = _about(theirs) if theirs else {"missing": f"{other.of.id} has no such SLI"}
            found = _line(theirs, other.grid, is_hourly) if theirs else None
            if found is not None:
                second = plots.at_the_same_time_of_day(found, mine.grid.hourly() if is_hourly else mine.grid)
        if points:
            line = plots.thinned(line, points) if line else None
            second = plots.thinned(second, points) if second else None
        parts.append(writer.piece(Shown(one.sli, about, line, second)))
    return b"".join(parts)


def _line(one: KeptSeries, grid: Grid, is_hourly: bool) -> Line | None:
    if one.place is None:
        return None
    if is_hourly:
        hours = grid.hourly().count
        rolled: Floats = unpack(one.rollup or b"", len(RANKS) * hours).reshape(len(RANKS), hours)
        return plots.rolled_line(rolled, grid)
    if one.packed is None:
        raise Conflict("These samples expired while they were read; ask again for what stays of them.")
    return plots.raw_line(unpack(one.packed, grid.count), grid)


def _about(one: KeptSeries) -> dict[str, Any]:
    return {
        "sli": one.sli,
        "title": one.title,
        "unit": one.unit,
        "query": one.query,
        "source": one.source,
        "hash": one.hash,
        "missing": one.missing,
    }
