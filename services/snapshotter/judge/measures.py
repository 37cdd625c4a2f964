"""What the judge measures of each day by itself: one pass over the samples, all SLIs at once.

Shapes: D days, N series, T steps a day, H hour blocks of B steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.snapshotter.judge.order import count_of, longest_run, quantile, sorted_with_count
from services.snapshotter.judge.values import Floats

# Of an hour's steps this share must have been read for the hour to count.
HOUR_READ = 0.3


@dataclass(frozen=True)
class Days:
    """Measures of D days of N series; every array is (D, N) unless said otherwise."""

    hour_mid: Floats  # (D, N, H) median of the hour
    hour_spread: Floats  # (D, N, H) 90 % - 10 % quantile inside the hour
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


QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
RESIDUALS = (0.0, 0.005, 0.03, 0.97, 0.995, 1.0)


def measure(values: Floats, hours: int, keep_residual: bool = True) -> Days:
    """Measure (D, N, T) days cut into `hours` blocks of equal length (T must be a multiple).

    Without `keep_residual` its place is empty, (D, N, 0): only the after day's is ever asked for.
    """
    d, n, t = values.shape
    blocks, got = sorted_with_count(values.reshape(d, n, hours, t // hours))
    enough = got >= max(1.0, HOUR_READ * (t // hours))
    mid = np.where(enough, quantile(blocks, got, 0.5), np.nan)
    spread = np.where(enough, quantile(blocks, got, 0.9) - quantile(blocks, got, 0.1), np.nan)
    residual = (values.reshape(d, n, hours, t // hours) - mid[..., None]).reshape(d, n, t)
    s = blocks.reshape(d, n, t)
    s.sort(axis=-1)  # the hours are sorted already and were read off above
    count = count_of(s)
    rs, rcount = sorted_with_count(residual)
    step = values[..., 1:] - values[..., :-1]
    np.abs(step, out=step)
    same = step == 0
    gap = s[..., 1:] - s[..., :-1]
    tick = np.where(gap > 0, gap, np.inf).min(axis=-1, initial=np.inf)
    full = bool(count.size) and int(count.min()) == t  # without gaps plain sums do
    steps = np.asarray(t - 1 if full else (~np.isnan(step)).sum(axis=-1))
    noise = (step.sum(axis=-1) if full else np.nansum(step, axis=-1)) / np.maximum(steps, 1)
    total = values.sum(axis=-1) if full else np.nansum(values, axis=-1)
    least = np.maximum(count, 1)
    zeros, dead = np.zeros((d, n)), np.zeros((d, n))
    has_zero = (s[..., 0] <= 0) & ~(s[..., -1] < 0) if t else np.zeros((d, n), bool)
    if has_zero.any():
        zero = values[has_zero] == 0
        zeros[has_zero], dead[has_zero] = zero.sum(axis=-1), longest_run(zero) / t
    return Days(
        hour_mid=mid,
        hour_spread=spread,
        residual=np.where(np.isnan(rs), np.inf, rs) if keep_residual else rs[..., :0],
        q=np.stack([quantile(s, count, x) for x in QUANTILES]),
        r=np.stack([quantile(rs, rcount, x) for x in RESIDUALS]),
        mean=total / least,
        noise=noise,
        read=count / t,
        zeros=zeros / least,
        still=(longest_run(same) + 1) / t,
        dead=dead,
        tick=np.where(np.isfinite(tick), tick, 0.0),
    )


def join(parts: list[Days]) -> Days:
    """The measures of chunks of SLIs, side by side."""
    if len(parts) == 1:
        return parts[0]
    axis = {"q": 2, "r": 2}
    return Days(**{f: np.concatenate([getattr(p, f) for p in parts], axis.get(f, 1)) for f in vars(parts[0])})
