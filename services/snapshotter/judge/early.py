"""Early looks: windows of a few hours, against the same hours of the benchmark.

Far too little is known to use the fitted tables; a few plain rules with wide limits ask for gross changes only.

The yardstick of a level has three parts. What two days differ by as a rule, without the shape that both windows share: a
window on the slope of its day spans a wide range on every day, and that says nothing about how far the days are apart.
How far the benchmark's own day strays: the largest step of a third of a window away from the line between its neighbours.
And how far the same hours were from one earlier day to the next. The more of them is known, the less has to be demanded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.snapshotter.judge.measures import Days, measure
from services.snapshotter.judge.order import longest_run, median
from services.snapshotter.judge.plain import FROZEN, LIVELY, NEVER_ZERO
from services.snapshotter.judge.values import Bools, Floats
from services.snapshotter.judge.views.scale import OF_LEVEL, OF_NOISE, OF_SPREAD, OF_TICK, quantile_of, ratio, scale_of

BLOCKS = 6
# In yardsticks, in the weakest third of the window: when the window alone is known, the benchmark's day, and earlier days.
LIMIT_ALONE, LIMIT_DAY, LIMIT_DAYS = 8.4, 2.5, 1.1
LEAST_STRAYS, LEAST_HOPS = 5, 3  # so many make the largest of them worth something
LONGEST_THIRD_S = 7200.0  # beyond it the day has too few of them
DOUBTFUL = 0.6  # of the limit: more than is usual, less than is gross
WIDER_LIMIT = 2.62  # logarithm of the ratio of spreads, over the window and inside its blocks
NEW_SHARE = 0.25  # of the steps leave a benchmark of nothing but zeros


@dataclass(frozen=True)
class Early:
    """Scores of N SLIs, each 1 at its limit, and the numbers behind them, all (N,)."""

    up: Floats
    down: Floats
    higher: Floats  # the same against the earlier day that was highest, where earlier days are known
    lower: Floats
    wider: Floats
    unlike: Floats  # share of the steps that are not 0 where the benchmark was all 0, over its limit
    frozen: Floats  # how much longer it stood at one value than on any earlier day, over the limit that a whole day has
    dead: Bools  # whether that value is 0
    stood: Floats  # hours that it stood still for, and the longest of the earlier days
    stood_before: Floats
    before: Floats
    after: Floats
    visible: Floats  # the least change of level that would have been gross
    hops: Floats  # from one earlier day to the next, of which something is known


def early(days: Floats, benchmark: int, after: Floats, step_s: float) -> Early:
    """(D, N, W) earlier days that begin at the window's clock, oldest first; (N, T) the window, 1 <= T <= W."""
    n, t = after.shape
    before = days[benchmark, :, :t]
    blocks = max(1, min(BLOCKS, t // 3))
    width = blocks * -(-t // blocks)
    pad = np.full((n, width - t), np.nan)
    with np.errstate(all="ignore"):
        x = measure(np.hstack([before, pad])[None], blocks)
        y = measure(np.hstack([after, pad])[None], blocks)
        yardstick, limit, hops = _yardstick(days, benchmark, after, x, y, step_s)
        d = y.hour_mid[0] - x.hour_mid[0]
        up, down = (ratio(v, yardstick) / limit for v in _weakest(d))
        higher, lower = (
            np.where(hops >= LEAST_HOPS, ratio(np.fmin.reduce(v, axis=0), yardstick) / limit, np.inf)
            for v in _weakest(_mids(after, t) - _mids(days, t))
        )
        floor = scale_of(x, 0, y).floor
        qb, qy = x.q[:, 0], y.q[:, 0]
        whole = np.abs(np.log((qy[4] - qy[2] + floor) / (qb[4] - qb[2] + floor)))
        blockwise = median(np.log((y.hour_spread(0) + floor[:, None]) / (x.hour_spread(0) + floor[:, None])))
        wider = np.fmin(whole, np.abs(blockwise)) / WIDER_LIMIT
        constant = qb[0] == qb[-1]
        zero = constant & (qb[0] == 0)
        differs = ((after != qb[0][:, None]) & ~np.isnan(after)).sum(-1) / np.maximum((~np.isnan(after)).sum(-1), 1)
        unlike = np.where(zero, differs / NEW_SHARE, 0.0)
        wider = np.where(constant | (qy[0] == qy[-1]), 0.0, wider)
        stood, earlier, zero_for = (_stood_h(v, step_s) for v in (after, days, np.where(after == 0, 0.0, np.nan)))
        stood_before = np.fmax.reduce(earlier, axis=0)
        dead = zero_for >= 0.9 * stood
        zeros = (days[benchmark] == 0).mean(axis=-1)  # what is rare has hours of none
        counts = (earlier[benchmark] < 24 * LIVELY) & ~(dead & (zeros > NEVER_ZERO))
        frozen = np.where(counts, (stood - stood_before) / (24 * FROZEN), 0.0)
    return Early(
        up, down, higher, lower, wider, unlike, frozen, dead, stood, stood_before, qb[3], qy[3], yardstick * limit, hops
    )


def _yardstick(
    days: Floats, benchmark: int, after: Floats, x: Days, y: Days, step_s: float
) -> tuple[Floats, Floats, Floats]:
    """(N,) how far a level moves by itself, how many of that are gross, and how many earlier days that rests on."""
    before = days[benchmark, :, : after.shape[-1]]
    s = scale_of(x, 0, y)
    body, width = _apart(before, after, s.level)
    usual = (
        OF_NOISE * s.noise
        + OF_SPREAD * np.maximum(body, 0.5 * width)
        + OF_LEVEL * s.level
        + OF_TICK * np.minimum(s.tick, width + body + s.noise)
    )
    strays = _strays(days[benchmark], max(1, min(after.shape[-1] // 3, int(LONGEST_THIRD_S / step_s))))
    knows_day = _count(strays) >= LEAST_STRAYS
    hops = np.abs(median(np.diff(_mids(days, after.shape[-1]), axis=0))).T
    knows_days = knows_day & (_count(hops) >= LEAST_HOPS)
    yardstick = usual + np.where(knows_day, _largest(strays), 0.0) + np.where(knows_days, _largest(hops), 0.0)
    limit = np.where(knows_days, LIMIT_DAYS, np.where(knows_day, LIMIT_DAY, LIMIT_ALONE))
    return yardstick, limit, _count(hops)


def _stood_h(v: Floats, step_s: float) -> Floats:
    """(..., T) -> (...) hours of the longest run of one value; a gap ends a run."""
    return np.asarray((longest_run(np.diff(v, axis=-1) == 0) + 1) * step_s / 3600)


def _weakest(d: Floats) -> tuple[Floats, Floats]:
    """(..., B) by how much each block is higher -> (...) by how much the weakest third is higher, and lower."""
    thirds = [median(part) for part in np.array_split(d, min(3, d.shape[-1]), axis=-1)]
    return np.asarray(np.fmin.reduce(thirds)), np.asarray(-np.fmax.reduce(thirds))


def _apart(before: Floats, after: Floats, level: Floats) -> tuple[Floats, Floats]:
    """(N,) body and width of what the windows do not share, step by step: by difference or by ratio, whichever is less."""
    d = after - before
    positive = ~((before <= 0) | (after <= 0)).any(axis=-1)
    log = np.log(after / before)

    def spread(low: float, high: float, sds: float) -> Floats:
        by_ratio = np.where(positive, level * (quantile_of(log, high) - quantile_of(log, low)), np.inf)
        return np.asarray(np.fmin(quantile_of(d, high) - quantile_of(d, low), by_ratio) / sds / np.sqrt(2))

    return spread(0.25, 0.75, 1 / 0.7413), spread(0.05, 0.95, 3.3)


def _strays(day: Floats, width: int) -> Floats:
    """(N, W) -> (N, K) how far the median of each `width` steps is from the mean of its neighbours': no slope counts."""
    n, total = day.shape
    mids = median(day[:, : total - total % width].reshape(n, -1, width))
    return np.abs(mids[:, 1:-1] - 0.5 * (mids[:, :-2] + mids[:, 2:]))


def _mids(days: Floats, t: int) -> Floats:
    """(..., W) -> (..., B) medians of the blocks of the first t steps."""
    blocks = np.array_split(np.arange(t), max(1, min(BLOCKS, t // 3)))
    return np.stack([median(days[..., at]) for at in blocks], axis=-1)


def _count(a: Floats) -> Floats:
    return np.asarray((~np.isnan(a)).sum(axis=-1), np.float64)


def _largest(a: Floats) -> Floats:
    return np.asarray(np.fmax.reduce(a, axis=-1, initial=0.0))
