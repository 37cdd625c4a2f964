"""From windows to days that can be laid over each other: same clock, same steps, one power of two per SLI."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from services.snapshotter.judge.values import Bools, Floats, Ints, Window

DAY_S = 86400.0
HOURS = 24
MOST_DAYS = 8  # the tables were fitted on up to seven days before the benchmark
DAY_READ = 0.5  # an earlier day counts when this share of its steps was read by some SLI
SETTLE_MOST_S = 7200.0
FEW = 32
_HAIR = 1e-6  # clocks that differ by less than this share of a step are the same clock


@dataclass(frozen=True)
class Stack:
    """Some SLIs on one clock that starts at the deploy; T steps a day, padded to whole hours."""

    all: Floats  # (D + 1, n, T) earlier days, oldest first, the benchmark among them; behind them the after day
    exponent: Ints  # (n,) values were multiplied by 2**-exponent: exact, and no scale is special

    @property
    def days(self) -> Floats:
        """(D, n, T)"""
        return self.all[:-1]

    @property
    def after(self) -> Floats:
        """(n, T)"""
        return np.asarray(self.all[-1])


@dataclass(frozen=True)
class _Piece:
    """Which steps of a window go where on the deploy's clock."""

    values: np.ndarray
    source: slice | Ints
    target: slice | Ints


class Clock:
    """How the windows lie over each other; `take` copies the rows that are asked for and no more."""

    days: int  # how many earlier days there are
    benchmark: int  # which of them is the benchmark
    covered: int  # steps from the deploy to the end of what the after window covers
    expected: Bools  # (T,) steps of the nominal day that are not settling
    at_border: bool  # the last earlier day runs up to the deploy

    def __init__(
        self, before: Window, after: Window, deployed_at_s: float, settle_s: float, history: Sequence[Window] = ()
    ) -> None:
        step = float(after.step_s)
        self.width = int(np.ceil(DAY_S / step / HOURS - _HAIR)) * HOURS
        origin = deployed_at_s + after.utc_offset_s
        at, day = _slots(after, origin)
        keep = np.flatnonzero((day == 0) & (at < self.width))
        self._after = _piece(after.values, keep, at[keep])
        covered = np.zeros(self.width, bool)
        covered[at[keep]] = True
        self.covered = int(np.flatnonzero(covered).max(initial=-1)) + 1
        # Minutes at the very start that no SLI has at all are settle minutes that the caller masked: they are masked
        # in the days before as well. Later ones are a hole, and stay expected.
        silent = np.arange(self.width) * step < settle_s - _HAIR * step
        nothing = silent.copy()
        nothing[at[keep]] |= ~_read(after.values, keep)
        leading = int(np.argmin(np.append(nothing, False)))
        silent[: leading if leading * step <= SETTLE_MOST_S else 0] = True
        self.expected = (np.arange(self.width) * step < DAY_S - _HAIR * step) & ~silent
        self._silent = silent
        past = _days(history, origin, self.width, before.step_s)
        at, day = _slots(before, origin)
        keep = np.flatnonzero((np.arange(len(at)) >= len(at) - round(DAY_S / step)) & (at < self.width))
        away = (origin - before.start_s - before.utc_offset_s) / DAY_S
        same = max(1, round(away))
        if -same in past and abs(away - same) * DAY_S >= step:  # another clock: a day of its own, before all others
            same = 1 + max(-d for d in past)
        past[-same] = [_piece(before.values, keep, at[keep])]
        order = sorted(past)[-MOST_DAYS:]
        order = order if -same in order else [-same, *order[1:]]
        self._past = [past[d] for d in order]
        self.days, self.benchmark = len(order), order.index(-same)
        whole = np.ones(self.width, bool)
        for pieces in (*self._past, [self._after]):
            filled = np.zeros(self.width, bool)
            for p in pieces:
                filled[p.target] = True
            whole &= filled
        self._is_whole = bool(whole.all())
        self.at_border = order[-1] == -1 and any(abs(w.end_s - deployed_at_s) <= 2 * step for w in history)

    def over(self, rows: Sequence[int], before: Floats, after: Floats) -> Clock:
        """The same clock over some rows, with other samples of the benchmark and of the after window, (len(rows), T)."""
        other = copy(self)
        other._past = [[replace(p, values=p.values[rows]) for p in pieces] for pieces in self._past]
        other._past[self.benchmark] = [replace(p, values=before) for p in self._past[self.benchmark]]
        other._after = replace(self._after, values=after)
        return other

    def take(self, rows: slice, room: Floats | None = None) -> Stack:
        """Copy some rows, into `room` if given, for (days + 1, n, width) or more. Infinities count as not read. Inputs are
        never changed."""
        out = self._copied(rows, room)
        out[~np.isfinite(out)] = np.nan
        if self._silent.any():
            out[:, :, self._silent] = np.nan
        exponent = exponent_of(np.fmin.reduce(out, axis=2), np.fmax.reduce(out, axis=2))
        out *= np.ldexp(1.0, -exponent)[:, None]
        return Stack(out, exponent)

    def whole(self, rows: slice, room: Floats) -> tuple[Floats, Floats] | None:
        """Some rows as they are, (days + 1, n, T) in `room`, and the sum of each day, where every step was read and none
        settles: then there is nothing to look for, and what was measured can be multiplied in the samples' stead."""
        if not self._is_whole or self._silent.any():
            return None
        out = self._copied(rows, room)
        total = np.add.reduce(out, axis=2)
        return (out, total) if np.isfinite(total).all() else None

    def _copied(self, rows: slice, room: Floats | None) -> Floats:
        n = len(range(*rows.indices(np.shape(self._after.values)[0])))
        size = (self.days + 1) * n * self.width
        out = (np.empty(size) if room is None else room[:size]).reshape(self.days + 1, n, self.width)
        if not self._is_whole:
            out.fill(np.nan)
        for d, pieces in enumerate((*self._past, [self._after])):
            for p in pieces:
                out[d][:, p.target] = p.values[rows][:, p.source]
        return out


