"""What is decided before any statistics: absence, silence, constants, windows that cannot be matched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.snapshotter.judge.values import Bools, Comparison, Floats, Ints, Rule, Window, said

ENOUGH_PAIRED = 0.5  # share of the steps that both windows must have at the same minute of the clock
ENOUGH_EARLY = 0.5
ENOUGH = 0.6  # share of a day's steps below which a full day is not judged
COMPLETE = 0.95  # share of the steps that "all day" needs
LEAST_STEPS = 5
# Share of the hours that may be of another kind (working day, week-end): of a day that is like the after day; of the benchmark,
# where no day is, before a change is doubted.
ALIKE, DOUBTED = 0.25, 0.5
GROSS_CONSTANT = 0.5  # an early look minds a constant that changed by this share: a slow gauge ticks, a crash halves
_DAY_S, _HOUR_S = 86400.0, 3600.0
_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def unlike_steps(rule: Rule, before_s: float, after_s: float) -> Comparison:
    text = f"{rule.title}: cannot be compared, the benchmark was read every {before_s:g} s and now every {after_s:g} s"
    return Comparison(rule.sli, "inconclusive", text, rule.decides)


@dataclass(frozen=True)
class Read:
    """How much of some SLIs was read, and between which values; each (n,), in the SLIs' own units."""

    before: Floats  # share of the expected steps
    after: Floats
    paired: Floats  # share of the expected steps that both have
    lowest: Floats  # (2, n) before, after
    highest: Floats


def all_read(lowest: Floats, highest: Floats) -> Read:
    """Where nothing is missing there is nothing to count; (2, n) extremes of benchmark and after window."""
    ones = np.ones(lowest.shape[1])
    return Read(ones, ones, ones, lowest, highest)


def count(bench: Floats, after: Floats, expected: Bools, exponent: Ints) -> Read:
    """(n, T) benchmark and after window on one clock."""
    total = max(1, int(expected.sum()))
    a, b = ~np.isnan(bench[:, expected]), ~np.isnan(after[:, expected])
    lowest = np.ldexp(np.stack([np.fmin.reduce(v, axis=1, initial=np.nan) for v in (bench, after)]), exponent)
    highest = np.ldexp(np.stack([np.fmax.reduce(v, axis=1, initial=np.nan) for v in (bench, after)]), exponent)
    return Read(a.sum(1) / total, b.sum(1) / total, (a & b).sum(1) / total, lowest, highest)


def first_look(
    got: Read,
    rules: Sequence[Rule],
    why_before: Sequence[str | None],
    why_after: Sequence[str | None],
    certain: Callable[[int], bool],
    steps: int,
    is_early: bool,
) -> list[Comparison | None]:
    """A comparison for each SLI that needs no statistics, None for the others.

    certain  of the i-th: did the source answer completely and the other series of its target keep speaking?
    steps    how many were expected
    """
    out: list[Comparison | None] = []
    enough = max(LEAST_STEPS / steps, ENOUGH_EARLY) if is_early else ENOUGH_PAIRED
    plain = (got.paired >= enough) & (np.fmin(got.before, got.after) >= ENOUGH)
    plain &= (got.lowest < got.highest).any(axis=0)
    for i, r in enumerate(rules):
        if plain[i]:
            out.append(None)
            continue
        a, b = float(got.before[i]), float(got.after[i])
        numbers = {"read_before": a, "read_after": b}
        if a == 0 or b == 0:
            spoke = a >= COMPLETE and why_after[i] is None and certain(i)
            out.append(_absent(r, a == 0, why_before[i], why_after[i], spoke, numbers))
        elif min(a, b) < ENOUGH or got.paired[i] < enough:
            why = next((f" ({w})" for w in (why_after[i], why_before[i]) if w), "")
            text = (
                f"{r.title}: too little to judge, {a:.0%} of the benchmark and {b:.0%} of the after window were read, "
                f"{got.paired[i] * steps:.0f} of {steps} steps at the same minute of both{why}"
            )
            out.append(Comparison(r.sli, "inconclusive", text, r.decides, numbers=numbers))
        else:
            out.append(_constants(r, float(got.lowest[0, i]), float(got.lowest[1, i]), min(a, b), is_early, numbers))
    return out


def _absent(
    r: Rule, in_benchmark: bool, why_a: str | None, why_b: str | None, certain: bool, numbers: dict[str, float]
) -> Comparison:
    if not in_benchmark and why_b is None and certain:
        text = (
            f"{r.title} fell silent: it was read all through the benchmark, the source answered completely and the "
            "other series of the same target kept speaking, but this one said nothing after the deploy"
        )
        return Comparison(r.sli, "moved", text, r.decides, "silent", numbers=numbers)
    side, why = ("benchmark", why_a) if in_benchmark else ("after window", why_b)
    text = f"{r.title}: no data in the {side} ({why or 'nothing was read'})"
    return Comparison(r.sli, "no_data", text, r.decides, numbers=numbers)


