"""Which looks must come, and by when: kept here, so that a snapshotter that is down is noticed by somebody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from services.incidents import domain, store
from services.incidents.domain import Expected, Look
from shared import policies
from shared.contracts import CRDeployed, CRRolledBack, Event, ObservationClosed, Policy, SnapshotOverdue
from shared.db import Tx
from shared.errors import TryLater

JOB = "miss_look"


async def expect(tx: Tx, event: Event[CRDeployed] | Event[CRRolledBack], look: Look, since: datetime) -> None:
    """A deploy or a rollback asks for a look. Raises TryLater while its policy was not heard."""
    said = event.data
    version, policy = await _policy(tx, said.product_id, event.policy_version)
    looks = await _known(tx, said, look)
    await _keep(tx, looks, domain.expect(looks[look], said.revision, since, policy, version, tx.now))


async def answered(tx: Tx, said: ObservationClosed | SnapshotOverdue) -> None:
    """Something was heard of a look, good or bad: it is silent no longer."""
    looks = await _known(tx, said, said.kind)
    before = looks[said.kind]
    await _keep(tx, looks, replace(before, answered=max(before.answered, said.revision)))


async def _known(
    tx: Tx, said: CRDeployed | CRRolledBack | ObservationClosed | SnapshotOverdue, look: Look
) -> dict[Look, Expected]:
    # Deploys and looks come on two topics, so perhaps at once: each must see what the other wrote.
    await store.lock_product(tx, said.product_id)
    looks = await store.expected_looks(tx, said.cr_id, said.deployment)
    looks.setdefault(look, Expected(said.cr_id, said.deployment, look, said.product_id))
    return looks


async def _keep(tx: Tx, looks: dict[Look, Expected], new: Expected) -> None:
    """Write what was heard, and set the clocks that follow: a rollback ends the clock of the look that it cut short."""
    if new == looks[new.look]:
        return
    looks[new.look] = new
    await store.save_expected(tx, new)
    for each in looks.values():
        if each.answer_by is not None and domain.is_awaited(each, looks.values()):
            tx.schedule(JOB, each.subject, each.answer_by, revision=each.revision)
        else:
            tx.cancel(JOB, each.subject)


async def _policy(tx: Tx, product_id: str, version: str | None) -> tuple[str, Policy]:
    if version is not None:
        return version, await policies.of(tx, product_id, version)
    found = await policies.latest(tx, product_id)
    if found is None:
        raise TryLater(f"no policy of {product_id} has been heard yet")
    return found
