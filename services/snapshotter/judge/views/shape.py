"""Did the shape change? Spread, tails, bursts, frozen, dead, rare events."""

from __future__ import annotations

import numpy as np

from services.snapshotter.judge.measures import Days
from services.snapshotter.judge.order import median, over, under
from services.snapshotter.judge.values import Floats
from services.snapshotter.judge.views.level import quarters
from services.snapshotter.judge.views.scale import Scale, quantile_of, ratio


def spread(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """Inside each hour, and from step to step, as logarithms of ratios (0 = unchanged)."""
    sb, sy = earlier.hour_spread(benchmark), after.hour_spread(0)
    qb, qy, rb, ry = earlier.q[:, benchmark], after.q[:, 0], earlier.r[:, benchmark], after.r[:, 0]
    hours = np.log((sy + s.floor[:, None]) / (sb + s.floor[:, None]))
    wider = median(sy - sb)
    return {
        "spread": median(hours),
        "spread_weak": np.fmin.reduce(quarters(hours)),
        "spread_q10": quantile_of(hours, 0.1),
        "noise_r": np.log((after.noise[0] + s.floor) / (earlier.noise[benchmark] + s.floor)),
        "sd_r": np.log((qy[4] - qy[2] + s.floor) / (qb[4] - qb[2] + s.floor)),
        "spread_W": ratio(wider, s.width),
        "spread_A": ratio(wider, s.usual),
        "range_r": np.log((ry[3] - ry[2] + s.floor) / (rb[3] - rb[2] + s.floor)),
        **_hourly("sn", earlier.hour_noise[benchmark], after.hour_noise[0], s),
    }


def _hourly(name: str, b: Floats, y: Floats, s: Scale) -> dict[str, Floats]:
    """Logarithms of ratios hour by hour: the typical hour, the weakest quarter, the tenth that rose least."""
    hours = np.log((y + s.floor[:, None]) / (b + s.floor[:, None]))
    return {
        name: median(hours),
        name + "_weak": np.fmin.reduce(quarters(hours)),
        name + "_q10": quantile_of(hours, 0.1),
        name + "_share": (hours > 0).mean(-1),
    }


def tail(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """How far the highest readings stand above the median of their hour."""
    rb, ry = earlier.r[:, benchmark], after.r[:, 0]
    out = {}
    for i, name in ((3, "97"), (4, "995"), (5, "100")):
        out["tail_r" + name] = np.log((np.maximum(ry[i], 0) + s.floor) / (np.maximum(rb[i], 0) + s.floor))
        out["tail_A" + name] = ratio(ry[i] - rb[i], s.usual)
        out["tail_w" + name] = ratio(ry[i] - rb[i], s.width)
    tb, ty = earlier.hour_top[benchmark], after.hour_top[0]
    out |= _hourly("top", tb, ty, s) | _hourly("up", earlier.hour_up[benchmark], after.hour_up[0], s)
    out["top_A"] = ratio(median(ty - tb), s.usual)
    out["top_w"] = ratio(median(ty - tb), s.width)
    out["skew"] = np.log((median(ty) + s.floor) / (median(after.hour_low[0]) + s.floor)) - np.log(
        (median(tb) + s.floor) / (median(earlier.hour_low[benchmark]) + s.floor)
    )
    out["ltail_r97"] = np.log((np.maximum(-ry[2], 0) + s.floor) / (np.maximum(-rb[2], 0) + s.floor))
    return out


def bursts(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """Share of the steps (log10) that stand above what earlier days ever did, by growing margins."""
    y, rb = np.ascontiguousarray(after.residual[0]), earlier.r[:, benchmark]
    top = np.fmax.reduce(earlier.r[5], axis=0)
    margin = 0.5 * s.width + 0.05 * s.level + 0.5 * s.tick

    peaks, was = after.hour_top[0], earlier.hour_top[benchmark]
    n = len(y)
    limits = np.stack([
        top, top + 1.5 * s.width + s.tick, top + 0.1 * s.level + 0.5 * s.noise, rb[4] + margin, rb[3] + margin,
    ])  # fmt: skip
    unread = over(y, np.full((1, n), np.finfo(float).max))
    beyond = np.concatenate([over(y, limits[:, :n]) - unread, under(y, -limits[:, n:])], axis=1)
    share = np.log10(beyond / y.shape[-1] + 1e-4)
    return {
        **dict(zip(("over", "over_w", "over_lev", "over995", "over97"), share, strict=True)),
        "overh": (peaks > top[:, None]).mean(-1),
        "overh_w": (peaks > (top + 1.5 * s.width + s.tick)[:, None]).mean(-1),
        "overh995": (peaks > (rb[4] + margin)[:, None]).mean(-1) - (was > (rb[4] + margin)[:, None]).mean(-1),
        "overh97": (peaks > (rb[3] + margin)[:, None]).mean(-1) - (was > (rb[3] + margin)[:, None]).mean(-1),
    }


def still(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """Frozen and dead: the longest run of one value, and of zero, beyond the longest of any earlier day."""
    return {
        "zeros_d": after.zeros[0] - np.fmax.reduce(earlier.zeros, axis=0),
        "dead_d": after.dead[0] - np.fmax.reduce(earlier.dead, axis=0),
        "still_d": after.still[0] - np.fmax.reduce(earlier.still, axis=0),
        "still_y": after.still[0],
        "unstill": np.fmin.reduce(earlier.still, axis=0) - after.still[0],
    }


def rare(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """Counts: steps that are not zero, and the sum in ticks, as ratios and against Poisson's spread."""
    steps = after.residual.shape[-1]
    cb, cy = (1 - earlier.zeros[benchmark]) * steps, (1 - after.zeros[0]) * steps
    tb, ty = earlier.mean[benchmark] * steps, after.mean[0] * steps
    least = 2 * s.tick + 1e-300
    return {
        "cnt_r": np.log((cy + 2) / (cb + 2)),
        "cnt_z": (cy - cb) / np.sqrt(cy + cb + 1),
        "sum_r": np.log((np.maximum(ty, 0) + least) / (np.maximum(tb, 0) + least)),
        "sum_z": ratio(ty - tb, np.sqrt((np.abs(ty) + np.abs(tb) + s.tick) * s.tick)),
    }