def _constants(r: Rule, was: float, now: float, read: float, is_early: bool, numbers: dict[str, float]) -> Comparison:
    change = now - was
    share = change / abs(was) if was else None
    stood, stands = said(r.unit, was, digits=6), said(r.unit, now, digits=6)
    if change == 0:
        if read >= COMPLETE:
            text = f"{r.title} stayed at {stood} throughout, as in the benchmark"
            return Comparison(r.sli, "steady", text, r.decides, None, was, now, 0.0, 0.0, numbers=numbers)
        text = f"{r.title} was {stood} whenever it was read, but only {read:.0%} of the steps were"
        return Comparison(r.sli, "inconclusive", text, r.decides, None, was, now, 0.0, 0.0, numbers=numbers)
    worse = {"higher_is_worse": change > 0, "lower_is_worse": change < 0, "both": True}[r.direction]
    gross = not is_early or abs(change) >= GROSS_CONSTANT * max(abs(was), abs(now))
    matters = worse and abs(change) >= r.min_absolute and abs(change) >= r.min_relative * abs(was)
    verb = "rose" if change > 0 else "fell"
    text = f"{r.title} was constant at {stood} in the benchmark and {verb} to constant {stands}"
    if matters and gross:
        return Comparison(r.sli, "moved", text, r.decides, "constant", was, now, share, change, numbers=numbers)
    if matters:
        text = f"{text}; a few hours of a slow gauge may look so, the whole day will tell"
        return Comparison(r.sli, "steady", text, r.decides, None, was, now, share, change, numbers=numbers)
    why = "the policy does not mind" if worse else "that is the better direction"
    return Comparison(r.sli, "steady", f"{text}; {why}", r.decides, None, was, now, share, change, numbers=numbers)


def changed_before(c: Comparison) -> Comparison:
    """A constant that had its new value on the day before the deploy already: it left the benchmark, but not now."""
    return replace(c, outcome="inconclusive", view=None, sentence=f"{c.sentence}; it was so before the deploy already")


def unlike(w: Window, after: Window) -> float:
    """Share of the after window's hours that are a working day's where those of the window's last 24 h, at the same clock, are
    a week-end's, or the other way round."""
    return float(_unlike_hours(w, after)[1].mean())


def _unlike_hours(w: Window, after: Window) -> tuple[Bools, Bools]:
    """Of the after window's hours: which are a week-end's, and which are not what those of the other window are."""
    count = max(1, round((after.end_s - after.start_s) / _HOUR_S))
    hours = np.asarray(after.start_s + after.utc_offset_s + _HOUR_S * (np.arange(count) + 0.5), np.float64)
    first = w.end_s - min(w.end_s - w.start_s, _DAY_S) + w.utc_offset_s
    is_weekend = _is_weekend(hours)
    return is_weekend, _is_weekend(first + (hours - first) % _DAY_S) != is_weekend


def _is_weekend(local_s: Floats) -> Bools:
    """Saturdays and Sundays. The epoch was a Thursday."""
    return np.asarray((local_s // _DAY_S + 3) % 7 >= 5)


def unmatched(c: Comparison) -> Comparison:
    """A change between a week-end and a working day, with no earlier day of the same kind to tell them apart."""
    text = f"{c.sentence}; but one window is a week-end and the other a working day, so this may be the usual rhythm"
    return replace(c, outcome="inconclusive", sentence=text)


def settled(found: Comparison, among: Comparison, unit: str, before: Window, like: Window, after: Window) -> Comparison:
    """What holds where the benchmark is of another kind of day: `found` is the answer against it, `among` that against `like`,
    an earlier day of the after window's kind. That one decides, if both know enough."""
    if _is_blind(found):
        return found
    if _is_blind(among):
        return unmatched(found) if found.outcome == "moved" else found
    back = round((after.start_s - like.start_s) / _DAY_S)
    name = _NAMES[int((like.start_s + like.utc_offset_s) // _DAY_S + 3) % 7]
    was = "" if found.before is None else f" ({said(unit, found.before)})"
    is_weekend, is_unlike = _unlike_hours(before, after)
    this, other = ("week-end", "working") if is_weekend[is_unlike].mean() > 0.5 else ("working", "week-end")
    text = (
        f"{among.sentence}; held against {name}, {back} days before, the newest day with the same {this} hours: "
        f"the benchmark{was} has {other} hours in their place"
    )
    return replace(among, sentence=text, numbers={**among.numbers, "days_back": float(back)})


def _is_blind(c: Comparison) -> bool:
    """Whether it says that too little is known, and not how much changed."""
    return c.outcome == "no_data" or (c.outcome == "inconclusive" and c.before is None)
