"""A product's own limits, from day pairs on which nothing was deployed and nothing went wrong (split conformal).

Which pairs count is decided by those facts alone, never by the judge's own verdict: pairs that alarmed stay in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.snapshotter.judge.tables import Fitted
from services.snapshotter.judge.values import Comparison


@dataclass(frozen=True)
class Calibration:
    """Own limits when there are enough pairs, the given ones otherwise.

    pairs   n, the quiet pairs that were used
    needed  ceil(1 / alpha) - 1: with fewer no finite limit can promise alpha
    is_own  whether `fitted` holds the product's own limit
    """

    fitted: Fitted
    pairs: int
    needed: int
    is_own: bool


def top_score(comparisons: Sequence[Comparison], fitted: Fitted) -> float:
    """The highest score of one pair's SLIs, freed of their number N, so that pairs of other N compare."""
    scores = [c.numbers["score"] for c in comparisons if "score" in c.numbers]
    return max(scores, default=-math.inf) - fitted.slope * math.log(max(1, len(comparisons)) / fitted.series)


def calibrate(fitted: Fitted, tops: Sequence[float], days: int, alpha: float = 0.05) -> Calibration:
    """Replace the limit for `days` earlier days by the conformal one: the ceil((n + 1)(1 - alpha))-th smallest of n.

    tops  `top_score` of non-overlapping quiet pairs. Exchangeable pairs alarm with probability <= alpha
          (Vovk et al. 2005; Lei et al. 2018, theorem 2.2). Raises ValueError unless 0 < alpha < 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    n, needed = len(tops), math.ceil(1 / alpha - 1e-9) - 1
    rank = math.ceil((n + 1) * (1 - alpha) - 1e-9)
    if n < needed or rank > n:
        return Calibration(fitted, n, needed, False)
    limit = float(np.sort(np.asarray(tops, np.float64))[rank - 1])
    above = {d: v for d, v in fitted.limits.items() if d > days}
    nearest = max(d for d in fitted.limits if d <= max(days, 1))
    following = {days + 1: fitted.limits[nearest]} if days + 1 not in above else {}
    limits = dict(sorted({**fitted.limits, **following, days: limit}.items()))
    return Calibration(replace(fitted, limits=limits), n, needed, True)


def rate_interval(alarms: int, pairs: int, level: float = 0.9) -> tuple[float, float]:
    """Clopper and Pearson's (1934) exact interval of a false-alarm rate measured on later pairs."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, alarms, pairs - alarms + 1)) if alarms else 0.0
    high = float(beta.ppf(1 - tail, alarms + 1, pairs - alarms)) if alarms < pairs else 1.0
    return low, high
