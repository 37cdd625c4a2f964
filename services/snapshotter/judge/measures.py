"""What the judge measures of each day by itself: one pass over the samples, all SLIs at once.

Shapes: D days, N series, T steps a day, H hour blocks of B steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.snapshotter.judge.order import count_of, longest_run, quantile, sorted_with_count
from services.snapshotter.judge.values import Floats, Ints

# Of an hour's steps this share must have been read for the hour to count.
HOUR_READ = 0.3


@dataclass(frozen=True)
class Days:
    """Measures of D days of N series; every array is (D, N) unless said otherwise."""

    hour_mid: Floats  # (D, N, H) median of the hour
    half_mid: Floats  # (D, N, 2H) median of each half of the hour
    hour_up: Floats  # (D, N, H) 90 % quantile inside the hour - its median
    hour_down: Floats  # (D, N, H) its median - 10 % quantile
    hour_top: Floats  # (D, N, H) highest of the hour - its median
    hour_low: Floats  # (D, N, H) its median - lowest
    hour_noise: Floats  # (D, N, H) typical step-to-step movement inside the hour
    residual: Floats  # (D, N, T) samples minus the median of their hour, ascending, inf for what was not read
    q: Floats  # (7, D, N) quantiles of the day: 0, 5, 25, 50, 75, 95, 100 %
    r: Floats  # (6, D, N) quantiles of the residual: 0, .5, 3, 97, 99.5, 100 %
    mean: Floats
    noise: Floats  # typical step-to-step movement
    read: Floats  # share of the steps that were read
    zeros: Floats  # share of the read steps that are exactly 0
    still: Floats  # longest run of one value, as a share of the day
    dead: Floats  # longest run of exactly 0, as a share of the day
    tick: Floats  # smallest step between two values that were seen

    @property
    def hour_spread(self) -> Floats:
        """(D, N, H) 90 % - 10 % quantile inside the hour."""
        return self.hour_up + self.hour_down


HOUR_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
RESIDUALS = (0.0, 0.005, 0.03, 0.97, 0.995, 1.0)


def room_for(days: int, series: int, steps: int) -> Floats:
    """Room to work in, for `measure`: new memory costs more than what is done in it, so it is asked for once."""
    return np.empty((3, days, series, steps))


def measure(values: Floats, hours: int, keep_residual: bool = True, room: Floats | None = None) -> Days:
    """Measure (D, N, T) days cut into `hours` blocks of equal length (T must be a multiple).

    Without `keep_residual` its place is empty, (D, N, 0): only the after day's is ever asked for.
    `room` is from `room_for`, at least D and N and exactly T large; what is in it afterwards means nothing.
    """
    d, n, t = values.shape
    width = t // hours
    s, rs, work = (room if room is not None else room_for(d, n, t))[:, :d, :n]
    s[...] = values
    blocks = s.reshape(d, n, hours, width)  # a view: halves, then hours, then the day are sorted in their place
    half_mid = _halves(blocks)
    blocks.sort(axis=-1)
    got = count_of(blocks)
    enough = got >= max(1.0, HOUR_READ * width)
    low, lower, mid, upper, high = (np.where(enough, quantile(blocks, got, q), np.nan) for q in HOUR_QUANTILES)
    s.sort(axis=-1)
    count = count_of(s)
    full = bool(count.size) and int(count.min()) == t  # without gaps plain sums do
    np.subtract(values.reshape(d, n, hours, width), mid[..., None], out=rs.reshape(d, n, hours, width))
    rs.sort(axis=-1)
    rcount = count_of(rs)
    step = np.subtract(values[..., 1:], values[..., :-1], out=work[..., 1:])
    np.abs(step, out=step)
    steps = np.asarray(t - 1 if full else (~np.isnan(step)).sum(axis=-1))
    noise = (step.sum(axis=-1) if full else np.nansum(step, axis=-1)) / np.maximum(steps, 1)
    hour_noise = _hourly(step, hours, width, full)
    still = (_longest_still(step, full) + 1) / t
    gap = np.subtract(s[..., 1:], s[..., :-1], out=work[..., 1:])
    total = values.sum(axis=-1) if full else np.nansum(values, axis=-1)
    least = np.maximum(count, 1)
    zeros, dead = np.zeros((d, n)), np.zeros((d, n))
    has_zero = (s[..., 0] <= 0) & ~(s[..., -1] < 0) if t else np.zeros((d, n), bool)
    if has_zero.any():
        zero = values[has_zero] == 0
        zeros[has_zero], dead[has_zero] = zero.sum(axis=-1), longest_run(zero) / t
    return Days(
        hour_mid=mid,
        half_mid=half_mid,
        hour_up=upper - mid,
        hour_down=mid - lower,
        hour_top=high - mid,
        hour_low=mid - low,
        hour_noise=hour_noise,
        residual=np.where(np.isnan(rs), np.inf, rs) if keep_residual else np.empty((d, n, 0)),
        q=np.stack([quantile(s, count, x) for x in QUANTILES]),
        r=np.stack([quantile(rs, rcount, x) for x in RESIDUALS]),
        mean=total / least,
        noise=noise,
        read=count / t,
        zeros=zeros / least,
        still=still,
        dead=dead,
        tick=_tick(gap, full),
    )


def _halves(blocks: Floats) -> Floats:
    """(D, N, H, B) hours -> (D, N, 2H) medians of their halves, which are left sorted where they are of equal length.

    An hour of one step has two halves alike.
    """
    d, n, hours, width = blocks.shape
    if width == 1:
        return np.repeat(blocks[..., 0], 2, axis=-1)
    if width % 2 == 0:
        s = blocks.reshape(d, n, 2 * hours, width // 2)
        s.sort(axis=-1)
        got = count_of(s)
        return np.where(got >= max(1.0, HOUR_READ * width / 2), quantile(s, got, 0.5), np.nan)
    out = np.empty((d, n, hours, 2))
    for k, part in enumerate((blocks[..., : width // 2], blocks[..., width // 2 :])):
        s, got = sorted_with_count(part)
        out[..., k] = np.where(got >= max(1.0, HOUR_READ * part.shape[-1]), quantile(s, got, 0.5), np.nan)
    return out.reshape(d, n, 2 * hours)


def _longest_still(step: Floats, full: bool) -> Ints:
    """(D, N, T - 1) absolute steps -> the longest run of steps that are 0."""
    out = np.zeros(step.shape[:-1], np.intp)
    if step.shape[-1]:
        rows = (np.minimum if full else np.fmin).reduce(
            step, axis=-1
        ) == 0  # most series never repeat a value: only the others are walked
        out[rows] = longest_run(step[rows] == 0)
    return out


def _tick(gap: Floats, full: bool) -> Floats:
    """(D, N, T - 1) gaps between sorted values -> the smallest that is one, 0 where all values are equal."""
    out = (np.minimum if full else np.fmin).reduce(gap, axis=-1, initial=np.inf)
    rows = out <= 0
    if rows.any():
        some = gap[rows]
        out[rows] = np.where(some > 0, some, np.inf).min(axis=-1)
    return np.where(np.isfinite(out), out, 0.0)


def _hourly(step: Floats, hours: int, width: int, full: bool) -> Floats:
    """(D, N, T - 1) movements from step to step -> (D, N, H) their mean inside the hour; NaN where none is known."""
    if not step.shape[-1]:
        return np.full((*step.shape[:-1], hours), np.nan)
    starts = np.minimum(np.arange(hours) * width, step.shape[-1] - 1)
    if full:
        count = np.diff(starts, append=step.shape[-1])
        return np.asarray(np.add.reduceat(step, starts, axis=-1) / np.maximum(count, 1))
    known = ~np.isnan(step)
    count = np.add.reduceat(known, starts, axis=-1, dtype=np.intp)
    total = np.add.reduceat(np.where(known, step, 0.0), starts, axis=-1)
    return np.asarray(np.where(count >= np.maximum(1, HOUR_READ * width), total / np.maximum(count, 1), np.nan))


def join(parts: list[Days]) -> Days:
    """The measures of chunks of SLIs, side by side."""
    if len(parts) == 1:
        return parts[0]
    axis = {"q": 2, "r": 2}
    return Days(**{f: np.concatenate([getattr(p, f) for p in parts], axis.get(f, 1)) for f in vars(parts[0])})
