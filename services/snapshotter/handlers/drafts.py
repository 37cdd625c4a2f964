"""Drafts that nobody asked for: when a CR enters review, operations finds one ready to look at."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from services.snapshotter import domain, store
from services.snapshotter.domain import Provenance
from services.snapshotter.handlers.benchmarks import Plan, kept_as, planned
from services.snapshotter.handlers.capture import prepared
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.doubting import runs_of
from services.snapshotter.handlers.health import health, with_earlier_days
from services.snapshotter.handlers.standings import standing_of
from shared import policies
from shared.contracts import Event, ReviewRequested
from shared.db import Appointment, Tx
from shared.errors import TryLater, Unavailable

DEADLINE_S = 180.0
#: A review is requested again with each change of its evidence; a draft serves all of them for this long.
SERVES = timedelta(hours=1)
_REASON = "drafted when the review was requested"
_BEFORE = "of the 24 hours before what deviated since, or is still observed"


async def on_review_requested(tx: Tx, event: Event[ReviewRequested]) -> None:
    """Reading is slow: it is a job's."""
    tx.schedule(draft_for_review, event.data.cr_id, payload={"product_id": event.data.product_id})


async def draft_for_review(deps: Deps, appointment: Appointment) -> None:
    """Draft a benchmark for a CR in review, unless it has a good one; subject: the CR.

    Raises Unavailable while a source is down and patience lasts. After that the draft says what could not be read.
    """
    async with deps.db.house() as tx:
        plan, now = await _wanted(tx, appointment), tx.now
    if plan is None:
        async with deps.db.tx(appointment):
            return  # nobody needs one any more: leaving forgets the appointment
    captured, earlier = await with_earlier_days(deps, plan.policy, plan.window, DEADLINE_S)
    gives_up_at = appointment.due_at + timedelta(minutes=plan.policy.observation.patience_min)
    if (waiting := captured.worth_waiting) and now < gives_up_at:
        raise Unavailable(f"waiting for {waiting[0].sli}: {waiting[0].reason}")
    kept = await prepared(deps, captured)
    found = await deps.workers.run(health, plan.policy, captured, earlier)
    async with deps.db.tx(appointment) as tx:
        if await _wanted(tx, appointment) is not None:
            made = Provenance("", "pulled", health=found)
            is_latest = plan.window == domain.benchmark_window(now, plan.window.step_s)
            reason = _REASON if is_latest else f"{_REASON}; {_BEFORE}"
            await kept_as(tx, "draft", plan, captured, kept, made, found, reason)


async def _wanted(tx: Tx, appointment: Appointment) -> Plan | None:
    cr_id = appointment.subject
    cr = await store.change_request(tx, cr_id)
    if cr is None:
        raise TryLater(f"{cr_id} has not been heard of yet")
    if cr.is_withdrawn:
        return None
    deployments = await store.deployments_of(tx, cr_id)
    if deployments and deployments[-1].rolled_back_at is None:
        return None  # it is in production: a draft would be late
    latest = await policies.latest(tx, cr.product_id)
    if latest is None:
        raise TryLater(f"no policy of {cr.product_id} has been heard yet")
    if not latest[1].slis:
        return None  # nothing to measure: asking again would not change that
    plan = await _clear(tx, await planned(tx, cr_id, None, "draft_snapshot"))
    standing = await standing_of(tx, cr, None, plan.policy.benchmark.max_age_h)
    draft = await store.latest_draft(tx, cr)
    is_served = draft is not None and timedelta(0) <= plan.window.end - draft.window.end < SERVES
    return None if standing.state == "good" or is_served else plan


async def _clear(tx: Tx, plan: Plan) -> Plan:
    """The plan for a window that nothing is said against: another change of the product may be observed at this moment."""
    window = plan.window
    runs = await runs_of(tx, await store.looks_about(tx, plan.product_id, window.start, window.end))
    oldest = tx.now - timedelta(hours=plan.policy.benchmark.max_age_h)
    clear = domain.clear_window(window, runs, oldest)
    return replace(plan, window=clear) if clear is not None else plan
