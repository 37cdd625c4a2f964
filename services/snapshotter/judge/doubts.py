"""What an SLI's answer cannot rest on: one odd minute, a counter that nobody read as a rate, half a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np

from services.snapshotter.judge.values import Bools, Comparison, Floats, Rule, Window, said

MINUTE_S = 60.0
# An odd minute stands out from the middle of its window so many times as far as everything else; what takes its place is the
# middle of so many steps on each side.
ODD, AROUND = 10.0, 15
# A counter goes up in half of its steps or more, of a hundred at least, and never comes down but to start anew, a few times a day.
LEAST_STEPS, RISES, RESETS, ANEW = 100, 0.5, 3, 0.1
# Of both windows so much must have been read, at the same minutes, before an SLI is called `steady`.
STEADY_READ, ALL_READ = 0.8, 0.95


@dataclass(frozen=True)
class Odd:
    """One minute that stands out by itself: which steps of the window, when, and the value that stands out."""

    steps: slice
    at_s: float
    value: float


def stands_out(r: Floats) -> Bools:
    """Which series may have an odd minute, from the quantiles of a day's residuals, (6, N): only of them it is looked for."""
    return np.asarray(np.maximum(r[-1], -r[0]) > ODD * np.maximum(r[-2], -r[1]))


def odd_minute(w: Window, row: int) -> Odd | None:
    """The minute of a series that has all that stands out of it; None where the steps are longer or there is none. A single
    event where all else is 0 is none: rare events are counted."""
    few = int(MINUTE_S / w.step_s + 1e-6)
    values = np.asarray(w.values[row], np.float64)
    known = np.flatnonzero(np.isfinite(values))
    if few < 1 or len(known) < 4 * (few + AROUND):
        return None
    middle = np.median(values[known])
    away = np.abs(values[known] - middle)
    most = np.partition(away, len(away) - few - 1)[len(away) - few - 1]
    out = known[away > ODD * most]
    if not len(out) or out[-1] - out[0] >= few or most == middle == 0:
        return None
    at = int(known[away.argmax()])
    return Odd(slice(int(out[0]), int(out[-1]) + 1), w.start_s + at * w.step_s, float(values[at]))


def without(w: Window, rows: Sequence[int], odd: Sequence[Odd | None]) -> Window:
    """Some rows of a window, in which the odd minute of each, if it has one, is like the steps around it."""
    values = np.array(w.values[rows], np.float64)
    for row, one in zip(values, odd, strict=True):
        if one is not None:
            around = np.r_[row[max(0, one.steps.start - AROUND) : one.steps.start],
                           row[one.steps.stop : one.steps.stop + AROUND]]  # fmt: skip
            around = around[np.isfinite(around)]
            row[one.steps] = np.median(around) if len(around) else np.nan
    return replace(w, values=values, missing=tuple(w.missing[i] for i in rows))


def calm_but_for(c: Comparison, odd: Sequence[Odd], unit: str) -> Comparison:
    """What holds without the odd minutes, at most one of each window."""
    told = (
        f"{datetime.fromtimestamp(one.at_s, timezone.utc).strftime('%d %b %H:%M UTC')} ({said(unit, one.value)})"  # noqa: UP017
        for one in odd
    )
    text = f"{c.sentence}; left out as odd for one minute: {' and '.join(told)}"
    return replace(c, sentence=text, numbers={**c.numbers, "odd_minute": odd[-1].value})


def may_only_grow(noise: Floats, read: Floats, lowest: Floats, highest: Floats, steps: int) -> Bools:
    """Which series hardly turn back, from the measures of a day: all their movements together are not much more than their
    range. (Each reset goes down by what was climbed before it.)"""
    return np.asarray(noise * read * (steps - 1) <= (2.0 * RESETS + 1.0) * (highest - lowest))


def is_counter(*windows: Floats) -> bool:
    """Whether a series only grows in every window, but for a few new beginnings."""
    return all(_only_grows(v[np.isfinite(v)]) for v in windows)


def _only_grows(v: Floats) -> bool:
    step = np.diff(v)
    falls = np.flatnonzero(step < 0)
    if len(step) < LEAST_STEPS or v.min() < 0 or (step > 0).mean() < RISES or len(falls) > RESETS:
        return False
    return bool((v[falls + 1] <= ANEW * v[falls]).all())


def counter(rule: Rule, was: float, now: float) -> Comparison:
    """A counter says how long it has counted, whatever the release did."""
    text = (
        f"{rule.title} only grows, in the benchmark as well ({said(rule.unit, was, now)}): a counter's level says nothing of "
        "a release; its query has to ask for its rate"
    )
    return Comparison(rule.sli, "inconclusive", text, rule.decides, None, was, now)


def enough_for_steady(c: Comparison, before: float, after: float, paired: float) -> Comparison:
    """`steady` where nearly all was read; a day of which much is missing can say that it moved, not that it did not."""
    least = min(before, after, paired)
    if c.outcome != "steady" or least >= ALL_READ:
        return c
    read = f"{before:.0%} of the benchmark and {after:.0%} of the after window were read"
    if least >= STEADY_READ:
        return replace(c, sentence=f"{c.sentence}; {read}")
    minutes = "" if paired >= min(before, after) - 0.01 else f", {paired:.0%} at the same minutes"
    return replace(
        c, outcome="inconclusive", sentence=f"{c.sentence}; but {read}{minutes}, too little to call it steady"
    )
