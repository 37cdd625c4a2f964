"""What a benchmark's own readings say of it, before anybody rests a verdict on it. CPU work: call it in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from services.snapshotter import judge as judging
from services.snapshotter.domain import DAY, Window
from services.snapshotter.handlers.capture import Captured, capture
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.judge.order import longest_run
from services.snapshotter.sources import Floats, Missing, steps
from shared.contracts import SLI, BenchmarkHealth, HealthFinding, Policy

#: A flat line is one that stands still this many times longer than the SLI ever did on the days before.
TIMES_AS_LONG = 2.0


async def with_earlier_days(deps: Deps, policy: Policy, window: Window, deadline_s: float) -> tuple[Captured, Captured]:
    """The window, and the whole days before it that it is held against, read at the same time."""
    return await asyncio.gather(
        capture(deps.sources, policy.slis, window, deadline_s=deadline_s),
        earlier_days(deps, policy, policy.slis, window, deadline_s),
    )


async def earlier_days(deps: Deps, policy: Policy, slis: Sequence[SLI], window: Window, deadline_s: float) -> Captured:
    """The whole days before a window, of these SLIs; none where the policy asks for none, or a day is no whole steps."""
    days = policy.observation.history_days
    earlier = Window(window.start - days * DAY, window.start, window.step_s)
    if not days or not slis or DAY.total_seconds() % window.step_s:
        return Captured(earlier, (), ())
    return await capture(deps.sources, slis, earlier, deadline_s=deadline_s)


def health(policy: Policy, captured: Captured, earlier: Captured) -> BenchmarkHealth:
    """Gaps, flat lines, and a deviation of its own against the days before, by the judge that will use it."""
    rules = policy.benchmark
    window = captured.window
    per_day = steps(window.start.timestamp(), window.end.timestamp(), window.step_s)
    days = _days(policy, earlier, per_day)
    values = _stacked(policy, captured, per_day)
    findings: list[HealthFinding] = []
    judged_moved = _moved(policy, captured, values, days)
    for row, (sli, reading) in enumerate(zip(captured.slis, captured.readings, strict=True)):
        if isinstance(reading, Missing):
            findings.append(_finding(sli, "missing", f"{sli.title}: {reading.reason}"))
            continue
        gaps = 1 - float(np.isfinite(values[row]).mean())
        if gaps > rules.max_gap_share:
            said = (
                f"{sli.title} has no number in {gaps:.0%} of the steps; at most {rules.max_gap_share:.0%} may lack one"
            )
            findings.append(_finding(sli, "gaps", said))
        if flat := _flat(sli, values[row], [day[row] for day in days], window.step_s, rules.max_flat_h):
            findings.append(_finding(sli, "flat", flat))
        if sli.id in judged_moved:
            findings.append(_finding(sli, "moved", f"against the days before: {judged_moved[sli.id]}"))
    return _said(findings, len(days), policy)


def _said(findings: Sequence[HealthFinding], days: int, policy: Policy) -> BenchmarkHealth:
    counted = [each for each in findings if each.decides and each.code != "missing"]
    if counted:
        more = f" ({len(counted) - 1} more)" if len(counted) > 1 else ""
        return BenchmarkHealth(
            state="doubtful",
            sentence=f"Doubtful: {counted[0].sentence}{more}."[:500],
            findings=tuple(findings),
            history_days=days,
        )
    if not days:
        why = "the sources have none" if policy.observation.history_days else "the policy asks for none"
        said = f"No gaps and no flat lines; not held against earlier days: {why}."
        return BenchmarkHealth(state="unjudged", sentence=said, findings=tuple(findings))
    said = f"No gaps, no flat lines, and like the {days} {'day' if days == 1 else 'days'} before it."
    return BenchmarkHealth(state="good", sentence=said, findings=tuple(findings), history_days=days)


def _finding(sli: SLI, code: str, sentence: str) -> HealthFinding:
    return HealthFinding.model_validate(
        {"sli": sli.id, "code": code, "sentence": sentence[:500], "decides": not sli.shadow}
    )


def _flat(sli: SLI, values: Floats, days: Sequence[Floats], step_s: int, max_flat_h: float) -> str | None:
    """How long it stood still, when that is longer than the policy allows and than it ever does.

    A line at 0 is what a good day of a failure rate looks like: only a whole day of it is told, and only when the
    days before had something else for at least half their time.
    """
    run, value = _longest(values)
    usual = max((_longest(day)[0] for day in days), default=None)
    hours = run * step_s / 3600
    if hours <= max_flat_h or (usual is None and value == 0):
        return None
    if usual is not None and (run <= TIMES_AS_LONG * usual or (value == 0 and run < np.isfinite(values).sum())):
        return None
    known = "" if usual is None else f"; on the days before at most {usual * step_s / 3600:.1f} h"
    return f"{sli.title} stood still at {judging.said(sli.unit, value, digits=6)} for {hours:.1f} h{known}"


def _longest(values: Floats) -> tuple[int, float]:
    """Steps of the longest stretch without a change, and the value there; a gap ends a stretch."""
    if not values.size:
        return 0, 0.0
    same = np.append(values[1:] == values[:-1], False)  # NaN equals nothing
    run = int(longest_run(same[None])[0])
    if run == 0:
        return 1, float("nan")
    held = np.convolve(same, np.ones(run), "valid")
    return run + 1, float(values[int(np.argmax(held >= run - 0.5))])


def _moved(policy: Policy, captured: Captured, values: Floats, days: Sequence[Floats]) -> dict[str, str]:
    """SLI id -> sentence for those that differ from the days before, in either direction: a good day is no measure either.

    The judge holds a working day after a week-end against the working days before: otherwise it would be doubted every week.
    """
    if not days or not policy.slis:
        return {}
    window = captured.window
    start_s, step_s, day_s = window.start.timestamp(), float(window.step_s), DAY.total_seconds()
    nothing: tuple[str | None, ...] = (None,) * len(policy.slis)
    earlier = [
        judging.Window(start_s - day_s * (len(days) - place), step_s, 0.0, day, nothing)
        for place, day in enumerate(days)
    ]
    rules = [
        judging.Rule(sli.id, sli.title, sli.unit, "both", sli.min_relative, sli.min_absolute, not sli.shadow)
        for sli in policy.slis
    ]
    after = judging.Window(start_s, step_s, 0.0, values, nothing)
    answers = judging.judge(earlier[-1], after, rules, deployed_at_s=start_s, history=earlier)
    return {each.sli: each.sentence for each in answers if each.outcome == "moved"}


def _days(policy: Policy, earlier: Captured, per_day: int) -> list[Floats]:
    """Whole days before, oldest first, up to the window, (N, T) each; from the first on that anything is known of."""
    if not earlier.slis:
        return []
    total = steps(earlier.window.start.timestamp(), earlier.window.end.timestamp(), earlier.window.step_s)
    stacked = _stacked(policy, earlier, total)
    found = [stacked[:, first : first + per_day] for first in range(0, total - per_day + 1, per_day)]
    known = [place for place, day in enumerate(found) if np.isfinite(day).any()]
    return found[known[0] :] if known and known[-1] == len(found) - 1 else []


def _stacked(policy: Policy, captured: Captured, count: int) -> Floats:
    """(N, T) in the policy's order, a row of NaN for what is missing."""
    values: Floats = np.full((len(policy.slis), count), np.nan)
    place = {sli.id: row for row, sli in enumerate(policy.slis)}
    for sli, reading in zip(captured.slis, captured.readings, strict=True):
        if not isinstance(reading, Missing):
            values[place[sli.id]] = reading.values
    return values
