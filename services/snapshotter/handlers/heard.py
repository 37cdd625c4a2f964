"""What is heard of CRs: who made them, when they were deployed and rolled back. Looks are armed and disarmed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.snapshotter import domain, store
from services.snapshotter.handlers.doubting import weigh_benchmarks
from services.snapshotter.handlers.early import look_early
from services.snapshotter.handlers.observations import take_snapshot
from shared import policies
from shared.access import person
from shared.contracts import CRChanged, CRDeployed, CRRegistered, CRRolledBack, CRWithdrawn, Event, Policy
from shared.db import Tx
from shared.errors import TryLater


async def on_cr_described(tx: Tx, event: Event[CRRegistered] | Event[CRChanged]) -> None:
    """The CR's state: its product, release, and who was ever its author."""
    fact = event.data
    cr = await store.locked_change_request(tx, fact.cr_id, fact.product_id)
    known = domain.described(cr, fact.model_copy(update={"author": person(fact.author)}))
    await store.save_change_request(tx, known, version=cr.version)


async def on_cr_withdrawn(tx: Tx, event: Event[CRWithdrawn]) -> None:
    """Nothing is pending before a deploy, and after one production is looked at all the same."""
    cr = await store.locked_change_request(tx, event.data.cr_id, event.data.product_id)
    await store.save_change_request(tx, replace(cr, is_withdrawn=True), version=cr.version)


async def on_cr_deployed(tx: Tx, event: Event[CRDeployed]) -> None:
    """Arms the look a day after the deploy, or moves it. Raises TryLater while the policy was not heard."""
    fact = event.data
    version, policy = await _policy(tx, fact.product_id, event.policy_version)
    cr = await store.locked_change_request(tx, fact.cr_id, fact.product_id)
    before = await store.deployment(tx, cr.id, fact.deployment)
    looks = await store.observations_of(tx, cr.id, fact.deployment)
    fact = fact.model_copy(update={"deployer": person(fact.deployer)})
    change = domain.deployed(cr, before, looks, fact, policy_version=version, now=tx.now)
    await _save(tx, change, policy, looks)


async def on_cr_rolled_back(tx: Tx, event: Event[CRRolledBack]) -> None:
    """Arms the look at the return, and ends a look that has lost its object. Raises TryLater as above."""
    fact = event.data
    version, policy = await _policy(tx, fact.product_id, event.policy_version)
    cr = await store.locked_change_request(tx, fact.cr_id, fact.product_id)
    before = await store.deployment(tx, cr.id, fact.deployment)
    looks = await store.observations_of(tx, cr.id, fact.deployment)
    change = domain.rolled_back(cr, before, looks, fact, policy_version=version, policy=policy, now=tx.now)
    await _save(tx, change, policy, looks)


async def _policy(tx: Tx, product_id: str, version: str | None) -> tuple[str, Policy]:
    """The policy that a fact names; the newest when it names none. Raises TryLater while it was not heard."""
    if version is not None:
        return version, await policies.of(tx, product_id, version)
    found = await policies.latest(tx, product_id)
    if found is None:
        raise TryLater(f"no policy of {product_id} has been heard yet")
    return found


async def _save(tx: Tx, change: domain.Change, policy: Policy, before: Sequence[domain.Observation]) -> None:
    """Rows, letters and appointments of what was heard. `before`: the looks at this deployment as they were."""
    cr = change.cr
    await store.save_change_request(tx, cr, version=cr.version + len(change.facts))
    await store.save_deployment(tx, cr.product_id, change.deployment)
    for sequence, fact in enumerate(change.facts, cr.version + 1):
        tx.emit(fact, sequence=sequence, policy_version=change.deployment.policy_version)
    for look in change.observations:
        await store.save_observation(tx, look)
        if look.is_open:
            tx.schedule(take_snapshot, look.subject, look.due_at, revision=look.revision)
        else:
            tx.cancel(take_snapshot, look.subject)
            await store.forget_readings(tx, look.subject)
        if look.kind == "after":
            _arm_early(tx, look, policy)
    if any(look.deviated_at or look.is_cut_short for look in (*before, *change.observations)):
        # what it is now, no longer is, or is longer than it was, may be what a benchmark came from
        tx.schedule(weigh_benchmarks, cr.product_id)


def _arm_early(tx: Tx, look: domain.Observation, policy: Policy) -> None:
    """The first early look, where the policy asks for any; the others follow from it."""
    first = domain.next_look(policy.observation, look.starts_at)
    if look.is_open and first is not None:
        tx.schedule(look_early, domain.early_subject(look), first[1], revision=look.revision)
    else:
        tx.cancel(look_early, domain.early_subject(look))
