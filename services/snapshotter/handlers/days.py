"""Keeping a product's days, one a day, and scoring each against the one before: what its own limits are learned from.

One window of 24 hours is read per product and day, an eighth of what a look with its history reads; nothing is read twice.
Scores are computed from what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.snapshotter import domain, store
from services.snapshotter import judge as judging
from services.snapshotter.domain import DAY, DayPair
from services.snapshotter.handlers.capture import capture, prepared
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.judging import Taken, day_compared
from services.snapshotter.handlers.kept import taken_by_id, with_samples
from services.snapshotter.judge.calibrate import top_score
from services.snapshotter.judge.tables.shipped import SHIPPED
from shared import policies
from shared.contracts import Event, IncidentClosed, IncidentOpened, Policy, ProductChanged
from shared.db import Appointment, Tx
from shared.errors import Unavailable

DEADLINE_S = 180.0
#: Pairs scored in one run: the next run takes the next ones.
AT_ONCE = 8
#: As far back as limits are learned from, and pairs scored anew when the judge or the policy changed.
FAR_BACK = 180 * DAY
#: Below any score, and above: with the first as its limit the judge says of each SLI whether the policy would mind its change,
#: with the second what moves all the same.
_NO_LIMIT, _UNREACHED = -1e9, 1e9


async def on_product_heard(tx: Tx, event: Event[ProductChanged]) -> None:
    """Keep the policy; begin to keep the product's days, or end it, as the policy says."""
    await policies.on_product_changed(tx, event)
    found = await policies.latest(tx, event.data.product_id)
    if found is not None and domain.keeps_days(found[1]):
        tx.schedule(keep_day, event.data.product_id, domain.next_day_due(event.data.product_id, tx.now))
    else:
        tx.cancel(keep_day, event.data.product_id)


async def on_incident_opened(tx: Tx, event: Event[IncidentOpened]) -> None:
    """From now on the product's days are no quiet ones, unless it was the judge that opened it."""
    if domain.disturbs(event.data):
        await store.open_incident(tx, event.data.incident_id, event.data.product_id, event.data.opened_at)


async def on_incident_closed(tx: Tx, event: Event[IncidentClosed]) -> None:
    await store.close_incident(tx, event.data.incident_id, event.data.closed_at)


async def keep_day(deps: Deps, appointment: Appointment) -> None:
    """Read the whole day that ended before the appointment, and store it; subject: the product.

    Raises Unavailable while a source is down, for some hours: the agenda comes back. Then the day is stored with what there
    is, or not at all when there is nothing.
    """
    product_id = appointment.subject
    async with deps.db.house() as tx:
        found, now = await policies.latest(tx, product_id), tx.now
    if found is None or not domain.keeps_days(found[1]):
        async with deps.db.tx(appointment):
            return  # leaving forgets the appointment; a changed policy makes a new one
    version, policy = found
    due_at = max(appointment.due_at, domain.next_day_due(product_id, now - domain.OLDEST_DAY))
    window = domain.day_before(due_at, policy)
    captured = await capture(deps.sources, policy.slis, window, deadline_s=DEADLINE_S)
    if captured.worth_waiting and now < due_at + domain.DAY_PATIENCE:
        raise Unavailable(f"the day cannot be read yet: {captured.worth_waiting[0].reason}")
    kept = None if captured.is_all_missing else await prepared(deps, captured)
    async with deps.db.tx(appointment) as tx:
        tx.schedule(keep_day, product_id, domain.next_day_due(product_id, due_at))
        known = await store.kept_days(tx, product_id, window.start)
        if kept is None or window.start in known:
            return
        snapshot = domain.Snapshot(
            id=await store.next_id(tx),
            kind="day",
            product_id=product_id,
            cr_id=None,
            deployment=None,
            revision=None,
            window=window,
            taken_at=tx.now,
            taken_by=tx.actor,
            reason="a day to learn limits from",
            policy_version=version,
            content_hash=kept.content_hash,
            slis=len(captured.slis),
            missing=captured.missing,
        )
        await store.insert_snapshot(tx, snapshot, kept, raw_days=policy.samples.raw_days)
        tx.audit(
            snapshot.id,
            action="keep_day",
            revision=1,  # a snapshot never changes
            product=product_id,
            evidence=[kept.content_hash],
            policy_version=version,
        )
        tx.schedule(score_days, product_id)


