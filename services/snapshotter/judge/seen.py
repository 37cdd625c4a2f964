"""What is known of an SLI when its verdict is put into words: numbers of its days, and since when it moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.snapshotter.judge.align import DAY_S, HOURS
from services.snapshotter.judge.measures import Days
from services.snapshotter.judge.order import median
from services.snapshotter.judge.values import Floats, Ints, Rule
from services.snapshotter.judge.views.level import quarters
from services.snapshotter.judge.views.scale import scale_of

LASTING_S = 600.0  # a change that lasts so long has begun


@dataclass(frozen=True)
class Facts:
    """What every sentence needs, for a chunk of N SLIs at once and in the SLIs' own units; N numbers each."""

    usual: list[float]  # usual day-to-day movement, from the yardsticks of the two windows
    shifts: list[list[float]]  # median change in each quarter of the day
    shift: list[float]  # median change of the hours, in the power of two of the measures
    was: list[float]
    now: list[float]
    typical: list[float]  # what the level of earlier days differed by
    largest: list[float]  # the most it differed by from one earlier day to the next
    lowest: list[float]
    highest: list[float]
    read: list[list[float]]  # share of the steps read in the benchmark and after


def facts(x: Days, y: Days, benchmark: int, up: Ints) -> Facts:
    """Gather them; `up` is each SLI's power of two."""
    b, a = x.hour_mid[benchmark], y.hour_mid[0]
    both = np.isnan(b) | np.isnan(a)
    day = x.q[3]
    with np.errstate(all="ignore"):
        usual = scale_of(x, benchmark, y).usual
        hops = np.abs(np.diff(day, axis=0)) if len(day) > 1 else np.full((1, len(up)), np.nan)
        typical, largest = median(hops.T), np.fmax.reduce(hops)
    was, now = median(np.where(both, np.nan, b)), median(np.where(both, np.nan, a))
    was, now = np.where(np.isnan(was), x.q[3, benchmark], was), np.where(np.isnan(now), y.q[3, 0], now)
    return Facts(
        usual=np.ldexp(usual, up).tolist(),
        shifts=np.ldexp(quarters(a - b), up).T.tolist(),
        shift=median(a - b).tolist(),
        was=np.ldexp(was, up).tolist(),
        now=np.ldexp(now, up).tolist(),
        typical=np.ldexp(typical, up).tolist(),
        largest=np.ldexp(largest, up).tolist(),
        lowest=np.ldexp(np.fmin.reduce(day), up).tolist(),
        highest=np.ldexp(np.fmax.reduce(day), up).tolist(),
        read=np.stack([x.read[benchmark], y.read[0]], axis=-1).tolist(),
    )


@dataclass(frozen=True)
class Seen:
    """All that is known of SLI `j` of a chunk when the verdict is put into words."""

    rule: Rule
    x: Days
    y: Days
    facts: Facts
    j: int
    benchmark: int
    exponent: int
    deployed_at_s: float
    score: float
    limit: float
    gross: float  # the rule beside the tables, 1 at its limit
    sign: int  # +1 it went up, -1 it went down
    beside: float = 0.0  # what is taken off the limit because another SLI moved
    steps: Floats | None = None  # (T,) the after day by itself, in the SLI's own unit; where something may have moved

    def unit(self, v: float) -> float:
        return float(np.ldexp(v, self.exponent))

    @property
    def hours(self) -> tuple[Floats, Floats]:
        return self.x.hour_mid[self.benchmark, self.j], self.y.hour_mid[0, self.j]


def since_of(seen: Seen, hour: int, least: float) -> float:
    """Unix seconds of the step from which the change is more than `least` (> 0, in the measures' power of two) for most of ten
    minutes: looked for from an hour before `hour`, the first that shows it, to its end. That hour's start where none is clear."""
    start, per_hour = seen.deployed_at_s + hour * DAY_S / HOURS, 0 if seen.steps is None else len(seen.steps) // HOURS
    if seen.steps is None or per_hour < 2:
        return start
    was = np.ldexp(np.repeat(seen.hours[0], per_hour), seen.exponent)
    lasting = max(1, round(LASTING_S * per_hour * HOURS / DAY_S))
    change = (seen.steps - was)[max(0, hour - 1) * per_hour : (hour + 1) * per_hour + lasting - 1] * seen.sign
    if len(change) < lasting:
        return start
    least = seen.unit(least)
    run = np.lib.stride_tricks.sliding_window_view(change, lasting)
    clear = np.flatnonzero((run > least).sum(axis=1) * 2 > np.isfinite(run).sum(axis=1))
    if not clear.size:
        return start
    at = int(clear[0]) + int((run[clear[0]] > least).argmax())
    at += max(0, hour - 1) * per_hour
    if not np.isfinite(seen.steps[:at]).any():  # settle minutes, which nobody looked at
        at = 0
    return seen.deployed_at_s + at * DAY_S / (per_hour * HOURS)
