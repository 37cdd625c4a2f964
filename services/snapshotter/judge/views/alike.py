"""Does the after-day run as the benchmark did, but for one shift, one step or one line?

Where the course of the day repeats itself, what remains after such a fit is little against what the day's course spans; a
series that wanders leaves as much as it has. Unlike the two days' own spread, what remains does not widen with the change.
"""

from __future__ import annotations

import numpy as np

from services.snapshotter.judge.measures import Days
from services.snapshotter.judge.order import median
from services.snapshotter.judge.values import Floats
from services.snapshotter.judge.views.level import late_start
from services.snapshotter.judge.views.scale import Scale, quantile_of, ratio


def alike(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """Of each fit by the hour: the change against what remains (`calm`), the day's course against it (`rep`), the change
    against the day's course (`own`), and how much less remains than of another fit."""
    b = earlier.hour_mid[benchmark]
    d = after.hour_mid[0] - b
    course = np.sqrt(_mean((b - _mean(b)[:, None]) ** 2))
    shift = median(d)
    step, at, mean0, mean1 = late_start(d)
    is_late = np.arange(d.shape[-1]) >= at[:, None]
    gap = quantile_of(np.where(is_late, d, np.nan), 0.1) - quantile_of(np.where(is_late, np.nan, d), 0.9)
    slope, by_line = _line(d)
    by_shift, by_step = d - shift[:, None], d - np.where(is_late, mean1[:, None], mean0[:, None])
    least = s.usual + 1e-300
    fits = (by_shift, by_step, by_line)
    shift_left, step_left, line_left = (np.sqrt(_mean(e * e)) + 0.05 * least for e in fits)
    shift_most, step_most, line_most = (quantile_of(np.abs(e), 0.9) + 0.1 * least for e in fits)
    span, own = course + 0.02 * least, course + 0.1 * least
    return {
        "fs_calm": ratio(step, step_most),
        "fs_rep": np.log(span / step_left),
        "fs_gapcalm": ratio(gap, step_most),
        "fs_gap_A": ratio(gap, least),
        "fs_gap_own": ratio(gap, own),
        "fl_calm": ratio(slope, line_most),
        "fl_rep": np.log(span / line_left),
        "fl_own": ratio(slope, own),
        "fl_fs": np.log(step_left / line_left),
        "fc_rep": np.log(span / shift_left),
        "fc_calm": ratio(shift, shift_most),
        "fs_fc": np.log(shift_left / step_left),
    }


def _mean(a: Floats) -> Floats:
    """Along the last axis, gaps left out; NaN for an empty row."""
    known = ~np.isnan(a)
    return np.asarray(np.where(known, a, 0.0).sum(-1) / known.sum(-1))


def _line(d: Floats) -> tuple[Floats, Floats]:
    """(N, H) -> the rise over the whole of the least-squares line, (N,), and what it leaves, (N, H)."""
    hours = d.shape[-1]
    t = np.where(np.isnan(d), np.nan, (np.arange(hours) + 0.5) / hours - 0.5)
    t, d = t - _mean(t)[:, None], d - _mean(d)[:, None]
    slope = np.nansum(t * d, -1) / np.maximum(np.nansum(t * t, -1), 1e-9)
    return slope, d - slope[:, None] * t
