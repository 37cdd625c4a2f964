"""From what is stored to the judge's arrays, and back to the answers that are said. CPU work, for a worker process.

A verdict is made from stored forms alone (`Grounds`), on the day of the look and at any time later: so it can be computed
again, and under another policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from services.snapshotter import judge as judging
from services.snapshotter.domain import (
    DAY,
    SHIPPED_LIMITS,
    Anchor,
    Limits,
    Observation,
    Standing,
    Verdict,
    Window,
    creep_sentence,
    settle_s,
    verdict,
)
from services.snapshotter.judge.alarms import SHARES
from services.snapshotter.judge.tables import Fitted
from services.snapshotter.judge.tables.shipped import SHIPPED
from services.snapshotter.samples import unpack
from services.snapshotter.sources import Floats, steps
from services.snapshotter.store import KeptSeries
from services.snapshotter.uploads import is_uploaded
from shared.contracts import SLI, ComparedSLI, Policy

#: Stored numbers have so many digits: two machines that differ in the last bits of a float store the same.
DIGITS = 9

#: The share of days without a change on which the look after 24 hours may alarm: limits of a product's own are computed for it.
ALPHA = SHARES["final look"]


@dataclass(frozen=True, eq=False)
class Taken:
    """One snapshot's samples, packed as they are stored."""

    id: str
    window: Window
    series: tuple[KeptSeries, ...]


@dataclass(frozen=True, eq=False)
class Release:
    """An earlier deployment that stayed, and the level of each SLI a day later: (what was asked, source, median)."""

    cr_id: str
    snapshot_id: str
    levels: Mapping[str, tuple[str, str, float | None]]


@dataclass(frozen=True, eq=False)
class Grounds:
    """All that a verdict rests on.

    against  the benchmark that counted and how it stood; its samples are `benchmark`, None where there is none
    anchored the product's anchor in words, None where creep is no question (a recovery)
    anchor   its samples, None where it is the benchmark itself or there is none
    history  the whole days up to the deploy in one window
    limits   whose limits hold, and since when
    releases earlier ones since the anchor, oldest first: did a level move over them?
    """

    look: Observation
    policy: Policy
    against: Standing
    after: Taken
    benchmark: Taken | None
    anchored: Anchor | None = None
    anchor: Taken | None = None
    history: Taken | None = None
    limits: Limits = SHIPPED_LIMITS
    releases: tuple[Release, ...] = ()


@dataclass(frozen=True, eq=False)
class Judged:
    """A verdict, the judge that gave it, and every number behind it as it is stored: SLI -> name -> number."""

    verdict: Verdict
    judge_version: str
    history_days: int
    settle_s: float
    numbers: Mapping[str, Mapping[str, float]]
    budget: Mapping[str, float]  #: how the one budget of false alarms was split, see `_budget`


def judged(grounds: Grounds) -> Judged:
    """Hold the after window against the benchmark and against the anchor."""
    look, policy = grounds.look, grounds.policy
    window = grounds.after.window
    after = _window(policy, grounds.after, window.step_s, is_judged=True)
    days = _days(policy, grounds.history, window)
    settled_s = settle_s(look, policy)
    fitted = fitted_with(grounds.limits.own)
    references = [_window(policy, grounds.anchor, window.step_s)] if grounds.anchor else []
    rules = [_rule(sli) for sli in policy.slis]
    answers = judging.judge(
        _benchmark(grounds),
        after,
        rules,
        deployed_at_s=look.starts_at.timestamp(),
        settle_s=settled_s,
        references=references,
        history=days,
        fitted=fitted,
    )
    beside = {one.sli for one in answers if _moved_beside(one)}
    answers = _over_releases(grounds, rules, _with_reasons(grounds, answers))
    compared = tuple(_compared(sli, answer, sli.id in beside) for sli, answer in zip(policy.slis, answers, strict=True))
    found = verdict(look.kind, judging.overall(answers), compared, grounds.against, _blind(rules, answers))
    return Judged(
        replace(
            found,
            anchor_id=grounds.anchor.id if grounds.anchor else None,
            creep=creep_sentence(grounds.anchored, _not_held(references, answers), compared, len(grounds.releases) + 1),
            limits=grounds.limits.sentence,
        ),
        judging.VERSION,
        len(days),
        settled_s,
        {answer.sli: _numbers(answer, look.starts_at.timestamp()) for answer in answers},
        _budget(fitted, grounds, answers),
    )


def _not_held(references: Sequence[judging.Window], answers: Sequence[judging.Comparison]) -> list[str | None] | None:
    """Why each SLI was not held against the anchor, None for those that were; None where there is no anchor."""
    if not references:
        return None
    gaps = [answer.numbers.get("anchor_paired") for answer in answers]
    return [
        why or (None if share is None else f"{share:.0%} of the steps are read at the same minutes of both")
        for why, share in zip(references[0].missing, gaps, strict=True)
    ]


