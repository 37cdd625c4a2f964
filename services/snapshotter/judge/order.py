"""Order statistics that know about gaps: NaN means "not read" and never counts.

numpy's nan-functions do the same an order of magnitude slower; here one sort per array serves every quantile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from services.snapshotter.judge.values import Bools, Floats, Ints

LONG = 500  # so many values lie on pages of their own


def sorted_with_count(a: Floats) -> tuple[Floats, int | Ints]:
    """Sort along the last axis (NaN go last) and count what was read."""
    s = np.sort(a, axis=-1)
    return s, count_of(s)


def count_of(s: Floats) -> int | Ints:
    """How many of each sorted row are not NaN, (...); one number where that is all of every row."""
    if not s.shape[-1] or not np.isnan(s[..., -1]).any():
        return int(s.shape[-1])
    return np.asarray(s.shape[-1] - np.isnan(s).sum(axis=-1))


def quantile(s: Floats, count: int | Ints, q: float) -> Floats:
    """Quantile `q` of sorted rows by linear interpolation (Hyndman and Fan's type 7); NaN for an empty row."""
    return quantiles(s, count, (q,))[0]


def quantiles(s: Floats, count: int | Ints, qs: Sequence[float]) -> list[Floats]:
    """Several quantiles of the same sorted rows."""
    if not s.shape[-1]:
        return [np.full(s.shape[:-1], np.nan) for _ in qs]
    if isinstance(count, int):  # one place for all rows
        places = [place(q, count) for q in qs]
        if count > LONG:  # rows that lie far apart are visited once
            s = s.take([min(k, count - 1) for at, _ in places for k in (at, at + 1)], axis=-1)
            places = [(2 * i, share) for i, (_, share) in enumerate(places)]
        return [between(s, at, share) for at, share in places]
    last = np.maximum(count - 1, 0)
    row, flat = np.arange(count.size).reshape(count.shape) * s.shape[-1], s.reshape(-1)
    out = []
    for q in qs:
        at = q * last
        lo = at.astype(np.intp)
        x, y = flat[row + lo], flat[row + np.minimum(lo + 1, last)]
        out.append(np.asarray(x + (at - lo) * (y - x)))
    return out


def place(q: float, count: int) -> tuple[int, float]:
    """After which of `count` ascending values the quantile `q` lies, and by what share of the way to the next."""
    at = q * (count - 1)
    return int(at), at - int(at)


def between(s: Floats, at: int, share: float) -> Floats:
    """What lies `share` of the way from column `at` to the next."""
    x = s[..., at]
    return np.asarray(x + share * (s[..., at + 1] - x) if share else x + 0.0)


def over(s: Floats, limits: Floats) -> Ints:
    """How many of each ascending row (NaN not allowed) are above each of its limits, (K, N): a binary search in all rows
    at once."""
    return np.asarray(s.shape[1] - _first(s, limits, np.greater))


def under(s: Floats, limits: Floats) -> Ints:
    """How many of each ascending row (NaN not allowed) are below each of its limits, (K, N)."""
    return _first(s, limits, lambda v, limit: ~(v < limit))  # none is below a limit that is NaN


def _first(s: Floats, limits: Floats, passes: Callable[[Floats, Floats], Bools]) -> Ints:
    """The place in each ascending row of the first value that passes a limit, the row's width where none does."""
    rows, width = s.shape
    flat, row = s.reshape(-1), np.arange(rows) * width
    lo, hi = np.zeros(limits.shape, np.intp), np.full(limits.shape, width, np.intp)
    for _ in range(int(width).bit_length()):
        mid = np.minimum((lo + hi) // 2, width - 1)
        yes = passes(flat[row + mid], limits)
        hi = np.where(yes & (lo < hi), mid, hi)
        lo = np.where(yes | (lo >= hi), lo, mid + 1)
    return hi


def median(a: Floats) -> Floats:
    """Median along the last axis, gaps left out; NaN for an empty row."""
    s, count = sorted_with_count(a)
    return quantile(s, count, 0.5)


def nan_to(a: Floats, value: float = 0.0) -> Floats:
    """`a` with every NaN replaced."""
    return np.where(np.isnan(a), value, a)


def longest_run(same: Bools) -> Ints:
    """Length of the longest run of True along the last axis, shape (...)."""
    return runs_of(same)[0]


def runs_of(same: Bools) -> tuple[Ints, Ints]:
    """Length of the longest run of True along the last axis, and of all runs together, both of shape (...)."""
    flat = same.reshape(math.prod(same.shape[:-1]), same.shape[-1])
    longest, total = np.zeros((2, len(flat)), np.intp)
    rows = np.flatnonzero(flat.any(axis=1))  # most series never repeat a value: only the others are walked
    if len(rows):
        width = flat.shape[1] + 1  # a False ends each row
        fenced = np.zeros(len(rows) * width + 1, bool)
        fenced[1:].reshape(-1, width)[:, :-1] = flat[rows]
        turns = np.flatnonzero(fenced[1:] != fenced[:-1])  # a run starts, it stops, the next one starts, ...
        starts = turns[::2]
        runs, first = turns[1::2] - starts, np.searchsorted(starts, np.arange(len(rows)) * width)
        longest[rows], total[rows] = np.maximum.reduceat(runs, first), np.add.reduceat(runs, first)
    return longest.reshape(same.shape[:-1]), total.reshape(same.shape[:-1])
