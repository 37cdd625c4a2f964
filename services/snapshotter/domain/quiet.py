"""Quiet day pairs: two days that follow each other, on which nothing was deployed and nothing went wrong.

From them a product learns its own limits. They are chosen by facts that were heard, never by the judge's own verdict: a pair
that alarmed stays in, and an incident that a deviation opened is no reason to leave its days out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.snapshotter.domain.values import DAY, Window
from shared.contracts import IncidentOpened, Policy

_LAG = timedelta(minutes=15)  #: sources are allowed to be that late with the end of a day
_SPREAD_S = 45 * 60  #: products do not all ask at once

#: A day that could not be read for so long is not kept: limits are learned from other days.
DAY_PATIENCE = timedelta(hours=6)
#: After an outage, no older day than this is asked of the source.
OLDEST_DAY = 7 * DAY


@dataclass(frozen=True, slots=True)
class DayPair:
    """A day judged against the one before, as if something had been deployed between them.

    score  what the product's limit must not be under for the day to be no alarm; of those SLIs that decide and
           whose change the policy minds, freed of their number
    alarms_anyway  whether a rule beside the score fired: no limit can prevent that
    """

    day: datetime  #: start of the second day
    score: float | None  #: None: nothing in the pair could be scored
    alarms_anyway: bool
    earlier_days: int
    policy_version: str
    judge_version: str

    @property
    def starts_at(self) -> datetime:
        return self.day - DAY

    @property
    def ends_at(self) -> datetime:
        return self.day + DAY


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What makes a day no quiet one. `ends_at` None: it goes on."""

    what: str
    starts_at: datetime
    ends_at: datetime | None

    def touches(self, pair: DayPair) -> bool:
        return self.starts_at < pair.ends_at and (self.ends_at is None or self.ends_at >= pair.starts_at)


@dataclass(frozen=True, slots=True)
class Weighed:
    """A pair, and why it does not count; None: it does."""

    pair: DayPair
    left_out: str | None


def weighed(pairs: Iterable[DayPair], disturbances: Sequence[Disturbance], earlier_days: int) -> tuple[Weighed, ...]:
    """Which pairs count, oldest first: quiet ones that do not overlap, with at least `earlier_days` to learn from."""
    found: list[Weighed] = []
    free_from: datetime | None = None
    for pair in sorted(pairs, key=lambda one: one.day):
        why = next((one.what for one in disturbances if one.touches(pair)), None)
        if why is None and pair.score is None:
            why = "nothing in it could be judged"
        if why is None and pair.earlier_days < earlier_days:
            why = f"it had {pair.earlier_days} earlier days to learn from, a verdict has {earlier_days}"
        if why is None and free_from is not None and pair.starts_at < free_from:
            why = "it shares a day with the pair before"
        if why is None:
            free_from = pair.ends_at
        found.append(Weighed(pair, why))
    return tuple(found)


def disturbs(incident: IncidentOpened) -> bool:
    """Whether an incident makes its days no quiet ones: not when the judge itself opened it."""
    return incident.origin != "deviation"


def keeps_days(policy: Policy) -> bool:
    """Whether a product keeps its days: it wants limits of its own, and days can be laid over each other."""
    return policy.observation.calibrate and bool(policy.slis) and 86400 % policy.observation.step_s == 0


def next_day_due(product_id: str, after: datetime) -> datetime:
    """When the day that ends next is to be read: a while after midnight UTC, products spread over the hour."""
    lag = _LAG + timedelta(seconds=zlib.crc32(product_id.encode()) % _SPREAD_S)
    midnight = after.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + lag if after < midnight + lag else midnight + DAY + lag


def day_before(due_at: datetime, policy: Policy) -> Window:
    """The whole UTC day that ended before `due_at`."""
    end = due_at.replace(hour=0, minute=0, second=0, microsecond=0)
    return Window(end - DAY, end, policy.observation.step_s)
