"""The job that looks again at what was published: the run that a benchmark came from may have deviated since."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from services.snapshotter import domain, store
from services.snapshotter.handlers.deps import Deps
from shared import policies
from shared.db import Appointment, Tx

_HORIZON = timedelta(days=90)  #: no benchmark of so long ago satisfies anything


async def weigh_benchmarks(deps: Deps, appointment: Appointment) -> None:
    """Say which benchmarks of a product came from a run that deviated, and which no longer do; subject: the product.

    Under the product's lock, after whatever gave cause has committed: so none falls between two that happen at once.
    """
    product_id = appointment.subject
    async with deps.db.tx(appointment) as tx:
        version = await store.locked_product(tx, product_id)
        since = tx.now - _HORIZON
        met = {each.id: each for each in await store.benchmarks_met(tx, product_id, since)}
        met |= {each.id: each for each in await store.doubted_since(tx, product_id, since)}
        said = await store.doubts_of(tx, met)
        despite = {id: made.despite for id, made in (await store.provenances_of(tx, met)).items()}
        looks = {look.subject: look for look in await store.looks_about(tx, product_id, since, tx.now)}
        for cr_id, deployment in sorted({(each.observed, each.deployment) for each in said}):
            looks |= {look.subject: look for look in await store.observations_of(tx, cr_id, deployment)}
        new = domain.doubts(
            [(each, despite.get(each.id, {})) for each in met.values()],
            await runs_of(tx, looks.values()),
            said,
            product_id=product_id,
            version=version,
            now=tx.now,
        )
        if not new:
            return
        await store.insert_doubts(tx, new)
        await store.save_version(tx, product_id, was=version, version=new[-1].sequence)
        policy_version = await policies.in_force(tx, product_id)
        for each in new:
            tx.emit(domain.doubted(each), sequence=each.sequence, policy_version=policy_version)
        tx.audit(
            product_id,
            action="weigh_benchmarks",
            revision=new[-1].sequence,
            product=product_id,
            evidence=sorted({met[each.snapshot_id].content_hash for each in new}),
            policy_version=policy_version,
            doubted=[each.snapshot_id for each in new if each.holds],
            cleared=[each.snapshot_id for each in new if not each.holds],
        )


async def runs_of(tx: Tx, looks: Iterable[domain.Observation]) -> list[domain.Run]:
    """What looks found to deviate, and what they still look at."""
    found = [domain.run_of(look, await store.deployment(tx, look.cr_id, look.deployment)) for look in looks]
    return [run for run in found if run is not None]