def day_compared(
    policy: Policy, after: Taken, before: Taken, earlier: Sequence[Taken], fitted: Fitted
) -> tuple[judging.Comparison, ...]:
    """One whole day held against another as if something had been deployed between them; `earlier` oldest first."""
    step_s = policy.observation.step_s
    return judging.judge(
        _window(policy, before, step_s),
        _window(policy, after, step_s, is_judged=True),
        [_rule(sli) for sli in policy.slis],
        deployed_at_s=after.window.start.timestamp(),
        settle_s=policy.observation.settle_min * 60,
        history=[_window(policy, one, step_s) for one in earlier] if policy.observation.history_days else (),
        fitted=fitted,
    )


def fitted_with(own: Mapping[int, float] | None) -> Fitted:
    """The shipped tables, with a product's own limits where it has some."""
    return replace(SHIPPED, limits=own) if own else SHIPPED


def unjudged(look: Observation, policy: Policy, against: Standing, reason: str) -> Judged:
    """What is said when the judge itself fails on what it was given: no SLI has an answer, and a person must look."""
    compared = tuple(
        ComparedSLI(
            sli=sli.id,
            title=sli.title,
            unit=sli.unit,
            outcome="no_data",
            sentence=f"{sli.title}: {reason}",
            decides=not sli.shadow,
            severity=sli.severity,
        )
        for sli in policy.slis
    )
    return Judged(verdict(look.kind, "no_data", compared, against), judging.VERSION, 0, 0.0, {}, {})


def _blind(rules: Sequence[judging.Rule], answers: Sequence[judging.Comparison]) -> str:
    """Of the SLIs that decide over a few hours: the one of which the largest change could have gone unseen."""
    shares = [
        (answer.numbers["visible"] / abs(answer.before), rule.title)
        for rule, answer in zip(rules, answers, strict=True)
        if answer.decides and answer.before and answer.outcome == "steady" and "visible" in answer.numbers
    ]
    if not shares:
        return ""
    share, title = max(shares)
    return f"So short a window would not show a change of {title} by less than {share:.0%}."


def _over_releases(
    grounds: Grounds, rules: Sequence[judging.Rule], answers: Sequence[judging.Comparison]
) -> tuple[judging.Comparison, ...]:
    """Did a level move over the releases since the anchor, this one the last? Asked of what is steady otherwise."""
    if not grounds.releases:
        return tuple(answers)
    here = {one.sli: (one.query, one.source, one.median) for one in grounds.after.series}
    days = [*(release.levels for release in grounds.releases), here]
    levels = np.array([[_level(day.get(sli.id), sli) for sli in grounds.policy.slis] for day in days], np.float64)
    names = [*(release.cr_id for release in grounds.releases), grounds.look.cr_id]
    told = judging.across_releases(levels, rules, names)
    return tuple(
        replace(
            over if one.outcome == "steady" and over.outcome == "moved" else one,
            numbers={**one.numbers, **over.numbers},
        )
        for one, over in zip(answers, told, strict=True)
    )


def _level(kept: tuple[str, str, float | None] | None, sli: SLI) -> float:
    """The median of a release's day, NaN where it was not measured, or by another query."""
    if kept is None or kept[0] != sli.asked or kept[1] != sli.source or kept[2] is None:
        return math.nan
    return kept[2]


def _benchmark(grounds: Grounds) -> judging.Window:
    """The benchmark's rows; where there is none, nothing of the day before, and why."""
    window, policy = grounds.after.window, grounds.policy
    if grounds.benchmark is not None:
        return _window(policy, grounds.benchmark, window.step_s)
    start, count = window.start - DAY, _count(Window(window.start - DAY, window.start, window.step_s))
    values: Floats = np.full((len(policy.slis), count), np.nan)
    why = (grounds.against.sentence,) * len(policy.slis)
    return judging.Window(start.timestamp(), float(window.step_s), 0.0, values, why)


def _window(policy: Policy, taken: Taken, step_s: int, *, is_judged: bool = False) -> judging.Window:
    """A snapshot's rows in the policy's order, (N, T). A series that another query made says nothing of this SLI.

    is_judged  it is the window that is judged: a series that fell silent in it has no reason, and the judge asks the others
    """
    own, name = taken.window, taken.id
    kept = {one.sli: one for one in taken.series}
    values: Floats = np.full((len(policy.slis), _count(own)), np.nan)
    reasons: list[str | None] = []
    for row, sli in enumerate(policy.slis):
        one = kept.get(sli.id)
        reason: str | None = None
        if one is None:
            reason = f"{name} has no such SLI"
        elif is_judged and _fell_silent(one, sli):
            reason = None
        elif one.missing is not None or one.packed is None:
            reason = one.missing or f"the raw samples of {name} have expired"
        elif one.query != sli.asked or (one.source != sli.source and not is_uploaded(one.source)):
            reason = f"{name} measured it by another query"
        elif own.step_s != step_s:
            reason = f"{name} has steps of {own.step_s} s, this look has {step_s} s"
        else:
            try:
                values[row] = unpack(one.packed, _count(own))
            except ValueError as error:
                reason = str(error)
        reasons.append(reason)
    return judging.Window(own.start.timestamp(), float(own.step_s), 0.0, values, tuple(reasons))


