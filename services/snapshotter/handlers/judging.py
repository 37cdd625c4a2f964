"""From snapshots to the judge's arrays and back to the answers that are said. CPU work: call it in a thread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from services.snapshotter import judge as judging
from services.snapshotter.domain import DAY, Observation, Standing, Verdict, Window, settle_s, verdict
from services.snapshotter.handlers.capture import Captured
from services.snapshotter.samples import unpack
from services.snapshotter.sources import Floats, Missing, steps
from services.snapshotter.store import KeptSeries
from shared.contracts import SLI, ComparedSLI, Policy


@dataclass(frozen=True, eq=False)
class Judged:
    """A verdict, and what the judge was given beside the two snapshots."""

    verdict: Verdict
    judge_version: str
    given: Mapping[str, Any]


def judged(
    look: Observation,
    policy: Policy,
    captured: Captured,
    against: Standing,
    kept: Sequence[KeptSeries],
    history: Captured | None,
) -> Judged:
    """Compare what was captured with the benchmark in `against`, whose series with samples are `kept`."""
    before = _benchmark(policy, captured.window, against, {one.sli: one for one in kept})
    after = judging.Window(
        captured.window.start.timestamp(),
        float(captured.window.step_s),
        0.0,
        _stacked(captured, _count(captured.window)),
        tuple(reading.reason if isinstance(reading, Missing) else None for reading in captured.readings),
    )
    days = _days(policy, history)
    settled_s = settle_s(look, policy)
    answers = judging.judge(
        before,
        after,
        [_rule(sli) for sli in policy.slis],
        deployed_at_s=look.starts_at.timestamp(),
        settle_s=settled_s,
        history=days,
    )
    compared = tuple(_compared(sli, answer) for sli, answer in zip(policy.slis, answers, strict=True))
    found = verdict(look.kind, judging.overall(answers), compared, against)
    return Judged(
        found, judging.VERSION, {"history_days": len(days), "settle_s": settled_s, "benchmark": against.sentence}
    )


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
    found = verdict(look.kind, "no_data", compared, against)
    return Judged(found, judging.VERSION, {"benchmark": against.sentence})


def _benchmark(policy: Policy, window: Window, against: Standing, kept: Mapping[str, KeptSeries]) -> judging.Window:
    """The benchmark's rows in the policy's order. A series that another query made is no benchmark of this SLI."""
    own = against.counts.window if against.counts else Window(window.start - DAY, window.start, window.step_s)
    count = _count(own)
    values: Floats = np.full((len(policy.slis), count), np.nan)
    reasons: list[str | None] = []
    for row, sli in enumerate(policy.slis):
        one = kept.get(sli.id)
        reason: str | None = None
        if against.counts is None:
            reason = against.sentence
        elif one is None:
            reason = f"{against.counts.id} has no such SLI"
        elif one.missing is not None or one.payload is None:
            reason = one.missing or "nothing was read"
        elif (one.query, one.source) != (sli.query, sli.source):
            reason = f"{against.counts.id} measured it by another query"
        elif own.step_s != window.step_s:
            reason = f"{against.counts.id} has steps of {own.step_s} s, this look has {window.step_s} s"
        else:
            try:
                values[row] = unpack(one.payload, count)
            except ValueError as error:
                reason = str(error)
        reasons.append(reason)
    return judging.Window(own.start.timestamp(), float(own.step_s), 0.0, values, tuple(reasons))


def _days(policy: Policy, history: Captured | None) -> tuple[judging.Window, ...]:
    """Whole earlier days, oldest first, without those of which the sources have nothing."""
    if history is None:
        return ()
    step_s = history.window.step_s
    per_day = round(DAY.total_seconds() / step_s)
    total = _count(history.window)
    place = {sli.id: row for row, sli in enumerate(history.slis)}
    stacked = _stacked(history, total)
    values: Floats = np.full((len(policy.slis), total), np.nan)
    reasons: list[str | None] = ["not asked for"] * len(policy.slis)
    for row, sli in enumerate(policy.slis):
        if sli.id in place:
            values[row] = stacked[place[sli.id]]
            reading = history.readings[place[sli.id]]
            reasons[row] = reading.reason if isinstance(reading, Missing) else None
    return tuple(
        judging.Window(
            history.window.start.timestamp() + first * step_s,
            float(step_s),
            0.0,
            values[:, first : first + per_day],
            tuple(reasons),
        )
        for first in range(0, total, per_day)
        if np.isfinite(values[:, first : first + per_day]).any()
    )


def _stacked(captured: Captured, count: int) -> Floats:
    """(N, T), a row of NaN for what is missing."""
    values: Floats = np.full((len(captured.slis), count), np.nan)
    for row, reading in enumerate(captured.readings):
        if not isinstance(reading, Missing):
            values[row] = reading.values
    return values


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
    )


def _compared(sli: SLI, answer: judging.Comparison) -> ComparedSLI:
    since = _number(answer.since_s)
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
    )


def _number(value: float | None) -> float | None:
    """A plain float; None for what no JSON can say."""
    return float(value) if value is not None and math.isfinite(value) else None
