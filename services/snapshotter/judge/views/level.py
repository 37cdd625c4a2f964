"""Did the level go up? At once, late, or slowly; and was it the deploy?

Everything is paired by clock: `d[h]` is the median of hour h after minus that of the same hour in the benchmark.
"""

from __future__ import annotations

import numpy as np

from services.snapshotter.judge.measures import QUANTILES, Days
from services.snapshotter.judge.order import median, nan_to
from services.snapshotter.judge.values import Floats
from services.snapshotter.judge.views.scale import Scale, quantile_of, quantiles_of, ratio


def quarters(a: Floats) -> Floats:
    """(..., 4k) -> (4, ...) the median of each quarter of the window."""
    return np.moveaxis(median(a.reshape(*a.shape[:-1], 4, -1)), -1, 0)


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
    out |= {"even": ratio(weak, np.fmax.reduce(parts) - weak + 0.1 * s.usual)}
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
    } | _alone(e=earlier.half_mid[-1], y=after.half_mid[0], weak=weak, s=s)


def _alone(e: Floats, y: Floats, weak: Floats, s: Scale) -> dict[str, Floats]:
    """The jump at the deploy against every other jump of the two days around it, seen through half an hour to 2 h.

    Needs no yardstick but the series' own restlessness: of 95 places it is seldom the border that jumps furthest.
    """
    z, at, out = np.concatenate([e, y], axis=-1), e.shape[-1], {}
    half = len(z) // 2  # what follows is the mirror, whose jumps are as large
    for width in (1, 2, 4):
        jumps = jumps_of(z, width)
        here = jumps[:, at - width]
        others = np.abs(np.concatenate([jumps[:half, : at - 2 * width + 1], jumps[:half, at:]], axis=1))
        most, much = (np.tile(v, 2) for v in (np.fmax.reduce(others, axis=1), quantile_of(others, 0.9)))
        out[f"Ja{width}_A"] = ratio(here - most, s.usual)
        out[f"Ja{width}_r"] = ratio(here, most + 0.02 * s.usual)
        out[f"Ja{width}_q"] = ratio(here, much + 0.02 * s.usual)
        out[f"Jah{width}"] = ratio(np.fmin(here, weak), most + 0.02 * s.usual)
    return out


def jumps_of(z: Floats, width: int) -> Floats:
    """(N, B) -> (N, B - 2 * width + 1): the mean of `width` blocks minus that of the `width` before them."""
    parts = [z[:, k : z.shape[1] - width + 1 + k] for k in range(width)]
    means = np.add.reduce(parts) / width
    return np.asarray(means[:, width:] - means[:, :-width])


def late_start(d: Floats, least: int = 2) -> tuple[Floats, np.ndarray, Floats, Floats]:
    """The best single step in `d` (N, H): its height, the hour it starts, the mean before and the mean after.

    Least squares over all hours that leave `least` on each side (the classic change-point statistic, Hinkley 1970).
    """
    hours = d.shape[-1]
    known = ~np.isnan(d)
    total, count = np.cumsum(nan_to(d), -1), np.cumsum(known, -1)
    k = np.arange(least, hours - least + 1)
    n0, n = count[:, k - 1], count[:, -1:]
    n1 = n - n0
    m0 = total[:, k - 1] / np.maximum(n0, 1)
    m1 = (total[:, -1:] - total[:, k - 1]) / np.maximum(n1, 1)
    step = np.where((n0 >= least) & (n1 >= least), m1 - m0, 0.0)
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
    tenth, quarter = quantiles_of(then, (0.1, 0.25))
    middle, most = quantiles_of(first, (0.5, 0.75))
    gap = quarter - most
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
        "late_q_A": ratio(tenth, s.usual),
        "bef_A": ratio(np.abs(middle), s.usual),
        "late_jump_A": ratio(jump - (b[row, at] - b[row, at - 1]), s.usual),
        "late_yjump_hop": ratio(jump, s.hop),
        "late_fit": ratio(step, np.sqrt(error / hours)),
    } | _sharp(earlier.half_mid[benchmark], after.half_mid[0], s)


def _sharp(b: Floats, y: Floats, s: Scale) -> dict[str, Floats]:
    """Whether the best late step is a jump: against every other jump of both days, seen through 1 h on each side."""
    d = y - b
    _, at, mean0, mean1 = late_start(d, 4)
    blocks = np.arange(d.shape[-1])
    own, was, both = jumps_of(y, 2), jumps_of(b, 2), jumps_of(d, 2)
    place = np.arange(own.shape[-1])
    near = np.abs(place - (at - 2)[:, None])
    here = np.fmax.reduce(np.where(near <= 1, own, np.nan), axis=1)
    here_d = np.fmax.reduce(np.where(near <= 1, both, np.nan), axis=1)
    most = np.fmax(np.fmax.reduce(np.where(near > 2, np.abs(own), np.nan), axis=1), np.fmax.reduce(np.abs(was), axis=1))
    most_d = np.fmax.reduce(np.where(near > 2, np.abs(both), np.nan), axis=1)
    is_late = blocks >= at[:, None]
    then, first = np.where(is_late, d, np.nan), np.where(is_late, np.nan, d)
    low = quantile_of(then, 0.1)
    middle, high = quantiles_of(first, (0.5, 0.9))
    hold = np.fmin(here, low - middle)
    scatter = median(np.abs(first - middle[:, None]))
    return {
        "ls_A": ratio(here - most, s.usual),
        "ls_r": ratio(here, most + 0.02 * s.usual),
        "lsd_A": ratio(here_d - most_d, s.usual),
        "lsd_r": ratio(here_d, most_d + 0.02 * s.usual),
        "ls_hold": ratio(hold, most + 0.02 * s.usual),
        "ls_holdA": ratio(hold, s.usual),
        "ls_gap": ratio(low - high, s.usual),
        "ls_z": ratio(mean1 - mean0, 1.48 * scatter + 0.05 * s.usual),
        "ls_share": at / blocks[-1],
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
