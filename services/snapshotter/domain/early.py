"""Early looks: what has passed so far, looked at to raise a deviation before the day is over. They never say `steady`.

A short window tells little, so only gross changes count, and however often one looks, the error budget is one. The judge
scores an early window 1 at the edge of what a few quiet SLIs do. On 241 quiet pairs of real days (1 to 245 SLIs each):

* With 1.1 + 0.25 * ln(N / 5) for N SLIs, a single look at a seeded hour raised something on 0.0 to 0.8 % of the days, the
  first half hour most often.
* Looks share their hours, so they err together: with 0.2 * ln(K) more for K looks, 3 looks (15 min, 1 h, 6 h) raised
  something on 1.2 % of the days and 7 looks on 1.2 %.

`python -m tests.judge.early_budget` measures it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from services.snapshotter.domain.benchmarks import Standing
from services.snapshotter.domain.values import DAY, Observation
from shared.contracts import ComparedSLI, EarlyLookTaken
from shared.contracts.policy import ObservationRules

ONE_LOOK, BY_SERIES, SERIES, BY_LOOKS = 1.1, 0.25, 5, 0.2


@dataclass(frozen=True, slots=True)
class EarlyLook:
    """One early look that was taken. `nothing`: nothing gross so far, which is no verdict; `no_data`: nothing to say."""

    cr_id: str
    deployment: int
    revision: int
    after_min: float
    ends_at: datetime
    looked_at: datetime
    found: Literal["moved", "nothing", "no_data"]
    sentence: str
    content_hash: str | None = None
    snapshot_id: str | None = None


def limit(looks: int, slis: int) -> float:
    """The score that one SLI must reach in one of `looks` looks at `slis` SLIs that decide."""
    return ONE_LOOK + BY_LOOKS * math.log(max(looks, 1)) + BY_SERIES * math.log(max(slis / SERIES, 1.0))


def raised(
    compared: Sequence[ComparedSLI], numbers: Mapping[str, Mapping[str, float]], *, looks: int
) -> tuple[ComparedSLI, ...]:
    """The SLIs that decide and moved so far that the shared budget allows to say so, each with its limit and score.

    What the judge calls moved without a score (a constant that became another) is left to the look after 24 hours.
    """
    decide = [each for each in compared if each.decides]
    least = limit(looks, len(decide))
    scores = {each.sli: float(numbers.get(each.sli, {}).get("score", 0.0)) for each in decide}
    return tuple(each for each in decide if each.outcome == "moved" and scores[each.sli] >= least)


def early_sentence(
    after_min: float, moved: Sequence[ComparedSLI], compared: Sequence[ComparedSLI], against: Standing
) -> str:
    """What an early look says. Quiet is no verdict, and is not said as one."""
    when = f"Early, {after_min:g} min after the deploy"
    if moved and against.counts is not None:
        return f"{when}: {moved[0].sentence}"
    if against.counts is None:
        return f"{when}: {against.sentence}, so there is nothing to compare with."
    read = sum(c.decides and c.outcome in ("steady", "moved") for c in compared)
    if not read:
        why = next((c.sentence for c in compared if c.decides), "no SLI decides")
        return f"{when}: nothing can be said, for example: {why}"
    return f"{when}: nothing gross in {read} SLIs so far; the look after 24 hours decides. This is no pass."


def said_of(look: Observation, taken: EarlyLook) -> EarlyLookTaken:
    """What is said of an early look that raised nothing. Raises ValueError for one that did."""
    if taken.found == "moved" or taken.content_hash is None:
        raise ValueError("an early look that found something to have moved says a deviation")
    return EarlyLookTaken(
        cr_id=look.cr_id,
        product_id=look.product_id,
        deployment=look.deployment,
        revision=look.revision,
        after_min=taken.after_min,
        window_start=look.starts_at,
        window_end=taken.ends_at,
        looked_at=taken.looked_at,
        found=taken.found,
        sentence=taken.sentence,
        content_hash=taken.content_hash,
    )


def next_look(rules: ObservationRules, deployed_at: datetime, after_min: float = 0.0) -> tuple[float, datetime] | None:
    """(minutes after the deploy, when) of the first early look later than `after_min`; None when there is none."""
    later = [each for each in rules.early_looks_min if each > after_min]
    return (later[0], deployed_at + timedelta(minutes=later[0])) if later else None


def due_look(rules: ObservationRules, deployed_at: datetime, now: datetime) -> float | None:
    """Of the looks whose time has come, the last one: it has seen what those before it would have seen.

    None before the first, and when the day is over: then the look after 24 hours says it all.
    """
    if now >= deployed_at + DAY:
        return None
    return max((each for each in rules.early_looks_min if deployed_at + timedelta(minutes=each) <= now), default=None)


def so_far(look: Observation, after_min: float) -> Observation:
    """The look at the day, cut to what an early look covers."""
    return replace(look, ends_at=look.starts_at + timedelta(minutes=after_min))


def early_subject(look: Observation) -> str:
    """Of the appointment of a deployment's next early look: one, so that a correction moves it."""
    return f"{look.cr_id}/{look.deployment}/early"
