"""The job of the 24 hour contract: read the nominal window however late it is, judge it, and say so once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.snapshotter import domain, store
from services.snapshotter.handlers.anchors import Further, further_back
from services.snapshotter.handlers.calibrating import calibrated, pairs_at
from services.snapshotter.handlers.capture import Captured, capture, keep, prepared
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.doubting import weigh_benchmarks
from services.snapshotter.handlers.judging import Grounds, Judged, Taken, judged, unjudged
from services.snapshotter.handlers.kept import filled, taken
from services.snapshotter.handlers.standings import also_deployed, standing_of
from services.snapshotter.sources import Missing, Series, steps
from shared import policies
from shared.contracts import MissingSLI, Policy
from shared.db import Appointment, Tx
from shared.errors import Busy, Unavailable

_log = structlog.get_logger(__name__)

DEADLINE_S = 180.0  #: for all SLIs of one look; what is not there then is tried again by the agenda
HISTORY_DEADLINE_S = 120.0
_TRIES = 2  #: at least, before a source's silence is believed: we may have been away ourselves until now


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a look needs to know before anything is read."""

    look: domain.Observation
    policy: Policy
    against: domain.Standing
    benchmark: Taken | None
    further: Further
    pairs: tuple[domain.Weighed, ...] | None  #: what limits of the product's own would rest on; None: it has none here
    known: Mapping[str, Series]  #: what earlier tries of this look have read
    deployed_at: datetime | None
    now: datetime


async def take_snapshot(deps: Deps, appointment: Appointment) -> None:
    """Capture, judge, and close one observation; subject `<cr>/<deployment>/<kind>`.

    Raises Unavailable while a source or the object store is down and patience lasts: the agenda comes back. After that the
    look is closed with what there is, overdue, and every SLI that could not be read is `no_data`.
    """
    async with deps.db.house() as tx:
        plan = await _plan(tx, appointment)
    if plan is None:
        async with deps.db.tx(appointment):
            return  # it was closed or superseded: leaving forgets the appointment
    look, policy = plan.look, plan.policy
    window = domain.observed_window(look, policy)
    captured = await capture(deps.sources, policy.slis, window, deadline_s=DEADLINE_S, known=plan.known)
    waiting = captured.worth_waiting
    is_patient = plan.now < look.gives_up_at(policy) or appointment.attempts < _TRIES
    if waiting and is_patient:
        words = _words(waiting, len(policy.slis))
        await _wait(deps, appointment, plan, captured, f"the source does not answer for {words}")
        raise Unavailable(f"waiting for {words}")
    overdue_because = _words(waiting, len(policy.slis)) if waiting else None
    history = await _history(deps, plan, captured)
    limits = domain.SHIPPED_LIMITS
    if plan.pairs is not None:
        limits = (await deps.workers.run(calibrated, look.product_id, policy, plan.pairs)).limits
    try:
        made = await prepared(deps, captured)
        past = await prepared(deps, history) if history else None
        grounds = await filled(deps, _grounds(plan, limits, captured, made, history, past))
    except Unavailable as error:
        because = str(error).rstrip(".")
        if is_patient:
            await _wait(deps, appointment, plan, captured, because[:1].lower() + because[1:])
            raise
        overdue_because = because
        made, past = await prepared(replace(deps, bucket=None), captured), None  # as rows: large is better than lost
        found = unjudged(look, policy, plan.against, overdue_because)
    else:
        try:
            found = await deps.workers.run(judged, grounds)
        except Exception as error:
            because = f"the judge failed on it ({type(error).__name__})"
            if is_patient:
                await _wait(deps, appointment, plan, captured, because)
                raise
            _log.exception("the judge failed", look=look.subject)  # for good: silence would be worse than no answer
            overdue_because = because
            found = unjudged(look, policy, plan.against, overdue_because)

    async with deps.db.tx(appointment) as tx:
        cr = await store.locked_change_request(tx, look.cr_id, look.product_id)
        current = await _open_look(tx, appointment)
        if current is None:
            return
        against, _ = await _standing(tx, cr, look, policy)
        if against != plan.against:
            raise Busy("What counts as the benchmark changed during the capture.")
        snapshot = domain.Snapshot(
            id=await store.next_id(tx),
            kind=look.kind,
            product_id=look.product_id,
            cr_id=look.cr_id,
            deployment=look.deployment,
            revision=look.revision,
            window=captured.window,
            taken_at=tx.now,
            taken_by=tx.actor,
            reason="",
            policy_version=look.policy_version,
            content_hash=made.content_hash,
            slis=len(policy.slis),
            missing=captured.missing,
        )
        closed, facts = domain.close(
            current,
            cr,
            found.verdict,
            snapshot,
            against,
            judge_version=found.judge_version,
            overdue_because=overdue_because,
            now=tx.now,
            also=await also_deployed(tx, current),
        )
        await store.insert_snapshot(tx, snapshot, made, raw_days=policy.samples.raw_days)
        await store.forget_readings(tx, look.subject)
        history_id = await _kept_history(tx, plan, history, past) if history and past else None
        await store.save_observation(tx, closed)
        await store.save_comparisons(
            tx, closed, found.verdict.comparisons, found.judge_version, _document(plan, limits, found, history_id)
        )
        await store.save_change_request(tx, cr, version=cr.version + len(facts))
        for sequence, fact in enumerate(facts, cr.version + 1):
            tx.emit(fact, sequence=sequence, policy_version=look.policy_version)
        if closed.deviated_at is not None:
            tx.schedule(weigh_benchmarks, look.product_id)
        tx.audit(
            look.subject,
            action="take_snapshot",
            revision=look.revision,
            evidence=[made.content_hash, *([against.counts.content_hash] if against.counts else [])],
            policy_version=look.policy_version,
            product=look.product_id,
            snapshot=snapshot.id,
            outcome=found.verdict.outcome,
            judge_version=found.judge_version,
        )


