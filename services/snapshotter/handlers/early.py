"""The job of the early looks: judge what has passed so far, raise a gross deviation, and never say that all is well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from services.snapshotter import domain, store
from services.snapshotter.domain import EarlyLook
from services.snapshotter.handlers.capture import Captured, capture, prepared
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.doubting import weigh_benchmarks
from services.snapshotter.handlers.judging import Grounds, Taken, judged
from services.snapshotter.handlers.kept import filled, taken
from services.snapshotter.handlers.standings import standing_of
from shared import policies
from shared.contracts import ComparedSLI, Policy
from shared.db import Appointment, Tx
from shared.errors import Unavailable

DEADLINE_S = 60.0
_TRIES = 3  #: of a source that is down; the look after 24 hours has the policy's patience, this one has not


@dataclass(frozen=True, eq=False)
class _Plan:
    look: domain.Observation
    after_min: float
    policy: Policy
    against: domain.Standing
    benchmark: Taken | None


async def look_early(deps: Deps, appointment: Appointment) -> None:
    """One early look at a deployment; subject `<cr>/<deployment>/early`. Arms the next, unless it raised a deviation.

    Raises Unavailable, at most twice, while a source is down.
    """
    async with deps.db.house() as tx:
        plan = await _plan(tx, appointment)
    if plan is None:
        async with deps.db.tx(appointment) as tx:
            await _arm_next(tx, appointment, None)
        return
    window = domain.observed_window(domain.so_far(plan.look, plan.after_min), plan.policy)
    captured = await capture(deps.sources, plan.policy.slis, window, deadline_s=DEADLINE_S)
    if captured.worth_waiting and appointment.attempts < _TRIES:
        raise Unavailable(f"waiting for {captured.worth_waiting[0].sli}: {captured.worth_waiting[0].reason}")
    kept = await prepared(deps, captured)
    cut = domain.so_far(plan.look, plan.after_min)
    grounds = Grounds(cut, plan.policy, plan.against, Taken("this look", window, kept.series), plan.benchmark)
    found = await deps.workers.run(judged, await filled(deps, grounds))
    compared = found.verdict.comparisons
    moved = domain.raised(compared, found.numbers, looks=len(plan.policy.observation.early_looks_min))

    async with deps.db.tx(appointment) as tx:
        cr = await store.locked_change_request(tx, plan.look.cr_id, plan.look.product_id)
        current = await _open(tx, appointment)
        if current is None or current.deviation_id is not None:
            return
        looked = EarlyLook(
            current.cr_id,
            current.deployment,
            current.revision,
            plan.after_min,
            cut.ends_at,
            tx.now,
            "moved" if moved else _quiet(compared),
            domain.early_sentence(plan.after_min, moved, compared, plan.against),
            kept.content_hash,
        )
        if moved and plan.against.counts is not None:
            looked = await _raise(tx, cr, current, plan, looked, captured, kept, moved, compared)
        await store.save_early_look(tx, looked)
        tx.audit(
            appointment.subject,
            action="look_early",
            revision=current.revision,
            evidence=[kept.content_hash],
            policy_version=current.policy_version,
            product=current.product_id,
            after_min=plan.after_min,
            found=looked.found,
            judge_version=found.judge_version,
        )
        if looked.found != "moved":
            said = domain.said_of(current, looked)
            await store.save_change_request(tx, cr, version=cr.version + 1)
            tx.emit(said, sequence=cr.version + 1, policy_version=current.policy_version)
            await _arm_next(tx, appointment, plan)


async def _raise(
    tx: Tx,
    cr: domain.ChangeRequest,
    current: domain.Observation,
    plan: _Plan,
    looked: EarlyLook,
    captured: Captured,
    kept: store.Kept,
    moved: Sequence[ComparedSLI],
    compared: Sequence[ComparedSLI],
) -> EarlyLook:
    """Keep what was read as evidence, and say the deviation. The look after 24 hours stays armed."""
    snapshot = domain.Snapshot(
        id=await store.next_id(tx),
        kind="early",
        product_id=current.product_id,
        cr_id=current.cr_id,
        deployment=current.deployment,
        revision=current.revision,
        window=captured.window,
        taken_at=tx.now,
        taken_by=tx.actor,
        reason=f"an early look, {plan.after_min:g} min after the deploy",
        policy_version=current.policy_version,
        content_hash=kept.content_hash,
        slis=len(captured.slis),
        missing=captured.missing,
    )
    await store.insert_snapshot(tx, snapshot, kept, raw_days=plan.policy.samples.raw_days)
    deviating, facts = domain.raise_early(
        current, cr, snapshot, plan.against, moved, compared, after_min=plan.after_min, now=tx.now
    )
    await store.save_observation(tx, deviating)
    await store.save_change_request(tx, cr, version=cr.version + len(facts))
    for sequence, fact in enumerate(facts, cr.version + 1):
        tx.emit(fact, sequence=sequence, policy_version=current.policy_version)
    tx.schedule(weigh_benchmarks, current.product_id)
    return replace(looked, snapshot_id=snapshot.id)


async def _plan(tx: Tx, appointment: Appointment) -> _Plan | None:
    look = await _open(tx, appointment)
    if look is None or look.deviation_id is not None:
        return None
    policy = await policies.of(tx, look.product_id, look.policy_version)
    after_min = domain.due_look(policy.observation, look.starts_at, tx.now)
    if after_min is None:
        return None
    cr = await store.change_request(tx, look.cr_id) or domain.ChangeRequest(look.cr_id, look.product_id)
    against = await standing_of(tx, cr, look.starts_at, policy.benchmark.max_age_h)
    return _Plan(look, after_min, policy, against, await taken(tx, against.counts))


async def _open(tx: Tx, appointment: Appointment) -> domain.Observation | None:
    """The look after 24 hours that is still to come, of the revision that the appointment was made for."""
    cr_id, number, _ = appointment.subject.rsplit("/", 2)
    for look in await store.observations_of(tx, cr_id, int(number)):
        if look.kind == "after" and look.revision == appointment.revision and look.is_open:
            return look
    return None


async def _arm_next(tx: Tx, appointment: Appointment, plan: _Plan | None) -> None:
    if plan is None:
        return  # the day is over, or what it was for is: leaving forgets the appointment
    following = domain.next_look(plan.policy.observation, plan.look.starts_at, plan.after_min)
    if following is not None:
        tx.schedule(look_early, appointment.subject, following[1], revision=appointment.revision)


def _quiet(compared: Sequence[ComparedSLI]) -> Literal["nothing", "no_data"]:
    return "nothing" if any(c.decides and c.outcome in ("steady", "moved") for c in compared) else "no_data"
