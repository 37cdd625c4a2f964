"""What is kept of a verdict beside its answers: what it rested on, and every number, so that it can be computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.snapshotter.domain.benchmarks import BenchmarkState, Standing
from shared.contracts import ComparedSLI, Outcome

#: Two numbers are the same when they differ by at most this share: stored ones have 9 significant digits.
SAME = 1e-8


@dataclass(frozen=True, slots=True)
class Limits:
    """Whose limits the judge uses: `own` ones of the product by number of earlier days, or with None the shipped ones."""

    own: Mapping[int, float] | None
    sentence: str


SHIPPED_LIMITS = Limits(None, "The shipped limits hold.")


@dataclass(frozen=True, slots=True)
class Record:
    """What one verdict rested on, as it is stored with it. Ids are those of snapshots."""

    benchmark_state: BenchmarkState
    benchmark_sentence: str
    pin_id: str | None  #: by which the benchmark counted
    anchor_id: str | None
    anchor_sentence: str | None
    history_id: str | None
    releases: tuple[str, ...]  #: after snapshots of the releases since the anchor, oldest first
    limits: Limits
    budget: Mapping[str, float]  #: how the one budget of false alarms was split
    numbers: Mapping[str, Mapping[str, float]]  #: SLI -> name -> number

    def as_json(self) -> dict[str, Any]:
        own = {str(days): limit for days, limit in self.limits.own.items()} if self.limits.own else None
        return {
            "benchmark_state": self.benchmark_state,
            "benchmark": self.benchmark_sentence,
            "pin_id": self.pin_id,
            "anchor_id": self.anchor_id,
            "anchor": self.anchor_sentence,
            "history_id": self.history_id,
            "releases": list(self.releases),
            "limits": {"own": own, "sentence": self.limits.sentence},
            "budget": dict(self.budget),
            "numbers": self.numbers,
        }


def record(document: Mapping[str, Any]) -> Record | None:
    """The record in a stored document; None when the verdict is older than records are."""
    if "numbers" not in document:
        return None
    own = document["limits"]["own"]
    return Record(
        benchmark_state=document["benchmark_state"],
        benchmark_sentence=document["benchmark"],
        pin_id=document["pin_id"],
        anchor_id=document["anchor_id"],
        anchor_sentence=document["anchor"],
        history_id=document["history_id"],
        releases=tuple(document["releases"]),
        limits=Limits(
            {int(days): limit for days, limit in own.items()} if own else None, document["limits"]["sentence"]
        ),
        budget=document["budget"],
        numbers=document["numbers"],
    )


def aged(found: Standing, by: datetime, max_age_h: float, *, is_pinned: bool) -> Standing:
    """How a benchmark that counted would have stood at `by`, had it been allowed to be `max_age_h` old.

    A pin holds whatever the age; and what had no benchmark, or one whose pin had expired, has none by being patient.
    """
    if found.counts is None or is_pinned or found.state not in ("good", "stale"):
        return found
    age_h = (by - found.counts.window.end).total_seconds() / 3600
    if age_h > max_age_h:
        old = f"{found.counts.id} was {age_h:.0f} h old; the policy allows {max_age_h:g} h"
        return replace(found, state="stale", sentence=old)
    return replace(found, state="good", sentence=f"{found.counts.id}, {max(0.0, age_h):.1f} h old")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a verdict that was computed again is not the stored one. `sli` None: the verdict as a whole."""

    sli: str | None
    what: str
    stored: str | float | None
    recomputed: str | float | None


def differences(
    outcome: Outcome | None,
    compared: Sequence[ComparedSLI],
    numbers: Mapping[str, Mapping[str, float]],
    *,
    again_outcome: Outcome,
    again_compared: Sequence[ComparedSLI],
    again_numbers: Mapping[str, Mapping[str, float]],
) -> tuple[Difference, ...]:
    """Every outcome, view and number that is not the same; the sentences say these again in words."""
    found: list[Difference] = []

    def hold(sli: str | None, what: str, stored: str | float | None, now: str | float | None) -> None:
        if not _same(stored, now):
            found.append(Difference(sli, what, stored, now))

    hold(None, "outcome", outcome, again_outcome)
    again = {one.sli: one for one in again_compared}
    for one in compared:
        other = again.pop(one.sli, None)
        hold(one.sli, "outcome", one.outcome, other.outcome if other else None)
        hold(one.sli, "view", one.view, other.view if other else None)
        was, now = numbers.get(one.sli, {}), again_numbers.get(one.sli, {})
        for name in sorted({*was, *now}):
            hold(one.sli, name, was.get(name), now.get(name))
    for sli, left in again.items():
        hold(sli, "outcome", None, left.outcome)
    return tuple(found)


def _same(one: str | float | None, other: str | float | None) -> bool:
    if one is None or other is None or isinstance(one, str) or isinstance(other, str):
        return one == other
    return abs(one - other) <= SAME * max(abs(one), abs(other))
