"""The yardsticks of one comparison: how much an SLI moves by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.snapshotter.judge.measures import Days
from services.snapshotter.judge.order import quantiles, sorted_with_count
from services.snapshotter.judge.values import Floats

# 95 % of the natural day-to-day changes of level on real servers stay within this much of each yardstick
# (measured on label-verified normal days; see docs/judge.md).
OF_NOISE, OF_SPREAD, OF_LEVEL, OF_TICK = 0.24, 0.29, 0.078, 0.5
FAR = 1e3  # what "infinitely many yardsticks" is cut to


@dataclass(frozen=True)
class Scale:
    """Yardsticks of N SLIs, symmetric in the two windows, each (N,)."""

    noise: Floats  # step-to-step movement
    body: Floats  # 0.7413 * interquartile range: the standard deviation of a normal body
    width: Floats  # (95 % - 5 % quantile) / 3.3
    level: Floats
    tick: Floats
    hop: Floats  # upper-quartile movement from one hour to the next
    usual: Floats  # usual day-to-day movement of the level
    floor: Floats  # added inside logarithms, so that ticks and rounding are no ratio


def quantile_of(a: Floats, q: float) -> Floats:
    return quantiles_of(a, (q,))[0]


def quantiles_of(a: Floats, qs: Sequence[float]) -> list[Floats]:
    s, count = sorted_with_count(a)
    return quantiles(s, count, qs)


def ratio(a: Floats, b: Floats) -> Floats:
    """a / b cut to +-FAR; where b is 0 the sign of a decides. NaN stays. (Within numpy.errstate.)"""
    known = b > 0
    out = a / b if known.all() else np.where(known, a / b, np.sign(a) * FAR)
    return np.asarray(np.minimum(np.maximum(out, -FAR), FAR))


_FLIPPED = {"hour_up": "hour_down", "hour_down": "hour_up", "hour_top": "hour_low", "hour_low": "hour_top"}
_NEGATED = frozenset(("hour_mid", "half_mid", "mean"))


def both_ways(d: Days) -> Days:
    """(D, N) days and, behind them, the same upside down: (D, 2N), so that each view needs to know one direction only.
    The residuals stay as they are, (1, N, T)."""
    n, out = d.read.shape[1], {}
    for name, v in vars(d).items():
        axis = 2 if name in ("q", "r") else 1
        both = np.empty((*v.shape[:axis], 2 * n, *v.shape[axis + 1 :])) if name != "residual" else v
        if name in ("q", "r"):
            both[..., :n] = v
            np.negative(v[::-1], out=both[..., n:])
        elif name != "residual":
            both[:, :n] = v
            if name in _NEGATED:
                np.negative(v, out=both[:, n:])
            else:
                both[:, n:] = getattr(d, _FLIPPED.get(name, name))
        out[name] = both
    return Days(**out)


def scale_of(earlier: Days, benchmark: int, after: Days) -> Scale:
    qb, qy = earlier.q[:, benchmark], after.q[:, 0]
    noise = 0.5 * (earlier.noise[benchmark] + after.noise[0])
    body = 0.5 * 0.7413 * ((qb[4] - qb[2]) + (qy[4] - qy[2]))
    width = 0.5 * ((qb[5] - qb[1]) + (qy[5] - qy[1])) / 3.3
    level = 0.5 * (np.abs(qb[3]) + np.abs(qy[3]))
    tb, ty = earlier.tick[benchmark], after.tick[0]
    tick = np.maximum(tb, ty)
    steps = [np.abs(np.diff(h, axis=-1)) for h in (earlier.hour_mid[benchmark], after.hour_mid[0])]
    # one block alone has no next hour
    hop = np.nan_to_num(0.5 * (quantile_of(steps[0], 0.75) + quantile_of(steps[1], 0.75)))
    usual = (
        OF_NOISE * noise
        + OF_SPREAD * np.maximum(body, 0.5 * width)
        + OF_LEVEL * level
        + OF_TICK * np.minimum(tick, width + body + noise)
    )
    floor = 0.5 * tick + 0.05 * noise + 1e-12 * level + 1e-300
    return Scale(noise, body, width, level, tick, hop, usual, floor)
