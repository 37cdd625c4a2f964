"""The learned part: sums of small question tables, as plain arrays written by `tests/judge/fit.py`.

Each table asks the same few yes/no questions of an SLI ("does it stand more than 1.7 usual movements higher?") and
looks its points up; the points of all tables add up to the score, a log odds. Most questions may only add points
when their number grows (see `views.FREE`), so that a larger deviation is never judged more mildly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from services.snapshotter.judge.values import Floats, Ints
from services.snapshotter.judge.views import NAMES

TOGETHER = 16  # tables that are looked up at a time: what they need stays in the cache


@dataclass(frozen=True)
class Tables:
    """R tables of K <= 8 questions each. A row answers question k with yes when `x[feature[k]] > threshold[k]`."""

    feature: Ints  # (R, K)
    threshold: Floats  # (R, K)
    points: Floats  # (R, 2**K)
    start: float

    def score(self, x: Floats) -> Floats:
        """(n, F) -> (n,) log odds. NaN answers every question with no."""
        out = np.full(len(x), self.start)
        if not len(x):
            return out
        columns = np.ascontiguousarray(x.T)
        for lo in range(0, len(self.feature), TOGETHER):
            part = slice(lo, lo + TOGETHER)
            feature, threshold = self.feature[part], self.threshold[part]
            at = np.zeros((len(feature), len(x)), np.uint8)
            for k in range(feature.shape[1]):
                at |= (columns[feature[:, k]] > threshold[:, k, None]).view(np.uint8) << k
            points, leaves = self.points[part].reshape(-1), self.points.shape[1]
            out += points.take(at + leaves * np.arange(len(feature))[:, None]).sum(axis=0)
        return out

    def credit(self, x: Floats) -> Floats:
        """(F,) row -> (F,) points that each number earned: what would be lost if its answers were no."""
        yes = x[self.feature] > self.threshold
        question = np.arange(self.feature.shape[1])
        at = (yes << question).sum(axis=1)[:, None]
        row = np.arange(len(at))[:, None]
        lost = self.points[row, at] - self.points[row, at & ~(1 << question)]
        return np.asarray(np.bincount(self.feature[yes], lost[yes], len(x)), np.float64)


@dataclass(frozen=True)
class Fitted:
    """Everything that `fit.py` decided.

    one_day, several_days  tables for a benchmark alone, and for two earlier days or more
    limits                 number of earlier days -> limit at `series` SLIs; the largest key that is not above holds
    extremes               number of a view -> what hardly any normal day exceeds, with one earlier day, two, or more
    slope                  the limit grows by `slope * ln(N / series)`: one false-alarm budget for all SLIs of a CR
    older                  number of earlier days -> what is added where the benchmark is not the last of them: a day
                           differs more from one that is longer ago
    beside                 what is taken off the limit of an SLI when another one that decides moved: one that fails makes
                           others likelier to
    """

    one_day: Tables
    several_days: Tables
    limits: Mapping[int, float]
    slope: float
    series: int
    extremes: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    older: Mapping[int, float] = field(default_factory=dict)
    beside: float = 0.0

    def limit(self, days: int, n: int, is_older: bool = False) -> float:
        """The score that one of `n` SLIs must pass, given `days` earlier days, the benchmark the last or an older one."""
        base = self.limits[max(d for d in self.limits if d <= max(days, 1))]
        more = self.older[max(d for d in self.older if d <= days)] if is_older and self.older else 0.0
        return base + more + self.slope * math.log(max(n, 1) / self.series)

    def score(self, days: int, x: Floats) -> Floats:
        return self.tables(days).score(x)

    def tables(self, days: int) -> Tables:
        return self.one_day if days < 2 else self.several_days


def parse(rows: Sequence[tuple[str | float, ...]], start: float) -> Tables:
    """Tables from their written form: name, threshold, name, threshold, ..., "points separated by blanks"."""
    at = {name: i for i, name in enumerate(NAMES)}
    return Tables(
        np.array([[at[str(n)] for n in row[:-1:2]] for row in rows], np.intp),
        np.array([[float(t) for t in row[1:-1:2]] for row in rows], np.float64),
        np.array([[float(p) for p in str(row[-1]).split()] for row in rows], np.float64),
        start,
    )
