"""Did the level go up? At once, late, or slowly; and was it the deploy?

Everything is paired by clock: `d[h]` is the median of hour h after minus that of the same hour in the benchmark.
"""

from __future__ import annotations

import numpy as np

from services.snapshotter.judge.measures import QUANTILES, Days
from services.snapshotter.judge.order import median, nan_to
from services.snapshotter.judge.values import Floats
from services.snapshotter.judge.views.scale import Scale, quantile_of, ratio


def quarters(a: Floats) -> list[Floats]:
    """The median of each quarter of the window."""
    return [median(part) for part in np.array_split(a, 4, axis=-1)]


def level(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """The typical hour, the weakest quarter of the day (persistence), and each quantile of the day."""
    d = after.hour_mid[0] - earlier.hour_mid[benchmark]
    qb, qy = earlier.q[:, benchmark], after.q[:, 0]
    shift, parts = median(d), quarters(d)
    weak, low = np.fmin.reduce(parts), quantile_of(d, 0.1)
    scatter = median(np.abs(d - shift[:, None]))
    rise = after.mean[0] - earlier.mean[benchmark]
    out = {"lvl_" + k: ratio(shift, v) for k, v in _against(s).items()}
    out |= {"weak_" + k: ratio(weak, v) for k, v in _against(s).items()}
    out |= {"q10_A": ratio(low, s.usual), "q10_w": ratio(low, s.width)}
    out |= {"strong_A": ratio(np.fmax.reduce(parts), s.usual), "lvl_dev": ratio(shift, 1.48 * scatter + 0.05 * s.usual)}
    out |= {"mean_A": ratio(rise, s.usual), "mean_w": ratio(rise, s.width)}
    for i, q in enumerate(QUANTILES):
        if q != 0.5:
            out[f"q{q * 100:g}_A"] = ratio(qy[i] - qb[i], s.usual)
    return out


def _against(s: Scale) -> dict[str, Floats]:
    return {"A": s.usual, "n": s.noise, "w": s.width, "lev": s.level, "hop": s.hop}


def border(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """The jump at the deploy itself: from the last hours before it (they are history) to the first after it.

    A natural drift moves the level too, but seldom jumps exactly then and holds for every quarter of the day.
    """
    y, e = after.hour_mid[0], earlier.hour_mid[-1]
    d = y - earlier.hour_mid[benchmark]
    weak = np.fmin.reduce(quarters(d))
    jump = y[:, 0] - e[:, -1]
    clear = np.fmin.reduce(y[:, :3], axis=1) - np.fmax.reduce(e[:, -3:], axis=1)
    return {
        "J_A": ratio(jump, s.usual),
        "J_hop": ratio(jump, s.hop),
        "J_n": ratio(jump, s.noise),
        "J3_A": ratio(clear, s.usual),
        "J3_hop": ratio(clear, s.hop),
        "J_w": ratio(jump, s.width),
        "Jm_A": ratio(median(y[:, :4]) - median(e[:, -4:]), s.usual),
        "hold_A": ratio(np.fmin(jump, weak), s.usual),
        "hold_hop": ratio(np.fmin(jump, weak), s.hop),
        "hold3_A": ratio(np.fmin(clear, weak), s.usual),
        "hold3_w": ratio(np.fmin(clear, weak), s.width),
        "Jfrac": np.clip(ratio(jump, np.abs(median(d))), -3, 3),
    }


def late_start(d: Floats) -> tuple[Floats, np.ndarray, Floats, Floats]:
    """The best single step in `d` (N, H): its height, the hour it starts, the mean before and the mean after.

    Least squares over all hours that leave two on each side (the classic change-point statistic, Hinkley 1970).
    """
    hours = d.shape[-1]
    known = ~np.isnan(d)
    total, count = np.cumsum(nan_to(d), -1), np.cumsum(known, -1)
    k = np.arange(2, hours - 1)
    n0, n = count[:, k - 1], count[:, -1:]
    n1 = n - n0
    m0 = total[:, k - 1] / np.maximum(n0, 1)
    m1 = (total[:, -1:] - total[:, k - 1]) / np.maximum(n1, 1)
    step = np.where((n0 > 1) & (n1 > 1), m1 - m0, 0.0)
    best = (step * np.sqrt(n0 * n1 / np.maximum(n, 1))).argmax(-1)
    row = np.arange(len(d))
    return step[row, best], k[best], m0[row, best], m1[row, best]


def late(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """A step that comes hours after the deploy and stays."""
    y, b = after.hour_mid[0], earlier.hour_mid[benchmark]
    d = y - b
    hours, row = d.shape[-1], np.arange(len(d))
    step, at, mean0, mean1 = late_start(d)
    is_late = np.arange(hours) >= at[:, None]
    then, first = np.where(is_late, d, np.nan), np.where(is_late, np.nan, d)
    gap = quantile_of(then, 0.25) - quantile_of(first, 0.75)
    error = np.nansum((then - mean1[:, None]) ** 2, -1) + np.nansum((first - mean0[:, None]) ** 2, -1)
    jump = y[row, at] - y[row, at - 1]
    return {
        "late_A": ratio(step, s.usual),
        "late_w": ratio(step, s.width),
        "late_n": ratio(step, s.noise),
        "late_hop": ratio(step, s.hop),
        "late_share": (hours - at) / hours,
        "late_weak_A": ratio(gap, s.usual),
        "late_weak_w": ratio(gap, s.width),
        "late_q_A": ratio(quantile_of(then, 0.1), s.usual),
        "bef_A": ratio(np.abs(median(first)), s.usual),
        "late_jump_A": ratio(jump - (b[row, at] - b[row, at - 1]), s.usual),
        "late_yjump_hop": ratio(jump, s.hop),
        "late_fit": ratio(step, np.sqrt(error / hours)),
    }


def leak(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """A slow rise through the day: slope by least squares, and where it starts and ends."""
    d = after.hour_mid[0] - earlier.hour_mid[benchmark]
    hours = d.shape[-1]
    known = ~np.isnan(d)
    t = np.where(known, (np.arange(hours) + 0.5) / hours - 0.5, np.nan)
    t = t - (np.nansum(t, -1) / np.maximum(known.sum(-1), 1))[:, None]
    dc = d - (np.nansum(d, -1) / np.maximum(known.sum(-1), 1))[:, None]
    both, tt = np.nansum(t * dc, -1), np.nansum(t * t, -1)
    slope = both / np.maximum(tt, 1e-9)
    sixth, third = max(1, hours // 6), max(1, hours // 3)
    return {
        "rise_A": ratio(slope, s.usual),
        "rise_w": ratio(slope, s.width),
        "rise_corr": ratio(both, np.sqrt(tt * np.nansum(dc * dc, -1))),
        "end_A": ratio(median(d[:, -sixth:]), s.usual),
        "start_A": ratio(median(d[:, :sixth]), s.usual),
        "endh_A": ratio(quantile_of(d[:, -third:], 0.25), s.usual),
    }
