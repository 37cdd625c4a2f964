"""Order statistics that know about gaps: NaN means "not read" and never counts.

numpy's nan-functions do the same an order of magnitude slower; here one sort per array serves every quantile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.snapshotter.judge.values import Bools, Floats, Ints


def sorted_with_count(a: Floats) -> tuple[Floats, Ints]:
    """Sort along the last axis (NaN go last) and count what was read: shapes (..., T) and (...)."""
    s = np.sort(a, axis=-1)
    return s, count_of(s)


def count_of(s: Floats) -> Ints:
    """How many of each sorted row are not NaN."""
    if not s.shape[-1] or not np.isnan(s[..., -1]).any():
        return np.full(s.shape[:-1], s.shape[-1], np.intp)
    return np.asarray(s.shape[-1] - np.isnan(s).sum(axis=-1))


def quantile(s: Floats, count: Ints, q: float) -> Floats:
    """Quantile `q` of sorted rows by linear interpolation (Hyndman and Fan's type 7); NaN for an empty row."""
    return quantiles(s, count, (q,))[0]


def quantiles(s: Floats, count: Ints, qs: Sequence[float]) -> list[Floats]:
    """Several quantiles of the same sorted rows."""
    if not s.shape[-1]:
        return [np.full(s.shape[:-1], np.nan) for _ in qs]
    if count.size and (least := int(count.min())) > 0 and least == int(count.max()):  # one place for all rows
        places = [(q * (least - 1), int(q * (least - 1))) for q in qs]
        return [_between(s[..., lo], s[..., min(lo + 1, least - 1)], at - lo) for at, lo in places]
    last = np.maximum(count - 1, 0)
    row, flat = np.arange(count.size).reshape(count.shape) * s.shape[-1], s.reshape(-1)
    out = []
    for q in qs:
        at = q * last
        lo = at.astype(np.intp)
        out.append(_between(flat[row + lo], flat[row + np.minimum(lo + 1, last)], at - lo))
    return out


def _between(x: Floats, y: Floats, share: float | Floats) -> Floats:
    return np.asarray(x + share * (y - x))


def over(s: Floats, limit: Floats) -> Ints:
    """How many of each ascending row (NaN not allowed) are above its limit: a binary search in all rows at once."""
    rows, width = s.shape
    flat, row = s.reshape(-1), np.arange(rows) * width
    lo, hi = np.zeros(rows, np.intp), np.full(rows, width, np.intp)
    for _ in range(int(width).bit_length()):
        mid = np.minimum((lo + hi) // 2, width - 1)
        above = flat[row + mid] > limit
        hi = np.where(above, mid, hi)
        lo = np.where(above | (lo >= hi), lo, mid + 1)
    return np.asarray(width - hi)


def under(s: Floats, limit: Floats) -> Ints:
    """How many of each ascending row (NaN not allowed) are below its limit."""
    rows, width = s.shape
    flat, row = s.reshape(-1), np.arange(rows) * width
    lo, hi = np.zeros(rows, np.intp), np.full(rows, width, np.intp)
    for _ in range(int(width).bit_length()):
        mid = np.minimum((lo + hi) // 2, width - 1)
        below = flat[row + mid] < limit
        lo = np.where(below & (lo < hi), mid + 1, lo)
        hi = np.where(below, hi, mid)
    return lo


def median(a: Floats) -> Floats:
    """Median along the last axis, gaps left out; NaN for an empty row."""
    s, count = sorted_with_count(a)
    return quantile(s, count, 0.5)


def nan_to(a: Floats, value: float = 0.0) -> Floats:
    """`a` with every NaN replaced."""
    return np.where(np.isnan(a), value, a)


def longest_run(same: Bools) -> Ints:
    """Length of the longest run of True along the last axis, shape (...)."""
    if not same.size:
        return np.zeros(same.shape[:-1], np.intp)
    flat = same.reshape(-1, same.shape[-1])
    out = np.zeros(len(flat), np.intp)
    rows = np.flatnonzero(flat.any(axis=1))  # most series never repeat a value: only the others are walked
    if len(rows):
        ends = np.zeros((len(rows), flat.shape[1] + 1), bool)
        ends[:, :-1] = flat[rows]
        stops = np.flatnonzero(~ends.ravel())
        runs = np.diff(stops, prepend=-1) - 1
        first = np.searchsorted(stops, np.arange(len(rows)) * ends.shape[1])
        out[rows] = np.maximum.reduceat(runs, first)
    return out.reshape(same.shape[:-1])