async def _plan(tx: Tx, appointment: Appointment) -> _Plan | None:
    look = await _open_look(tx, appointment)
    if look is None:
        return None
    policy = await policies.of(tx, look.product_id, look.policy_version)
    cr = await store.change_request(tx, look.cr_id) or domain.ChangeRequest(look.cr_id, look.product_id)
    against, deployed_at = await _standing(tx, cr, look, policy)
    pairs = await pairs_at(tx, look.product_id, policy, deployed_at or look.starts_at) if look.kind == "after" else None
    window = domain.observed_window(look, policy)
    count = steps(window.start.timestamp(), window.end.timestamp(), window.step_s)
    known = await store.partly_read(tx, look.subject, look.revision, count) if appointment.attempts > 1 else {}
    return _Plan(
        look,
        policy,
        against,
        await taken(tx, against.counts),
        await further_back(tx, look, policy, deployed_at, against.counts),
        pairs,
        known,
        deployed_at,
        tx.now,
    )


def _grounds(
    plan: _Plan,
    limits: domain.Limits,
    captured: Captured,
    made: store.Kept,
    history: Captured | None,
    past: store.Kept | None,
) -> Grounds:
    return Grounds(
        plan.look,
        plan.policy,
        plan.against,
        Taken("this look", captured.window, made.series),
        plan.benchmark,
        plan.further.anchored,
        plan.further.anchor,
        Taken("the history", history.window, past.series) if history and past else None,
        limits,
        plan.further.releases,
    )


async def _kept_history(tx: Tx, plan: _Plan, history: Captured, past: store.Kept) -> str:
    """The days that a verdict learned from, stored once however many verdicts learn from them; the snapshot's id."""
    look = plan.look
    known = await store.known_content(tx, look.product_id, "history", past.content_hash)
    if known is not None:  # its samples stay for as long as this verdict's own
        await store.keep_longer(tx, known, kept_until=tx.now + timedelta(days=plan.policy.samples.raw_days))
        return known
    snapshot = domain.Snapshot(
        id=await store.next_id(tx),
        kind="history",
        product_id=look.product_id,
        cr_id=None,
        deployment=None,
        revision=None,
        window=history.window,
        taken_at=tx.now,
        taken_by=tx.actor,
        reason=f"the days before {look.cr_id}",
        policy_version=look.policy_version,
        content_hash=past.content_hash,
        slis=len(history.slis),
        missing=history.missing,
    )
    await store.insert_snapshot(tx, snapshot, past, raw_days=plan.policy.samples.raw_days)
    return snapshot.id