def exponent_of(lowest: Floats, highest: Floats) -> Ints:
    """(D, n) extremes of the days -> (n,) the power of two just above all that was read, within what floats can take."""
    size = np.fmax.reduce(np.fmax(highest, -lowest), axis=0)
    return np.clip(np.frexp(np.where(np.isfinite(size), size, 0.0))[1], -1000, 1000).astype(np.intp)


def days_before(history: Sequence[Window], after: Window, deployed_at_s: float) -> list[Window]:
    """History cut into days that end at the deploy's time of day, newest first. What lacks half of its steps is left out."""
    found = []
    for back in range(1, MOST_DAYS + 1):
        first = deployed_at_s + after.utc_offset_s - back * DAY_S
        for w in history:
            lo, hi = (round((at - w.start_s - w.utc_offset_s) / w.step_s) for at in (first, first + DAY_S))
            lo, hi = max(0, lo), min(hi, np.shape(w.values)[1])
            day = np.asarray(w.values)[:, lo : max(lo, hi)]
            if _read(day, np.arange(day.shape[1])).sum() >= DAY_READ * DAY_S / w.step_s:
                found.append(replace(w, start_s=w.start_s + lo * w.step_s, values=day))
    return found


def _piece(values: np.ndarray, source: Ints, target: Ints) -> _Piece:
    """With slices where the steps follow each other, as they almost always do."""
    return _Piece(values, _run(source), _run(target))


def _read(values: np.ndarray, steps: Ints) -> Bools:
    """Which of the steps were read of some series. (The first few have nearly always read them all.)"""
    seen, at = np.zeros(len(steps), bool), _run(steps)
    for lo in range(0, len(values), FEW):
        seen |= np.isfinite(np.asarray(values)[lo : lo + FEW, at]).any(axis=0)
        if seen.all():
            break
    return seen


def _run(at: Ints) -> slice | Ints:
    return slice(int(at[0]), int(at[-1]) + 1) if len(at) and (np.diff(at) == 1).all() else at


def _slots(w: Window, origin: float) -> tuple[Ints, Ints]:
    """For each step of a window: its slot in the day that starts at the deploy's clock, and which day (0 = after)."""
    since = w.start_s + w.utc_offset_s - origin + w.step_s * np.arange(np.shape(w.values)[1])
    day = np.floor(since / DAY_S + _HAIR * w.step_s / DAY_S)
    return np.floor((since - day * DAY_S) / w.step_s + _HAIR).astype(np.intp), day.astype(np.intp)


def _days(history: Sequence[Window], origin: float, width: int, step_s: float) -> dict[int, list[_Piece]]:
    """History cut into days that end at the deploy: -1 is the last day before it. Scraps of days are left out."""
    out: dict[int, list[_Piece]] = {}
    read: dict[int, int] = {}
    for w in history:
        if abs(w.step_s / step_s - 1) > _HAIR:
            continue
        at, day = _slots(w, origin)
        for d in np.unique(day[day < 0]).tolist():
            keep = np.flatnonzero((day == d) & (at < width))
            out.setdefault(d, []).append(_piece(w.values, keep, at[keep]))
            read[d] = read.get(d, 0) + int(_read(w.values, keep).sum())
    return {d: pieces for d, pieces in out.items() if read[d] >= DAY_READ * DAY_S / step_s}