async def score_days(deps: Deps, appointment: Appointment) -> None:
    """Judge kept days against the day before each, where this judge under this policy has not; subject: the product."""
    product_id = appointment.subject
    async with deps.db.house() as tx:
        found = await policies.latest(tx, product_id)
        days = await store.kept_days(tx, product_id, tx.now - FAR_BACK)
        known = {pair.day: pair for pair in await store.pairs_of(tx, product_id, tx.now - FAR_BACK, tx.now)}
    scored: list[DayPair] = []
    is_all = True
    if found is not None:
        version, policy = found
        stamp = (version, judging.VERSION)
        due = [day for day in sorted(days, reverse=True) if day - DAY in days and _stamp(known.get(day)) != stamp]
        is_all = len(due) <= AT_ONCE
        for day in due[:AT_ONCE]:
            async with deps.db.house() as tx:
                around = await _around(tx, days, day, policy.observation.history_days)
            given = [await with_samples(deps, each) for each in around]
            score = await deps.workers.run(score_of, policy, given)
            scored.append(DayPair(day, score.top, score.alarms_anyway, score.earlier_days, *stamp))
    async with deps.db.tx(appointment) as tx:
        await store.save_pairs(tx, product_id, scored)
        if not is_all:
            tx.schedule(score_days, product_id)


def _stamp(pair: DayPair | None) -> tuple[str, str] | None:
    return (pair.policy_version, pair.judge_version) if pair else None


async def _around(tx: Tx, days: dict[datetime, str], day: datetime, history_days: int) -> list[Taken]:
    """The day, the one before, and earlier ones as many as a verdict would have, newest first."""
    found = []
    for back in range(max(2, history_days + 1)):
        if (kept := await taken_by_id(tx, days.get(day - back * DAY))) is not None:
            found.append(kept)
    return found


def depth(policy: Policy) -> int:
    """How many earlier days the limit is for that a verdict of this policy usually falls under."""
    return max(days for days in SHIPPED.limits if days <= max(1, policy.observation.history_days))


@dataclass(frozen=True, slots=True)
class Score:
    """How far a quiet pair went: what no limit may be under (None: nothing was judged), and what no limit prevents."""

    top: float | None
    alarms_anyway: bool
    earlier_days: int


def score_of(policy: Policy, days: Sequence[Taken]) -> Score:
    """Judge `days[0]` against `days[1]` with all of `days[1:]` to learn from, exactly as a look would be. CPU work."""

    def under(limits: Mapping[int, float]) -> tuple[judging.Comparison, ...]:
        return day_compared(policy, days[0], days[1], list(reversed(days[1:])), replace(SHIPPED, limits=limits))

    def top(answers: Sequence[judging.Comparison], counts: Callable[[judging.Comparison], bool]) -> float:
        """An SLI whose change the policy does not mind, or that does not decide, counts as one of N and has no score."""
        return top_score([c if _minded(c) and counts(c) else replace(c, numbers={}) for c in answers], SHIPPED)

    freely = under(dict.fromkeys(SHIPPED.limits, _NO_LIMIT))
    earlier = round(max((c.numbers.get("earlier_days", 1.0) for c in freely), default=1.0))
    # After a change of kind (a week-end) a verdict is also made among the days of the after day's kind alone: those are fewer
    # than `earlier`, and the limit for as many holds. Of the product's own ones that is the one from `own` days on.
    own = depth(policy)
    fewer = {known: limit for known, limit in SHIPPED.limits.items() if known < own}
    hardly = under({**fewer, own: _NO_LIMIT, max(own, earlier): _UNREACHED})

    def is_of_own(c: judging.Comparison) -> bool:
        """Whether nothing but the product's own limit, among days of one kind, could keep it from moving: it has a score."""
        return c.numbers.get("gross", 2.0) <= 1 and own <= c.numbers["earlier_days"] < earlier

    told = any(c.outcome in ("moved", "steady") for c in freely if c.decides)
    anyway = any(_minded(c) and not is_of_own(c) for c in hardly)
    return Score(max(top(freely, lambda _: True), top(hardly, is_of_own)) if told else None, anyway, earlier)


def _minded(c: judging.Comparison) -> bool:
    return c.decides and c.outcome == "moved"
