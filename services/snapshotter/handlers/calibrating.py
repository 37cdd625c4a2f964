"""A product's own limits: what they are at a moment, what they rest on, and how often they alarmed where nothing was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.snapshotter import domain, store
from services.snapshotter import judge as judging
from services.snapshotter.commands import CalibrationView, DayPairView, FalseAlarmsView
from services.snapshotter.domain import Limits, Weighed
from services.snapshotter.handlers.days import FAR_BACK, depth
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.judging import ALPHA
from services.snapshotter.judge.calibrate import Calibration, calibrate, rate_interval
from services.snapshotter.judge.tables.shipped import SHIPPED
from shared import policies
from shared.access import Call
from shared.answers import Answer
from shared.contracts import Policy
from shared.db import Tx
from shared.errors import NotFound
from shared.jsons import dumps

#: No limit of a product's own is lower: scores are log odds, and what more likely did not move does not alarm.
LEAST = 0.0
_SHOWN = 60  #: pairs in an answer, the newest


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A product's calibration. `later`: pairs that were judged under limits that older pairs gave; `alarms` among them."""

    pairs: tuple[Weighed, ...]
    found: Calibration
    later: int
    alarms: int
    limits: Limits


async def pairs_at(tx: Tx, product_id: str, policy: Policy, by: datetime) -> tuple[Weighed, ...]:
    """The product's pairs of days that were over at `by`, and which of them count."""
    pairs = [
        one for one in await store.pairs_of(tx, product_id, by - FAR_BACK, by) if one.judge_version == judging.VERSION
    ]
    disturbed = await store.disturbances(tx, product_id, min((p.starts_at for p in pairs), default=by))
    return domain.weighed(pairs, disturbed, depth(policy))


def calibrated(product_id: str, policy: Policy, weighed: Sequence[Weighed]) -> Calibrated:
    """The product's calibration from these pairs. CPU work, and a slow import at the first time: not in a transaction."""
    days = depth(policy)
    counted = [one.pair for one in weighed if one.left_out is None and one.pair.score is not None]
    tops = [pair.score for pair in counted if pair.score is not None]
    found = calibrate(SHIPPED, tops, days, ALPHA)
    later = alarms = 0
    for n in range(found.needed, len(counted)):  # each later pair under the limit that the pairs before it gave
        before = calibrate(SHIPPED, tops[:n], days, ALPHA)
        later += 1
        alarms += tops[n] > max(LEAST, before.fitted.limits[days]) or counted[n].alarms_anyway
    own = None
    if found.is_own and domain.keeps_days(policy):
        fewer = {known: limit for known, limit in SHIPPED.limits.items() if known < days}
        own = {**fewer, days: max(LEAST, found.fitted.limits[days])}  # holds for all that have so many days or more
    return Calibrated(
        tuple(weighed), found, later, alarms, Limits(own, _sentence(product_id, policy, found, later, alarms))
    )


def _sentence(product_id: str, policy: Policy, found: Calibration, later: int, alarms: int) -> str:
    if not domain.keeps_days(policy):
        return f"The shipped limits hold: {product_id} keeps no days to learn its own from."
    if not found.is_own:
        there = f"{found.pairs} of the {found.needed} quiet day pairs are there"
        return f"The shipped limits hold: {there} that {product_id} needs for its own."
    rests = f"{product_id}'s own limits hold, from {found.pairs} quiet day pairs"
    if not later:
        return f"{rests}; none came later to measure them by."
    low, high = rate_interval(alarms, later)
    return f"{rests}; of {later} later ones {alarms} alarmed ({alarms / later:.0%}; 90 % interval {low:.0%} to {high:.0%})."


async def read_calibration(deps: Deps, call: Call, product_id: str) -> Answer:
    """Which limits hold for a product now, and what they rest on. Raises NotFound."""
    async with deps.db.read(call) as tx:
        found = await policies.latest(tx, product_id)
        if found is None or tx.caller is None or not tx.caller.roles(product_id):
            raise NotFound(f"There is no product {product_id} here.")
        kept = await store.kept_days(tx, product_id, tx.now - FAR_BACK)
        weighed = await pairs_at(tx, product_id, found[1], tx.now)
    now = await deps.workers.run(calibrated, product_id, found[1], weighed)
    return Answer(200, dumps(_view(product_id, found[1], now, len(kept))))


def _view(product_id: str, policy: Policy, now: Calibrated, days_kept: int) -> CalibrationView:
    days = depth(policy)
    low, high = rate_interval(now.alarms, now.later) if now.later else (None, None)
    return CalibrationView(
        product=product_id,
        holds="own" if now.limits.own else "shipped",
        sentence=now.limits.sentence,
        alpha=ALPHA,
        pairs=now.found.pairs,
        needed=now.found.needed,
        limit=(now.limits.own or SHIPPED.limits)[days],
        shipped_limit=SHIPPED.limits[days],
        earlier_days=days,
        judge_version=judging.VERSION,
        days_kept=days_kept,
        false_alarms=FalseAlarmsView(
            pairs=now.later,
            alarms=now.alarms,
            rate=now.alarms / now.later if now.later else None,
            low=low,
            high=high,
        ),
        day_pairs=tuple(
            DayPairView(
                day=one.pair.day,
                score=one.pair.score if one.pair.score is None or abs(one.pair.score) < 1e308 else None,
                alarms_anyway=one.pair.alarms_anyway,
                earlier_days=one.pair.earlier_days,
                left_out=one.left_out,
            )
            for one in reversed(now.pairs[-_SHOWN:])
        ),
    )
