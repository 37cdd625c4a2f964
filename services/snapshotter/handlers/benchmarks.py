"""Publishing a benchmark: who may, on which policy, over which window; then the slow reading; then the one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from services.snapshotter import domain, store
from services.snapshotter.commands import PublishSnapshot
from services.snapshotter.handlers.capture import Captured, Kept, capture, keep
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.reading import snapshot_view
from shared import policies
from shared.access import Call, person
from shared.answers import Answer
from shared.contracts import MissingSLI, Policy
from shared.db import Tx
from shared.errors import Conflict, NotFound, Unavailable

DEADLINE_S = 60.0  #: for the whole capture: a person waits for the answer


@dataclass(frozen=True, slots=True)
class _Plan:
    product_id: str
    cr: domain.ChangeRequest | None
    policy_version: str
    policy: Policy
    window: domain.Window


class _NothingDoneYet(Exception):
    """Carries the plan out of the first look, whose transaction is rolled back by it."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan


async def publish_snapshot(deps: Deps, call: Call, command: PublishSnapshot) -> Answer:
    """Read the last 24 hours now and publish them as the benchmark of a CR or a product.

    Raises Forbidden, NotFound, Conflict (no SLI can be read at all), Unavailable (a source is down), Repeated.
    """
    plan = await _looked(deps, call, command)
    captured = await capture(deps.sources, plan.policy.slis, plan.window, deadline_s=DEADLINE_S)
    _refuse_nothing(captured)
    kept = await deps.workers.run(keep, captured)
    async with deps.db.tx(call) as tx:
        await _plan(tx, command)  # judged once more, and now it counts: the right may have been taken away meanwhile
        return await _published(tx, command, plan, captured, kept)


async def _looked(deps: Deps, call: Call, command: PublishSnapshot) -> _Plan:
    """Everything that can be refused or repeated is, before a minute is spent on reading."""
    try:
        async with deps.db.tx(call) as tx:
            raise _NothingDoneYet(await _plan(tx, command))
    except _NothingDoneYet as looked:
        return looked.plan


async def _plan(tx: Tx, command: PublishSnapshot) -> _Plan:
    cr: domain.ChangeRequest | None = None
    product_id = command.product
    if command.change_request is not None:
        cr = await store.change_request(tx, command.change_request)
        product_id = cr.product_id if cr else None
    tx.may("publish_snapshot", product_id, of=command.change_request or command.product or "")
    if product_id is None:
        raise NotFound(f"{command.change_request} is not known here (yet).")
    if cr is not None:
        domain.refuse_own(cr, person(tx.actor))
    found = await policies.latest(tx, product_id)
    if found is None:
        raise NotFound(f"No policy of {product_id} is known here (yet).")
    version, policy = found
    if not policy.slis:
        raise Conflict(f"The policy of {product_id} names no SLI: there is nothing to measure.")
    return _Plan(product_id, cr, version, policy, domain.benchmark_window(tx.now, policy.observation.step_s))


def _refuse_nothing(captured: Captured) -> None:
    """A benchmark of nothing would satisfy nothing. Raises Unavailable when waiting may help, Conflict when not."""
    if not captured.is_all_missing:
        return
    fields = [{"path": each.sli, "message": each.reason} for each in captured.missing]
    if captured.worth_waiting:
        raise Unavailable(
            f"None of the SLIs can be read now: {_first(captured.worth_waiting)}", fields=fields, retry_after_s=30
        )
    raise Conflict(f"None of the SLIs can be read: {_first(captured.missing)}", fields=fields)


def _first(missing: tuple[MissingSLI, ...]) -> str:
    return f"{missing[0].sli}: {missing[0].reason}."


async def _published(tx: Tx, command: PublishSnapshot, plan: _Plan, captured: Captured, kept: Kept) -> Answer:
    cr: domain.ChangeRequest | None = None
    if plan.cr is not None:
        cr = await store.locked_change_request(tx, plan.cr.id, plan.product_id)
        version = cr.version
    else:
        version = await store.locked_product(tx, plan.product_id)
    snapshot = domain.Snapshot(
        id=await store.next_id(tx),
        kind="benchmark",
        product_id=plan.product_id,
        cr_id=cr.id if cr else None,
        deployment=None,
        revision=None,
        window=captured.window,
        taken_at=tx.now,
        taken_by=person(tx.actor),
        reason=command.reason,
        policy_version=plan.policy_version,
        content_hash=kept.content_hash,
        slis=len(captured.slis),
        missing=captured.missing,
    )
    await store.insert_snapshot(tx, snapshot, kept.series)
    facts = domain.published(snapshot)
    await store.save_version(tx, snapshot.subject, was=version, version=version + len(facts))
    for sequence, fact in enumerate(facts, version + 1):
        tx.emit(fact, sequence=sequence, policy_version=plan.policy_version)
    tx.audit(
        snapshot.subject,
        evidence=[kept.content_hash],
        policy_version=plan.policy_version,
        product=plan.product_id,
        snapshot=snapshot.id,
        reason=command.reason,
    )
    return tx.answer(201, snapshot_view(snapshot, kept.series), Location=f"/snapshotter/v1/snapshots/{snapshot.id}")
