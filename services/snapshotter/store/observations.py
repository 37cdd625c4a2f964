"""Deployments as last reported, and every look at them that was or is to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.snapshotter.domain import Deployment, Observation
from services.snapshotter.store.tables import agenda, deployments, observations, snapshots
from shared.contracts import ComparedSLI
from shared.db import Tx


@dataclass(frozen=True, slots=True)
class Trying:
    """What the agenda says of an open look."""

    attempts: int
    next_at: datetime | None
    last_error: str | None


async def deployment(tx: Tx, cr_id: str, number: int) -> Deployment:
    """The deployment as last reported; one of revision 0 when it was not heard of."""
    c = deployments.c
    row = await tx.one(select(deployments).where(c.cr_id == cr_id, c.deployment == number))
    return Deployment(cr_id, number) if row is None else _deployment(row)


async def deployments_of(tx: Tx, cr_id: str) -> list[Deployment]:
    rows = await tx.all(select(deployments).where(deployments.c.cr_id == cr_id).order_by(deployments.c.deployment))
    return [_deployment(row) for row in rows]


async def deployments_between(tx: Tx, product_id: str, start: datetime, end: datetime) -> list[Deployment]:
    """All of a product with `start <= deployed_at < end`."""
    c = deployments.c
    found = select(deployments).where(c.product_id == product_id, c.deployed_at >= start, c.deployed_at < end)
    return [_deployment(row) for row in await tx.all(found.order_by(c.deployed_at, c.cr_id).limit(200))]


async def save_deployment(tx: Tx, product_id: str, held: Deployment) -> None:
    row = {
        "cr_id": held.cr_id,
        "deployment": held.number,
        "product_id": product_id,
        "revision": held.revision,
        "deployed_at": held.deployed_at,
        "deployer": held.deployer,
        "policy_version": held.policy_version,
        "rollback_revision": held.rollback_revision,
        "rolled_back_at": held.rolled_back_at,
    }
    await tx.execute(
        upsert(deployments).values(row).on_conflict_do_update(index_elements=["cr_id", "deployment"], set_=row)
    )


def _deployment(row: Row[Any]) -> Deployment:
    return Deployment(
        cr_id=row.cr_id,
        number=row.deployment,
        revision=row.revision,
        deployed_at=row.deployed_at,
        deployer=row.deployer,
        policy_version=row.policy_version,
        rollback_revision=row.rollback_revision,
        rolled_back_at=row.rolled_back_at,
    )


#: The columns of a look that are its value's fields.
_LOOK = tuple(each.name for each in fields(Observation))
_LOOK_KEY = ["cr_id", "deployment", "revision", "kind"]


async def observations_of(tx: Tx, cr_id: str, number: int | None = None) -> list[Observation]:
    """All looks at a CR, or at one deployment of it, superseded ones included, in order."""
    c = observations.c
    found = select(*(c[name] for name in _LOOK)).where(c.cr_id == cr_id)
    if number is not None:
        found = found.where(c.deployment == number)
    rows = await tx.all(found.order_by(c.deployment, c.kind, c.revision))
    return [Observation(**row._mapping) for row in rows]


async def save_observation(tx: Tx, look: Observation) -> None:
    row = {name: getattr(look, name) for name in _LOOK}
    await tx.execute(upsert(observations).values(row).on_conflict_do_update(index_elements=_LOOK_KEY, set_=row))


async def save_comparisons(
    tx: Tx, look: Observation, compared: Sequence[ComparedSLI], judge_version: str, more: Mapping[str, Any]
) -> None:
    """The answers per SLI of a look that was just closed. `more`: what else the judge was given."""
    c = observations.c
    document = {"slis": [each.model_dump(mode="json") for each in compared], **more}
    await tx.execute(
        update(observations)
        .where(c.cr_id == look.cr_id, c.deployment == look.deployment, c.revision == look.revision, c.kind == look.kind)
        .values(comparisons=document, judge_version=judge_version)
    )


async def comparisons_of(tx: Tx, cr_id: str) -> dict[tuple[int, int, str], tuple[str, dict[str, Any]]]:
    """(deployment, revision, kind) -> (judge version, document) of every look at the CR that was judged."""
    c = observations.c
    rows = await tx.all(
        select(c.deployment, c.revision, c.kind, c.judge_version, c.comparisons).where(
            c.cr_id == cr_id, c.comparisons.is_not(None)
        )
    )
    return {(row.deployment, row.revision, row.kind): (row.judge_version, row.comparisons) for row in rows}


@dataclass(frozen=True, slots=True)
class JudgedLook:
    """A look that was judged, with its stored document. `place` is where the next page of older ones begins."""

    look: Observation
    document: Mapping[str, Any]
    place: str


async def judged_looks(tx: Tx, product_id: str, *, before: str | None, limit: int) -> list[JudgedLook]:
    """The product's verdicts that hold, the newest snapshot first. `before`: a place on an earlier page."""
    c = observations.c
    found = (
        select(*(c[name] for name in _LOOK), c.comparisons, snapshots.c.number)
        .join(snapshots, snapshots.c.id == c.snapshot_id)
        .where(c.product_id == product_id, c.state == "closed", c.comparisons.is_not(None))
    )
    if before is not None:
        found = found.where(snapshots.c.number < int(before.removeprefix("SNAP-")))
    rows = await tx.all(found.order_by(snapshots.c.number.desc()).limit(limit))
    return [
        JudgedLook(Observation(**{name: row._mapping[name] for name in _LOOK}), row.comparisons, f"SNAP-{row.number}")
        for row in rows
    ]


async def releases_before(tx: Tx, look: Observation, since: datetime, limit: int) -> list[str]:
    """The after snapshots of the product's deployments between `since` and this look's that stayed, oldest first.

    One that was rolled back is no release of production, and one without data has no level.
    """
    c, d = observations.c, deployments.c
    found = (
        select(c.snapshot_id)
        .join(deployments, and_(d.cr_id == c.cr_id, d.deployment == c.deployment))
        .where(
            c.product_id == look.product_id,
            c.kind == "after",
            c.state == "closed",
            c.outcome != "no_data",
            c.starts_at >= since,
            c.starts_at < look.starts_at,
            d.rolled_back_at.is_(None),
        )
    )
    rows = await tx.all(found.order_by(c.starts_at.desc(), c.cr_id.desc()).limit(limit))
    return [row.snapshot_id for row in reversed(rows)]


async def trying(tx: Tx, job: str, look_subjects: Iterable[str]) -> dict[str, Trying]:
    """What the agenda says of these appointments."""
    c = agenda.c
    rows = await tx.all(
        select(c.subject, c.attempts, c.next_at, c.last_error).where(c.job == job, c.subject.in_(list(look_subjects)))
    )
    return {row.subject: Trying(row.attempts, row.next_at, row.last_error) for row in rows}
