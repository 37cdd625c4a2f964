"""What the judge measures of each day by itself: one pass over the samples, all SLIs at once.

Shapes: D days, N series, T steps a day, H hour blocks of B steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from services.snapshotter.judge.order import (
    between,
    count_of,
    longest_run,
    place,
    quantile,
    quantiles,
    runs_of,
    sorted_with_count,
)
from services.snapshotter.judge.values import Bools, Floats, Ints

# Of an hour's steps this share must have been read for the hour to count.
HOUR_READ = 0.3


@dataclass(frozen=True)
class Days:
    """Measures of D days of N series; every array is (D, N) unless said otherwise."""

    hour_mid: Floats  # (D, N, H) median of the hour
    half_mid: Floats  # (D, N, 2H) median of each half of the hour (NaN on days that are not near)
    hour_up: Floats  # (D, N, H) 90 % quantile inside the hour - its median
    hour_down: Floats  # (D, N, H) its median - 10 % quantile
    hour_top: Floats  # (D, N, H) highest of the hour - its median
    hour_low: Floats  # (D, N, H) its median - lowest
    hour_noise: Floats  # (D, N, H) typical step-to-step movement inside the hour
    residual: Floats  # (1, N, T) of the last day: samples minus the median of their hour, ascending, inf for what was not read
    q: Floats  # (7, D, N) quantiles of the day: 0, 5, 25, 50, 75, 95, 100 %
    r: Floats  # (6, D, N) quantiles of the residual: 0, .5, 3, 97, 99.5, 100 %
    mean: Floats
    noise: Floats  # typical step-to-step movement
    read: Floats  # share of the steps that were read
    zeros: Floats  # share of the read steps that are exactly 0
    still: Floats  # longest run of one value, as a share of the day
    dead: Floats  # longest run of exactly 0, as a share of the day
    tick: Floats  # smallest step between two values that were seen (NaN on days that are not near)

    def hour_spread(self, days: int | slice = slice(None), series: slice = slice(None)) -> Floats:
        """(D, N, H) 90 % - 10 % quantile inside the hour, of some of the days and series."""
        return np.asarray(self.hour_up[days, series] + self.hour_down[days, series])


HOUR_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
RESIDUALS = (0.0, 0.005, 0.03, 0.97, 0.995, 1.0)
LONG_HOUR = 30  # steps
FEW = 64  # days of SLIs whose steps are looked at together


def room_for(days: int, series: int, steps: int) -> Floats:
    """Room for samples, or for `measure` to work in: new memory costs more than what is done in it, so it is asked for once."""
    return np.empty(days * series * steps)


def measure(
    values: Floats, hours: int, *, near: int = 0, room: Floats | None = None, total: Floats | None = None
) -> Days:
    """Measure (D, N, T) days cut into `hours` blocks of equal length (T must be a multiple).

    Of the days before `near` nobody asks the halves of hours or the tick: there they are NaN. Residuals are kept of the
    last day alone. `values` are sorted in their place: give a copy. `room` is from `room_for`, for so many or more; what
    is in it afterwards means nothing. `total` are the days' sums, (D, N), when they are known.
    """
    d, n, t = values.shape
    width = t // hours
    values = np.ascontiguousarray(values)
    work = (room if room is not None else room_for(d, n, t))[: values.size].reshape(d, n, t)
    # What needs the steps in their order comes first.
    total = values.sum(axis=-1) if total is None else total
    full = not np.isnan(total).any()  # without gaps plain sums do
    total = total if full else np.nansum(values, axis=-1)
    noise, hour_noise, still = _movements(values.reshape(-1, t), hours, work.reshape(-1), full)
    dead, zeros = runs_of(values == 0)
    # Halves, then hours, then the day are sorted in their place.
    blocks = values.reshape(d, n, hours, width)
    half_mid, tick = np.full((d, n, 2 * hours), np.nan), np.full((d, n), np.nan)
    half_mid[near:] = _halves(blocks[near:], full)
    blocks.sort(axis=-1)
    got = width if full else count_of(blocks)
    enough = got >= max(1.0, HOUR_READ * width)
    low, lower, mid, upper, high = (_where(enough, v) for v in quantiles(blocks, got, HOUR_QUANTILES))
    outer = d - 1 if full and width >= LONG_HOUR else 0  # of these days the outermost residuals will do
    residual, r = _residuals(blocks[outer:], mid[outer:], work[: d - outer], full)
    r = np.concatenate([_outermost(blocks[:outer], mid[:outer]), r], axis=1) if outer else r
    last = residual[-1:].copy() if full else np.where(np.isnan(residual[-1:]), np.inf, residual[-1:])
    values.sort(axis=-1)
    count = t if full else count_of(values)
    q = np.stack(quantiles(values, count, QUANTILES))
    tick[near:] = _tick(_steps(values[near:], work[: d - near]), full)
    count = count + np.zeros((d, n), np.intp)
    least = np.maximum(count, 1)
    return Days(
        hour_mid=mid,
        half_mid=half_mid,
        hour_up=upper - mid,
        hour_down=mid - lower,
        hour_top=high - mid,
        hour_low=mid - low,
        hour_noise=hour_noise.reshape(d, n, hours),
        residual=last,
        q=q,
        r=r,
        mean=total / least,
        noise=noise.reshape(d, n),
        read=count / t,
        zeros=zeros / least,
        still=still.reshape(d, n),
        dead=dead / t,
        tick=tick,
    )


def _movements(rows: Floats, hours: int, room: Floats, full: bool) -> tuple[Floats, Floats, Floats]:
    """(R, T) rows -> how far they typically move from step to step, (R,), the same inside each hour, (R, H), and the longest
    run of one value, as a share of the row, (R,). A few rows at a time, whose steps stay near while they are looked at."""
    r, t = rows.shape
    noise, hour_noise, same = np.empty(r), np.empty((r, hours)), np.empty((r, t - 1), bool)
    for lo in range(0, r, FEW):
        at = slice(lo, min(lo + FEW, r))
        near = room[: (at.stop - lo) * t].reshape(-1, t)
        step = _steps(rows[at], near)
        np.abs(near, out=near)
        steps = np.asarray(t - 1 if full else (~np.isnan(step)).sum(axis=-1))
        noise[at] = (step.sum(axis=-1) if full else np.nansum(step, axis=-1)) / np.maximum(steps, 1)
        hour_noise[at] = _hourly(step, hours, t // hours, full)
        np.equal(step, 0, out=same[at])
    return noise, hour_noise, (longest_run(same) + 1) / t


def _residuals(blocks: Floats, mid: Floats, out: Floats, full: bool) -> tuple[Floats, Floats]:
    """(..., H, B) sorted hours and their medians -> (..., T) what the samples stand out by, ascending, in `out`, and its
    quantiles, (6, ...)."""
    np.subtract(blocks, mid[..., None], out=out.reshape(blocks.shape))
    out.sort(axis=-1)
    return out, np.stack(quantiles(out, out.shape[-1] if full else count_of(out), RESIDUALS))


def _outermost(blocks: Floats, mid: Floats) -> Floats:
    """The same quantiles, (6, D, N), where nothing is missing, mostly without sorting whole days: the outermost 3 % of a day
    lie in the outermost sixths of its hours, unless some hour has more than its share of them. Such days are sorted."""
    edge, last = blocks.shape[-1] // 6, blocks[0, 0].size - 1
    out, sure = np.empty((len(RESIDUALS), *mid.shape[:2])), np.ones(mid.shape[:2], bool)
    places = [place(q, last + 1) for q in RESIDUALS]
    for half, ends, beside in (
        (range(3), blocks[..., :edge], blocks[..., edge]),
        (range(3, 6), blocks[..., -edge:], blocks[..., -edge - 1]),
    ):
        s = (ends - mid[..., None]).reshape(*mid.shape[:2], -1)
        s.sort(axis=-1)
        start = 0 if half[0] == 0 else last + 1 - s.shape[-1]  # the place of the first of `s` in its day
        for k in half:
            out[k] = between(s, places[k][0] - start, places[k][1])
        inner = beside - mid
        if start:
            sure &= s[..., places[3][0] - start] >= inner.max(axis=-1)
        else:
            sure &= s[..., places[2][0] + 1] <= inner.min(axis=-1)
    if not sure.all():
        some = blocks[~sure]
        out[:, ~sure] = _residuals(some, mid[~sure], np.empty((len(some), last + 1)), True)[1]
    return out


def _steps(values: Floats, out: Floats) -> Floats:
    """(D, N, T) -> (D, N, T - 1) each value minus the one before, in `out`. All rows at once is twice as fast as one by
    one; the steps from the end of a row to the start of the next are not looked at."""
    np.subtract(values.reshape(-1)[1:], values.reshape(-1)[:-1], out=out.reshape(-1)[:-1])
    out[..., -1:] = 0
    return out[..., :-1]


def parted(d: Days) -> tuple[Days, Days]:
    """The earlier days, and the last one by itself. (Residuals are the last day's.)"""
    axis = {"q": 1, "r": 1}
    rest = {k: v for k, v in vars(d).items() if k != "residual"}
    earlier, last = (
        {k: v[(slice(None),) * axis.get(k, 0) + (days,)] for k, v in rest.items()} for days in (np.s_[:-1], np.s_[-1:])
    )
    return Days(**earlier, residual=np.empty((*earlier["read"].shape, 0))), Days(**last, residual=d.residual)


def _halves(blocks: Floats, full: bool) -> Floats:
    """(D, N, H, B) hours -> (D, N, 2H) medians of their halves, which are left sorted where they are of equal length.

    An hour of one step has two halves alike.
    """
    d, n, hours, width = blocks.shape
    if width == 1:
        return np.repeat(blocks[..., 0], 2, axis=-1)
    if width % 2 == 0:
        s = blocks.reshape(d, n, 2 * hours, width // 2)
        s.sort(axis=-1)
        got = width // 2 if full else count_of(s)
        return _where(got >= max(1.0, HOUR_READ * width / 2), quantile(s, got, 0.5))
    out = np.empty((d, n, hours, 2))
    for k, part in enumerate((blocks[..., : width // 2], blocks[..., width // 2 :])):
        s, got = sorted_with_count(part)
        out[..., k] = _where(got >= max(1.0, HOUR_READ * part.shape[-1]), quantile(s, got, 0.5))
    return out.reshape(d, n, 2 * hours)


def _where(enough: bool | Bools, v: Floats) -> Floats:
    return v if enough is True else np.where(enough, v, np.nan)


def _tick(gap: Floats, full: bool) -> Floats:
    """(D, N, T - 1) gaps between sorted values -> the smallest that is one, 0 where all values are equal."""
    out = (np.minimum if full else np.fmin).reduce(gap, axis=-1, initial=np.inf)
    rows = out <= 0
    if rows.any():
        some = gap[rows]
        np.putmask(some, ~(some > 0), np.inf)
        out[rows] = some.min(axis=-1)
    return np.where(np.isfinite(out), out, 0.0)


def _hourly(step: Floats, hours: int, width: int, full: bool) -> Floats:
    """(D, N, T - 1) movements from step to step -> (D, N, H) their mean inside the hour; NaN where none is known."""
    if not step.shape[-1]:
        return np.full((*step.shape[:-1], hours), np.nan)
    starts, count = _hours(hours, width, step.shape[-1])
    if full:
        return np.asarray(np.add.reduceat(step, starts, axis=-1) / count)
    known = ~np.isnan(step)
    count = np.add.reduceat(known, starts, axis=-1, dtype=np.intp)
    total = np.add.reduceat(np.where(known, step, 0.0), starts, axis=-1)
    return np.asarray(np.where(count >= np.maximum(1, HOUR_READ * width), total / np.maximum(count, 1), np.nan))


@cache
def _hours(hours: int, width: int, steps: int) -> tuple[Ints, Ints]:
    """At which movement each hour starts, and how many it has."""
    starts = np.minimum(np.arange(hours) * width, steps - 1)
    return starts, np.maximum(np.diff(starts, append=steps), 1)


_SHARES = frozenset(("read", "zeros", "still", "dead"))  # all others are in the unit of the samples
_LONG = frozenset(("hour_mid", "half_mid", "hour_up", "hour_down", "hour_top", "hour_low", "hour_noise", "residual"))


def join(parts: list[Days], exponent: Ints) -> Days:
    """The measures of chunks of SLIs, side by side, multiplied by 2**-exponent, (N,): exact."""
    axis, out = {"q": 2, "r": 2}, {}
    factor = np.ldexp(1.0, -exponent)
    for name in vars(parts[0]):
        out[name] = np.concatenate([getattr(p, name) for p in parts], axis.get(name, 1))
        if name not in _SHARES:
            out[name] *= factor[:, None] if name in _LONG else factor
    return Days(**out)