def _fell_silent(one: KeptSeries, sli: SLI) -> bool:
    """Whether the source answered this very question, completely, and had nothing in the whole window."""
    return one.silent and one.query == sli.asked and one.source == sli.source


def _with_reasons(grounds: Grounds, answers: Sequence[judging.Comparison]) -> tuple[judging.Comparison, ...]:
    """What fell silent and is no finding (the others of its target were silent too) is told with the capture's reason."""
    silent = {one.sli: one.missing for one in grounds.after.series if one.silent}
    return tuple(
        replace(one, sentence=f"{sli.title}: no data in the after window ({silent[sli.id]})")
        if sli.id in silent and one.outcome == "no_data" and one.numbers.get("read_before")
        else one
        for sli, one in zip(grounds.policy.slis, answers, strict=True)
    )


def _days(policy: Policy, history: Taken | None, after: Window) -> tuple[judging.Window, ...]:
    """The last whole days that the policy asks for, oldest first, without those of which the sources had nothing."""
    if history is None or not policy.observation.history_days:
        return ()
    whole = _window(policy, history, after.step_s)
    per_day = round(DAY.total_seconds() / whole.step_s)
    total = np.shape(whole.values)[1]
    first = max(0, total - policy.observation.history_days * per_day)
    return tuple(
        judging.Window(
            whole.start_s + at * whole.step_s, whole.step_s, 0.0, whole.values[:, at : at + per_day], whole.missing
        )
        for at in range(first, total, per_day)
        if np.isfinite(whole.values[:, at : at + per_day]).any()
    )


def _count(window: Window) -> int:
    return steps(window.start.timestamp(), window.end.timestamp(), window.step_s)


def _rule(sli: SLI) -> judging.Rule:
    return judging.Rule(
        sli=sli.id,
        title=sli.title,
        unit=sli.unit,
        direction=sli.direction,
        min_relative=sli.min_relative,
        min_absolute=sli.min_absolute,
        decides=not sli.shadow,
        # Where the policy puts labels into its queries they say which target is meant; else all of a source is one.
        target=f"{sli.source} {sorted(sli.match.items())}",
    )


def _moved_beside(answer: judging.Comparison) -> bool:
    """Whether it moved by the lower limit that holds beside another. What crept had only to be steady by that limit."""
    return answer.outcome == "moved" and "beside" in answer.numbers and "creep" not in answer.numbers


def _compared(sli: SLI, answer: judging.Comparison, beside: bool) -> ComparedSLI:
    since = answer.since_s if answer.since_s is not None and math.isfinite(answer.since_s) else None
    return ComparedSLI(
        sli=sli.id,
        title=sli.title,
        unit=sli.unit,
        outcome=answer.outcome,
        sentence=answer.sentence,
        decides=answer.decides,
        severity=sli.severity,
        view=answer.view,
        before=_number(answer.before),
        after=_number(answer.after),
        effect_relative=_number(answer.effect_relative),
        limit=_number(answer.limit),
        since_at=None if since is None else datetime.fromtimestamp(since, UTC),
        beside=beside,
    )


def _numbers(answer: judging.Comparison, began_s: float) -> dict[str, float]:
    """Every number of an answer by name, as it is stored; times in seconds since the look began."""
    own = ("before", "after", "effect_relative", "effect_absolute", "limit")
    named = {**{name: getattr(answer, name) for name in own}, **answer.numbers}
    named["since"] = None if answer.since_s is None else answer.since_s - began_s
    return {name: number for name, value in named.items() if (number := _number(value)) is not None}


def _budget(fitted: Fitted, grounds: Grounds, answers: Sequence[judging.Comparison]) -> dict[str, float]:
    """How the one budget of false alarms was split over all that was looked at, and the score that each SLI had to pass."""
    split = judging.budget(
        len(answers),
        references=1 if grounds.anchor else 0,
        releases=bool(grounds.releases),
        early_looks=len(grounds.policy.observation.early_looks_min) if grounds.look.kind == "after" else 0,
    )
    days = max((answer.numbers.get("earlier_days", 1.0) for answer in answers), default=1.0)
    limits = (answer.numbers["score_limit"] for answer in answers if "score_limit" in answer.numbers)
    limit = max(limits, default=fitted.limit(round(days), len(answers)))
    split |= {
        "slis": len(answers),
        "earlier days": days,
        "limit of the score": limit,
        "lower beside another": fitted.beside,
    }
    return {name: number for name, value in split.items() if (number := _number(float(value))) is not None}


def _number(value: float | None) -> float | None:
    """A plain float of `DIGITS` digits; None for what no JSON can say."""
    return float(f"{float(value):.{DIGITS}g}") if value is not None and math.isfinite(value) else None
