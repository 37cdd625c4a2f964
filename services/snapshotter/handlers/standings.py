"""Which benchmark counts for a CR, as it is kept: for the judge, and for whoever looks."""

from __future__ import annotations

from datetime import datetime

from services.snapshotter import domain, store
from services.snapshotter.commands import BenchmarkView, PinView
from shared import policies
from shared.contracts import AlsoDeployed
from shared.db import Tx


async def standing_of(
    tx: Tx,
    cr: domain.ChangeRequest,
    deployed_at: datetime | None,
    max_age_h: float,
    *,
    doubted_by: datetime | None = None,
) -> domain.Standing:
    """The benchmark that counted at the deploy; that counts now while there was none. `doubted_by`: see the domain."""
    pins = (await store.pins_of(tx, cr.product_id, deployed_at))[:1]
    benchmarks = await store.benchmarks_for(tx, cr, deployed_at, {pin.snapshot_id for pin in pins})
    return domain.standing(
        benchmarks,
        cr,
        deployed_at=deployed_at,
        now=tx.now,
        max_age_h=max_age_h,
        pins=pins,
        doubts=await store.doubts_of(tx, [each.id for each in benchmarks]),
        doubted_by=doubted_by,
    )


async def benchmark_view(
    tx: Tx, cr: domain.ChangeRequest, deployed_at: datetime | None, policy_version: str | None
) -> BenchmarkView:
    """How the benchmark of a CR stands, with its pin, its health, and a draft that waits to be published."""
    if policy_version is not None:
        policy = await policies.of(tx, cr.product_id, policy_version)
    else:
        latest = await policies.latest(tx, cr.product_id)
        if latest is None:
            sentence = f"no policy of {cr.product_id} is known here"
            return BenchmarkView(
                state="missing", sentence=sentence, snapshot=None, published_at=None, published_by=None
            )
        policy = latest[1]
    found = await standing_of(tx, cr, deployed_at, policy.benchmark.max_age_h)
    counts = found.counts
    made = (await store.provenances_of(tx, [counts.id])).get(counts.id) if counts else None
    draft = await store.latest_draft(tx, cr) if deployed_at is None else None
    if draft is not None:
        is_newer = counts is None or draft.window.end > counts.window.end
        if not is_newer or await store.published_as(tx, draft.id) is not None:
            draft = None
    return BenchmarkView(
        state=found.state,
        sentence=found.sentence,
        snapshot=counts.id if counts else None,
        published_at=counts.taken_at if counts else None,
        published_by=counts.taken_by if counts else None,
        missing=counts.missing if counts else (),
        late=tuple(each.id for each in found.late),
        pin=pin_view(found.pin, tx.now) if found.pin else None,
        health=made.health if made else None,
        despite=dict(made.despite) if made else {},
        corrects=made.corrects if made else None,
        draft=draft.id if draft else None,
    )


async def also_deployed(tx: Tx, look: domain.Observation) -> tuple[AlsoDeployed, ...]:
    """Other CRs of the product whose own day meets this look: each of the two is shown on the other's verdict."""
    found = await store.deployments_between(tx, look.product_id, domain.also_since(look), look.ends_at)
    return tuple(
        AlsoDeployed(change_request=each.cr_id, deployment=each.number, deployed_at=each.deployed_at)
        for each in found
        if each.cr_id != look.cr_id and each.deployed_at is not None
    )


def pin_view(pin: domain.Pin, now: datetime) -> PinView:
    state = "ended" if pin.ended_at is not None else "holds" if now < pin.expires_at else "expired"
    return PinView(
        id=pin.id,
        product=pin.product_id,
        snapshot=pin.snapshot_id,
        reason=pin.reason,
        state=state,
        pinned_at=pin.pinned_at,
        pinned_by=pin.pinned_by,
        expires_at=pin.expires_at,
        ended_at=pin.ended_at,
        ended_by=pin.ended_by,
        ended_because=pin.ended_because,
    )
