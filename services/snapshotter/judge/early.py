"""Early looks: windows of a few hours, against the same hours of the benchmark.

Far too little is known to use the fitted tables; a few plain rules with wide limits ask for gross changes only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.snapshotter.judge.measures import Days, measure
from services.snapshotter.judge.order import median
from services.snapshotter.judge.values import Floats
from services.snapshotter.judge.views.scale import ratio, scale_of

BLOCKS = 6
LEVEL_LIMIT = 6.6  # usual day-to-day movements, in the weakest third of the window
WIDER_LIMIT = 2.62  # logarithm of the ratio of spreads, over the window and inside its blocks
NEW_SHARE = 0.25  # of the steps leave a benchmark of nothing but zeros


@dataclass(frozen=True)
class Early:
    """Scores of N SLIs, each 1 at its limit, and the numbers behind them, all (N,)."""

    up: Floats
    down: Floats
    wider: Floats
    unlike: Floats  # share of the steps that are not 0 where the benchmark was all 0, over its limit
    before: Floats
    after: Floats
    days: tuple[Days, Days]


def early(before: Floats, after: Floats) -> Early:
    """(N, T) paired windows of the same clock minutes, T >= 1."""
    n, t = after.shape
    blocks = max(1, min(BLOCKS, t // 3))
    width = blocks * -(-t // blocks)
    pad = np.full((n, width - t), np.nan)
    with np.errstate(all="ignore"):
        x = measure(np.hstack([before, pad])[None], blocks)
        y = measure(np.hstack([after, pad])[None], blocks)
        s = scale_of(x, 0, y)
        d = y.hour_mid[0] - x.hour_mid[0]
        thirds = [median(part) for part in np.array_split(d, min(3, blocks), axis=-1)]
        up = ratio(np.fmin.reduce(thirds), s.usual) / LEVEL_LIMIT
        down = ratio(-np.fmax.reduce(thirds), s.usual) / LEVEL_LIMIT
        qb, qy = x.q[:, 0], y.q[:, 0]
        whole = np.abs(np.log((qy[4] - qy[2] + s.floor) / (qb[4] - qb[2] + s.floor)))
        blockwise = median(np.log((y.hour_spread[0] + s.floor[:, None]) / (x.hour_spread[0] + s.floor[:, None])))
        wider = np.fmin(whole, np.abs(blockwise)) / WIDER_LIMIT
        constant = qb[0] == qb[-1]
        zero = constant & (qb[0] == 0)
        differs = ((after != qb[0][:, None]) & ~np.isnan(after)).sum(-1) / np.maximum((~np.isnan(after)).sum(-1), 1)
        unlike = np.where(zero, differs / NEW_SHARE, 0.0)
        wider = np.where(constant | (qy[0] == qy[-1]), 0.0, wider)
    return Early(up, down, wider, unlike, qb[3], qy[3], (x, y))
