"""What earlier days add: the after-day must leave, in one direction, everything that *every* earlier day did."""

from __future__ import annotations

import numpy as np

from services.snapshotter.judge.measures import Days
from services.snapshotter.judge.order import median
from services.snapshotter.judge.values import Floats
from services.snapshotter.judge.views.level import quarters
from services.snapshotter.judge.views.scale import Scale, quantile_of, quantiles_of, ratio


def beyond(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """Each number of the day beyond the highest of the earlier days, in units of its usual movement between days."""
    steps = after.residual.shape[-1]
    half = slice(earlier.read.shape[1] // 2)  # the spread of what follows, the mirror, is the same
    least = 2 * s.tick + 1e-300
    plain = {"q50": 3, "q5": 1, "q25": 2, "q75": 4, "q95": 5, "q100": 6}
    pairs = {k: (earlier.q[i], after.q[i, 0]) for k, i in plain.items()}
    pairs |= {k: (earlier.r[i], after.r[i, 0]) for k, i in {"r97": 3, "r995": 4, "r100": 5}.items()}
    pairs["mean"] = (earlier.mean, after.mean[0])
    logs = {
        "sp": (
            np.log(np.tile(median(earlier.hour_spread(series=half)), 2) + s.floor),
            np.log(median(after.hour_spread(0)) + s.floor),
        ),
        "no": (np.log(earlier.noise + s.floor), np.log(after.noise[0] + s.floor)),
        "nz": (np.log((1 - earlier.zeros) * steps + 2), np.log((1 - after.zeros[0]) * steps + 2)),
        "sm": (
            np.log(np.maximum(earlier.mean * steps, 0) + least),
            np.log(np.maximum(after.mean[0] * steps, 0) + least),
        ),
    }
    out = {}
    for name, (was, now) in (pairs | logs).items():
        gap = now - np.fmax.reduce(was, axis=0)
        movement = median(np.abs(np.diff(was, axis=0)).T)
        out["h_" + name] = ratio(gap, movement + (0.1 * s.usual if name in pairs else 0.05))
        out["g_" + name] = ratio(gap, s.usual) if name in pairs else gap
        if name in _TYPICAL:
            middle = median(was.T)
            around = 1.4826 * median(np.abs(was - middle).T)
            out["z_" + name] = ratio(now - middle, around + movement + (0.1 * s.usual if name in pairs else 0.05))
            whole = np.fmax.reduce(was, axis=0) - np.fmin.reduce(was, axis=0)
            out["k_" + name] = ratio(gap, whole + (0.1 * s.usual if name in pairs else 0.05))
    return out


_TYPICAL = frozenset("q50 mean q75 q95 r97 sp no".split())  # noqa: SIM905


def pairs_beyond(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """What the after-day did to the benchmark, beyond what any earlier day did to the day before it, up or down."""
    half = earlier.read.shape[1] // 2  # what follows is the mirror
    mid, days = after.hour_mid[0, :half], earlier.hour_mid[:, :half]
    now, past = _moves(mid - days[benchmark]), _moves(np.diff(days, axis=0))
    out = {}
    for k, (up, down) in now.items():
        v, most = np.concatenate([up, down]), np.tile(np.fmax.reduce(np.fmax(*past[k]), axis=0), 2)
        out["p_" + k] = ratio(v - most, s.usual)
        out["pr_" + k] = ratio(v, np.fmax(most, 0) + 0.1 * s.usual)
    own = np.s_[:half]  # spread and noise are the same upside down
    for k, was, day in (
        ("sp", earlier.hour_spread(series=own), after.hour_spread(0, own)),
        ("sn", earlier.hour_noise[:, own], after.hour_noise[0, own]),
        ("top", earlier.hour_top, after.hour_top[0]),
    ):
        floor = s.floor[: day.shape[0], None]
        logs, day = np.log(was + floor), np.log(day + floor)
        moved = np.abs(median(np.diff(logs, axis=0)))
        above = day - np.fmax.reduce(logs, axis=0)
        found = {"p_": median(day - logs[benchmark]) - np.fmax.reduce(moved, axis=0), "x_": median(above)}
        found["xs_"] = (above > 0).mean(-1)
        out |= {name + k: v if k == "top" else np.tile(v, 2) for name, v in found.items()}
    return out


def _moves(d: Floats) -> dict[str, tuple[Floats, Floats]]:
    """(..., N, H) differences of days -> how far the level, its weakest quarter, its end against its start and its end
    moved up, and how far down."""
    third = max(1, d.shape[-1] // 3)
    level, parts = median(d), quarters(d)
    lower, last, upper = quantiles_of(d[..., -third:], (0.25, 0.5, 0.75))
    end = last - median(d[..., :third])
    return {
        "lvl": (level, -level),
        "weak": (np.fmin.reduce(parts), -np.fmax.reduce(parts)),
        "end": (end, -end),
        "last": (lower, -upper),
    }


def hours_beyond(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """Each hour beyond the highest of the same hour on all earlier days."""
    gap = after.hour_mid[0] - np.fmax.reduce(earlier.hour_mid, axis=0)
    movement = median(median(np.abs(np.diff(earlier.hour_mid, axis=0))).T)
    return {
        "ex_A": ratio(median(gap), s.usual),
        "ex_weak_A": ratio(np.fmin.reduce(quarters(gap)), s.usual),
        "ex_share": (gap > 0).mean(-1),
        "ex_w": ratio(median(gap), s.width),
        "ex_q75": ratio(quantile_of(gap, 0.75), s.usual),
        "ex_end": ratio(quantile_of(gap[:, -(gap.shape[-1] // 3) :], 0.25), s.usual),
        "ex_mv": ratio(median(gap), movement + 0.1 * s.usual),
    }


def border_beyond(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """The jump at the deploy beyond the jump that the same minute of the clock made on earlier days."""
    mid = earlier.hour_mid
    jump = after.hour_mid[0][:, 0] - mid[-1][:, -1]
    usual = mid[1:, :, 0] - mid[:-1, :, -1]
    gap = after.hour_mid[0] - np.fmax.reduce(mid, axis=0)
    return {
        "Jc_A": ratio(jump - median(usual.T), s.usual),
        "Jx_A": ratio(jump - np.fmax.reduce(usual, axis=0), s.usual),
        "hex_A": ratio(np.fmin(jump, median(gap)), s.usual),
    }
