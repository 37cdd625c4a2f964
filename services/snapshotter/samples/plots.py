"""Samples for the eye: two windows laid over each other by time of day, and as few points as a screen has, spikes included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.snapshotter.samples.rollups import RANKS, roll_up, steps_an_hour
from services.snapshotter.sources import Floats

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps at `start_s + i * step_s` (unix seconds), `count` of them."""

    start_s: float
    step_s: int
    count: int

    def hourly(self) -> Grid:
        block = steps_an_hour(self.step_s)
        return Grid(self.start_s, self.step_s * block, -(-self.count // block))

    def thinned(self, points: int) -> Grid:
        block = -(-self.count // points)
        return Grid(self.start_s, self.step_s * block, -(-self.count // block))


@dataclass(frozen=True, eq=False, slots=True)
class Line:
    """One SLI on a grid: `columns` of (count,) each. `value` alone, or `min` and `max` and what else is known between."""

    grid: Grid
    columns: Mapping[str, Floats]


def raw_line(values: Floats, grid: Grid) -> Line:
    """The samples as they are."""
    return Line(grid, {"value": values})


def hourly_line(values: Floats, grid: Grid) -> Line:
    """The samples as the roll-up that stays of them."""
    return rolled_line(roll_up(values, grid.step_s), grid)


def rolled_line(rolled: Floats, grid: Grid) -> Line:
    """A stored roll-up, (4, H), of samples on `grid`."""
    return Line(grid.hourly(), dict(zip(RANKS, rolled, strict=True)))


def thinned(line: Line, points: int) -> Line:
    """At most `points` steps, each with the least and the largest of what it stands for; NaN where there is nothing.

    Lines that are shorter are as they were, but in the same two columns.
    """
    grid = line.grid.thinned(points)
    block = grid.step_s // line.grid.step_s
    low = line.columns["min" if "min" in line.columns else "value"]
    high = line.columns["max" if "max" in line.columns else "value"]
    return Line(grid, {"min": _by_block(low, block, np.fmin), "max": _by_block(high, block, np.fmax)})


def _by_block(values: Floats, block: int, least: np.ufunc) -> Floats:
    found: Floats = least.reduceat(values, np.arange(0, values.size, block)) if values.size else values
    return found


def at_the_same_time_of_day(line: Line, grid: Grid) -> Line:
    """`line` as seen from another grid of the same step: each of its steps where the clock (UTC) shows the same.

    Within half a step; NaN where the line has no such time.
    """
    if line.grid.step_s != grid.step_s:
        raise ValueError("only grids of the same step can be laid over each other")
    here = grid.start_s + grid.step_s * np.arange(grid.count)
    # Half a step is added before the day is taken off, so that what lies just before midnight does not jump a day.
    half = grid.step_s / 2
    place: npt.NDArray[np.intp] = (((here - line.grid.start_s + half) % DAY_S) // grid.step_s).astype(np.intp)
    known = place < line.grid.count
    columns = {}
    for name, values in line.columns.items():
        columns[name] = np.full(grid.count, np.nan)
        columns[name][known] = values[place[known]]
    return replace(line, grid=grid, columns=columns)
