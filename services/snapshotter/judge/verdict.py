"""The judge: windows and rules in, comparisons out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from services.snapshotter.judge import doubts, guards, plain, reasons
from services.snapshotter.judge.align import DAY_S, HOURS, Clock, days_before, exponent_of
from services.snapshotter.judge.early import early
from services.snapshotter.judge.measures import Days, join, measure, parted, room_for
from services.snapshotter.judge.seen import Seen, facts
from services.snapshotter.judge.tables import Fitted
from services.snapshotter.judge.tables.shipped import SHIPPED
from services.snapshotter.judge.values import Bools, Comparison, Ints, Rule, Window
from services.snapshotter.judge.views import look

GROUP = 256  # SLIs judged at a time: bounds the memory
CACHED = 256  # days of SLIs measured at a time: few calls, and their samples stay near
TAME = 500  # powers of two within which no sum or difference of samples leaves what floats can hold
EARLY_S = 0.75 * DAY_S  # an after window that ends before this is an early look


def judge(
    before: Window,
    after: Window,
    rules: Sequence[Rule],
    *,
    deployed_at_s: float,
    settle_s: float = 0.0,
    references: Sequence[Window] = (),
    history: Sequence[Window] = (),
    fitted: Fitted = SHIPPED,
) -> tuple[Comparison, ...]:
    """Say for each SLI whether production moved. One comparison per rule, in the order of the rules.

    before, after   (N, T) windows; row i belongs to rules[i]. They are paired by the clock, not by the index
    deployed_at_s   unix seconds; the nominal after window is `[deployed_at_s, deployed_at_s + 24 h)`. A window that
                    ends within 18 h is an early look: gross changes only
    settle_s        the first seconds after the deploy are not judged: masked here in the after window and at the same
                    clock minutes of every earlier day (a caller may set them to NaN itself as well)
    references      earlier approved snapshots (the anchor) that the after window is also held against: creep
    history         earlier windows with the same rows; the last one runs up to the deploy. Never needed, always used:
                    the border is read from them, not from the benchmark's edge
    fitted          limits and tables; a product's own calibration may take the place of the shipped ones

    Raises ValueError when the number of rows and rules differ.
    """
    for name, w in (("before", before), ("after", after), *(("reference", r) for r in references)):
        if np.shape(w.values)[0] != len(rules):
            raise ValueError(f"{name} has {np.shape(w.values)[0]} series for {len(rules)} rules")
    if any(np.shape(w.values)[0] != len(rules) for w in history):
        raise ValueError("every history window must have the rows of the after window")
    if not rules:
        return ()
    if abs(before.step_s / after.step_s - 1) > 1e-6:
        return tuple(guards.unlike_steps(r, before.step_s, after.step_s) for r in rules)
    clock = Clock(before, after, deployed_at_s, settle_s, history)
    is_early = clock.covered * after.step_s < EARLY_S
    found: list[_Found] = []
    for lo in range(0, len(rules), GROUP):
        case = _Case(
            clock, before, after, rules, slice(lo, min(lo + GROUP, len(rules))), fitted, deployed_at_s, len(rules)
        )
        found += _early(case) if is_early else _full(case)
    out = [f.alone for f in found] if is_early else _together(found, rules, fitted)
    if unlike := guards.unlike(before, after):
        days = days_before(history, after, deployed_at_s)
        like = min(days, key=lambda day: guards.unlike(day, after), default=before)  # the newest of those
        if guards.unlike(like, after) < min(unlike, guards.ALIKE + 1e-9):
            alike = [day for day in days if guards.unlike(day, after) <= guards.unlike(like, after)]
            # Among all days, which know the border; and among days of its kind alone: what rises on a week-end may stay below
            # what working days have.
            judged = (
                judge(like, after, rules, deployed_at_s=deployed_at_s, settle_s=settle_s, history=past, fitted=fitted)
                for past in (history, alike)
            )
            held = [
                own if (c.outcome, own.outcome) == ("steady", "moved") else c for c, own in zip(*judged, strict=True)
            ]
            both = zip(out, held, rules, strict=True)
            out = [guards.settled(c, other, r.unit, before, like, after) for c, other, r in both]
        elif unlike > guards.DOUBTED:  # a change may be the rhythm of the week
            out = [guards.unmatched(c) if c.outcome == "moved" else c for c in out]
    if any("beside" in c.numbers for c in out) and not any(_moved_alone(c) for c in out):
        # What they were asked less beside is no move any more: the kind of day explained it, or left it to a person.
        strict = replace(fitted, beside=0.0)
        return judge(
            before, after, rules, deployed_at_s=deployed_at_s, settle_s=settle_s, references=references,
            history=history, fitted=strict,
        )  # fmt: skip
    for r in references:
        out = _creep(out, r, after, rules, deployed_at_s, settle_s)
    return tuple(out)


class _Found(NamedTuple):
    """What is found of one SLI: by itself, and what it is instead where another one that decides moved."""

    alone: Comparison
    beside: Comparison | None = None


def _together(found: Sequence[_Found], rules: Sequence[Rule], fitted: Fitted) -> list[Comparison]:
    """Once one SLI moved, whether anything did is no longer the question, and the family-wise budget is spent: the others are
    asked for less, so that what moved with it is seen as well. A CR of which no SLI passes its limit alone is untouched."""
    moved = [(f.alone, r) for f, r in zip(found, rules, strict=True) if _moved_alone(f.alone)]
    if not fitted.beside or not moved:
        return [f.alone for f in found]
    _, first = max(moved, key=lambda each: _margin(each[0]))
    return [
        reasons.counted_beside(f.beside, first) if f.beside else reasons.asked_less(f.alone, fitted.beside)
        for f in found
    ]


def _margin(c: Comparison) -> float:
    """How far a score is beyond its limit; what moved without one is beyond doubt."""
    return c.numbers["score"] - c.numbers["score_limit"] if "score_limit" in c.numbers else np.inf


def _moved_alone(c: Comparison) -> bool:
    return c.decides and c.outcome == "moved" and "beside" not in c.numbers


@dataclass(frozen=True)
class _Case:
    """A group of SLIs and all that is needed to judge them."""

    clock: Clock
    before: Window
    after: Window
    rules: Sequence[Rule]
    rows: slice
    fitted: Fitted
    deployed_at_s: float
    slis: int  # how many are judged together

    def over(self, rows: Sequence[int], before: Window, after: Window) -> _Case:
        """The same of some SLIs, whose samples are other ones."""
        clock = self.clock.over(rows, before.values, after.values)
        rules = [self.rules[i] for i in rows]
        return _Case(clock, before, after, rules, slice(0, len(rows)), self.fitted, self.deployed_at_s, self.slis)

    def known(self, got: guards.Read, is_early: bool) -> list[Comparison | None]:
        """What needs no statistics."""
        at, steps = self.rows, int(self.clock.expected[: self.clock.covered if is_early else None].sum())
        return guards.first_look(
            got,
            self.rules[at],
            self.before.missing[at],
            self.after.missing[at],
            self._is_certain,
            max(1, steps),
            is_early,
        )

    def _is_certain(self, i: int) -> bool:
        """Whether another series of the same target spoke all through the after window, without a warning."""
        i += self.rows.start
        return bool(self._spoke[self.rules[i].target] > self._speaks[i])

    @cached_property
    def _speaks(self) -> Bools:
        """(N,) Which series of the whole case spoke so."""
        least = guards.COMPLETE * max(1, int(self.clock.expected.sum()))
        told = np.array([why is None for why in self.after.missing])
        return np.asarray(told & (np.isfinite(np.asarray(self.after.values)).sum(axis=1) >= least))

    @cached_property
    def _spoke(self) -> Counter[str]:
        """How many of each target did."""
        return Counter(r.target for r, speaks in zip(self.rules, self._speaks, strict=True) if speaks)


def measured(clock: Clock, rows: slice) -> tuple[Days, Days, guards.Read, Ints]:
    """Measures of the earlier days and of the after day, a few SLIs at a time so that they stay in the cache."""
    found, counts, exponents, left = [], [], [], []
    few = min(rows.stop - rows.start, max(2, CACHED // (clock.days + 1)))
    samples, room = (room_for(clock.days + 1, few, clock.width) for _ in range(2))
    both = [clock.benchmark, -1]
    for lo in range(rows.start, rows.stop, few):
        some = slice(lo, min(lo + few, rows.stop))
        with np.errstate(all="ignore"):
            whole = clock.whole(some, samples)
            if whole is not None:
                days = measure(whole[0], HOURS, near=clock.benchmark, room=room, total=whole[1])
                exponent = todo = exponent_of(days.q[0], days.q[-1])
            if whole is not None and np.abs(exponent).max() <= TAME:
                counts.append(guards.all_read(days.q[0][both], days.q[-1][both]))
            else:
                s = clock.take(some, samples)
                exponent, todo = s.exponent, np.zeros_like(s.exponent)
                counts.append(guards.count(s.days[clock.benchmark], s.after, clock.expected, exponent))
                days = measure(s.all, HOURS, near=clock.benchmark, room=room)
        found.append(days)
        exponents.append(exponent)
        left.append(todo)
    got = guards.Read(*(np.concatenate([getattr(c, f) for c in counts], axis=-1) for f in vars(counts[0])))
    return *parted(join(found, np.concatenate(left))), got, np.concatenate(exponents)


def _full(case: _Case) -> list[_Found]:
    """A group of SLIs over a whole day. An odd minute of either window hides what else there is, or is all there is: it is left
    out."""
    found, maybe = _scored(case)
    windows = (case.before, case.after)
    odd = {i: pair for i in maybe if any(pair := [doubts.odd_minute(w, i) for w in windows])}
    if not odd:
        return found
    rows = list(odd)
    before, after = (doubts.without(w, rows, [pair[k] for pair in odd.values()]) for k, w in enumerate(windows))
    calm, _ = _scored(case.over(rows, before, after))
    for i, pair, (alone, beside) in zip(rows, odd.values(), calm, strict=True):
        left_out, unit = [one for one in pair if one is not None], case.rules[i].unit
        beside = beside and doubts.calm_but_for(beside, left_out, unit)
        found[i - case.rows.start] = _Found(doubts.calm_but_for(alone, left_out, unit), beside)
    return found


def _scored(case: _Case) -> tuple[list[_Found], list[int]]:
    """The same with all samples, and which SLIs may have an odd minute."""
    clock, rules = case.clock, case.rules[case.rows]
    x, y, got, exponent = measured(clock, case.rows)
    known = case.known(got, False)
    is_older = clock.benchmark < clock.days - 1
    limit, tables = case.fitted.limit(clock.days, case.slis, is_older), case.fitted.tables(clock.days)
    answers = look(x, clock.benchmark, y, clock.at_border)
    score = tables.score(answers)
    gross, which = plain.rules(answers, case.fitted, clock.days, clock.at_border, case.slis)
    told = facts(x, y, clock.benchmark, exponent)
    beyond = np.maximum(score - limit, gross - 1).tolist()
    scores, far, ups = score.tolist(), gross.tolist(), exponent.tolist()
    grows = _hardly_turns(x, clock.benchmark, clock.width) & _hardly_turns(y, 0, clock.width)
    out: list[_Found] = []
    for j, rule in enumerate(rules):
        i, decided = case.rows.start + j, known[j]
        if decided is not None:
            was_so = x.q[0, -1, j] == x.q[-1, -1, j] == y.q[0, 0, j] and clock.at_border
            decided = guards.changed_before(decided) if decided.view == "constant" and was_so else decided
            out.append(_Found(decided))
            continue
        if grows[j] and doubts.is_counter(case.before.values[i], case.after.values[i]):
            out.append(_Found(doubts.counter(rule, told.was[j], told.now[j])))
            continue
        sides = [(j, 1), (j + len(rules), -1)]  # rows of the answers about "up" and about "down"
        if rule.direction != "both":
            sides = sides[:1] if rule.direction == "higher_is_worse" else sides[1:]
        k, sign = max(sides, key=lambda side: beyond[side[0]])
        seen = Seen(rule, x, y, told, j, clock.benchmark, ups[j], case.deployed_at_s, scores[k], limit, far[k], sign)
        fires = scores[k] > limit or far[k] > 1
        less = not fires and scores[k] > limit - case.fitted.beside
        if fires or less:
            after = clock.take(slice(i, i + 1))
            seen = replace(seen, steps=np.ldexp(after.after[0], int(after.exponent[0])))
        by = plain.VIEWS[which[k]] if far[k] > 1 else None
        alone = reasons.moved(seen, tables.credit(answers[k]), by) if fires else reasons.steady(seen)
        alone = doubts.enough_for_steady(alone, float(got.before[j]), float(got.after[j]), float(got.paired[j]))
        lower = replace(seen, beside=case.fitted.beside)
        out.append(_Found(alone, reasons.moved(lower, tables.credit(answers[k])) if less else None))
    stands_out = doubts.stands_out(x.r[:, clock.benchmark]) | doubts.stands_out(y.r[:, 0])
    return out, (np.flatnonzero(stands_out) + case.rows.start).tolist()


def _hardly_turns(d: Days, day: int, steps: int) -> Bools:
    return doubts.may_only_grow(d.noise[day], d.read[day], d.q[0, day], d.q[-1, day], steps)


def _early(case: _Case) -> list[_Found]:
    """A group of SLIs over the first hours. What one of them does says too little of the others."""
    clock, rules = case.clock, case.rules[case.rows]
    s = clock.take(case.rows)
    bench, after = s.days[clock.benchmark][:, : clock.covered], s.after[:, : clock.covered]
    known = case.known(guards.count(bench, after, clock.expected[: clock.covered], s.exponent), True)
    found = [c for c in known if c is not None]
    if len(found) < len(known):  # else there may be too few steps to measure anything
        e = early(s.days, clock.benchmark, after, case.after.step_s)
        found = [
            c if (c := known[j]) is not None else reasons.early(r, e, j, int(s.exponent[j]), clock.covered)
            for j, r in enumerate(rules)
        ]
    return [_Found(c) for c in found]


def _creep(
    found: list[Comparison], reference: Window, after: Window, rules: Sequence[Rule], deployed_at_s: float,
    settle_s: float,
) -> list[Comparison]:  # fmt: skip
    """Hold the after window against an anchor: `steady` SLIs may still have crept away from it."""
    if abs(reference.step_s / after.step_s - 1) > 1e-6:
        return found
    clock = Clock(reference, after, deployed_at_s, settle_s)
    if clock.covered * after.step_s < EARLY_S:
        return found
    out: list[Comparison] = []
    for lo in range(0, len(rules), GROUP):
        rows = slice(lo, min(lo + GROUP, len(rules)))
        x, y, got, exponent = measured(clock, rows)
        for j, c in enumerate(found[rows]):
            if c.outcome != "steady":
                out.append(c)
            elif got.paired[j] >= guards.ENOUGH_PAIRED:
                out.append(reasons.creep(c, rules[lo + j], x, y, j, int(exponent[j])))
            else:  # not held against it, and whoever says what crept must know
                out.append(replace(c, numbers={**c.numbers, "anchor_paired": float(got.paired[j])}))
    return out