def _document(plan: _Plan, limits: domain.Limits, found: Judged, history_id: str | None) -> dict[str, Any]:
    """What is stored with the answers: what the verdict rested on, every number, and how it is to be shown."""
    kept = domain.Record(
        benchmark_state=plan.against.state,
        benchmark_sentence=plan.against.sentence,
        pin_id=plan.against.pin.id if plan.against.pin else None,
        anchor_id=plan.further.anchor.id if plan.further.anchor else None,
        anchor_sentence=plan.further.anchored.sentence if plan.further.anchored else None,
        history_id=history_id,
        releases=tuple(each.snapshot_id for each in plan.further.releases),
        limits=limits,
        budget=found.budget,
        numbers=found.numbers,
    )
    return {
        **kept.as_json(),
        "history_days": found.history_days,
        "settle_s": found.settle_s,
        "creep": found.verdict.creep,
    }


async def _wait(deps: Deps, appointment: Appointment, plan: _Plan, captured: Captured, because: str) -> None:
    """Keep what this try has read, and say what the look waits for, unless it was closed or superseded meanwhile."""
    read = {
        sli.id: reading
        for sli, reading in zip(captured.slis, captured.readings, strict=True)
        if isinstance(reading, Series) and sli.id not in plan.known
    }
    until = plan.look.gives_up_at(plan.policy)
    evidence = []
    if domain.delay(plan.look, because, captured.missing, tried_until=until, now=plan.now)[1] is not None:
        evidence = [(await asyncio.to_thread(keep, captured)).content_hash]
    async with deps.db.tx(appointment) as tx:
        tx.keep_appointment = True  # the next try is this one's again
        cr = await store.locked_change_request(tx, plan.look.cr_id, plan.look.product_id)
        look = await _open_look(tx, appointment)
        if look != plan.look or look is None:
            return
        await store.save_readings(tx, look.subject, look.revision, read)
        delayed, fact = domain.delay(look, because, captured.missing, tried_until=until, now=tx.now)
        if fact is None:
            return
        await store.save_observation(tx, delayed)
        await store.save_change_request(tx, cr, version=cr.version + 1)
        tx.emit(fact, sequence=cr.version + 1, policy_version=look.policy_version)
        tx.audit(
            look.subject,
            action="delay_snapshot",
            revision=look.revision,
            evidence=evidence,
            policy_version=look.policy_version,
            product=look.product_id,
            reason=because,
        )


async def _open_look(tx: Tx, appointment: Appointment) -> domain.Observation | None:
    """The look that the appointment is for, unless it was closed or superseded."""
    cr_id, number, kind = appointment.subject.rsplit("/", 2)
    for look in await store.observations_of(tx, cr_id, int(number)):
        if look.kind == kind and look.revision == appointment.revision and look.is_open:
            return look
    return None


async def _standing(
    tx: Tx, cr: domain.ChangeRequest, look: domain.Observation, policy: Policy
) -> tuple[domain.Standing, datetime | None]:
    """The benchmark that counted at the deploy, and when that was. Both looks at a deployment share it."""
    deployed_at = (await store.deployment(tx, look.cr_id, look.deployment)).deployed_at
    by = deployed_at or look.starts_at
    return await standing_of(tx, cr, by, policy.benchmark.max_age_h, doubted_by=tx.now), deployed_at


async def _history(deps: Deps, plan: _Plan, captured: Captured) -> Captured | None:
    """Earlier days of those SLIs that can be compared at all. A source that has none costs nobody the verdict."""
    if plan.deployed_at is None or plan.against.counts is None:
        return None
    window = domain.history_window(plan.deployed_at, plan.policy)
    if window is None or domain.DAY.total_seconds() % window.step_s:
        return None  # days that do not begin on a step cannot be laid over each other
    there = {one.sli for one in plan.benchmark.series if one.missing is None} if plan.benchmark else set()
    slis = [
        sli
        for sli, reading in zip(captured.slis, captured.readings, strict=True)
        if sli.id in there and (reading.silent if isinstance(reading, Missing) else True)
    ]
    return await capture(deps.sources, slis, window, deadline_s=HISTORY_DEADLINE_S) if slis else None


def _words(missing: Sequence[MissingSLI], of: int) -> str:
    """`3 of 5 SLIs: the source cannot be reached (latency-p95, errors); HTTP 429 (traffic)`: each reason once, and at most
    three of them, so that it is short enough for a sentence."""
    by_reason: dict[str, list[str]] = {}
    for each in missing:
        by_reason.setdefault(each.reason[:200], []).append(each.sli)
    told = [f"{reason} ({domain.few_of(slis)})" for reason, slis in list(by_reason.items())[:3]]
    left = sum(len(slis) for slis in list(by_reason.values())[3:])
    return f"{len(missing)} of {of} SLIs: {'; '.join(told)}{f'; and {left} more' if left else ''}"
