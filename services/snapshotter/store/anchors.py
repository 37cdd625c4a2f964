"""What a product's creep is measured from: the choices of operations, act by act, and releases that were verified."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, insert, literal_column, or_, select

from services.snapshotter.domain import AnchorChoice, Observation, Snapshot
from services.snapshotter.store.snapshots import snapshot_of
from services.snapshotter.store.tables import anchors, observations, snapshots
from shared.db import Tx


async def anchor_choices(tx: Tx, product_id: str) -> list[AnchorChoice]:
    """All choices that operations made for the product, in order."""
    found = select(anchors).where(anchors.c.product_id == product_id).order_by(anchors.c.number)
    return [_choice(row) for row in await tx.all(found)]


async def insert_anchor_choice(tx: Tx, choice: AnchorChoice) -> None:
    """Write a choice. A second one of the same number, made at the same moment, is refused as a conflict."""
    await tx.execute(
        insert(anchors).values(
            product_id=choice.product_id,
            number=choice.number,
            snapshot_id=choice.snapshot_id,
            chosen_at=choice.chosen_at,
            chosen_by=choice.chosen_by,
            reason=choice.reason,
            despite=dict(choice.despite),
        )
    )


async def first_verified(
    tx: Tx, product_id: str, by: datetime, since: datetime, besides: Observation | None = None
) -> Snapshot | None:
    """The after snapshot of the deployment since `since` that was verified first, as known at `by`.

    The first verdict, not the first deploy: one that came late, or again after a correction, would move the anchor else.
    `besides`: a look at the deployment that is no anchor of itself.
    """
    c = observations.c  # the verdict comes after the deploy: `closed_at` bounds the index, `starts_at` says it
    found = _verified(product_id, by, besides).where(c.closed_at >= since, c.starts_at >= since)
    row = await tx.one(found.order_by(c.closed_at, snapshots.c.number).limit(1))
    return None if row is None else snapshot_of(row)


async def last_verified(tx: Tx, product_id: str, by: datetime, besides: Observation | None = None) -> Snapshot | None:
    """The after snapshot of the deployment that was verified last, however long before `by`."""
    found = _verified(product_id, by, besides).order_by(observations.c.closed_at.desc(), snapshots.c.number.desc())
    row = await tx.one(found.limit(1))
    return None if row is None else snapshot_of(row)


def _verified(product_id: str, by: datetime, besides: Observation | None) -> Select[Any]:
    """After snapshots with a verdict that was steady and stood at `by`: no deviation, correction or rollback known then.

    Known then, not now: so the anchor of a deploy is the same whenever it is asked for. What else ran in that day was in the
    readings that the verdict found steady.
    """
    # Words, not parameters: else a plan cannot know that the index has them all.
    after: ColumnElement[str] = literal_column("'after'")
    steady: ColumnElement[str] = literal_column("'steady'")
    c, back = observations.c, observations.alias("back").c
    # One value for each row that is looked at: an anti-join would be planned over all looks of all products.
    rolled_back_by = (
        select(func.min(back.armed_at))  # when it was first heard of
        .where(back.cr_id == c.cr_id, back.deployment == c.deployment, back.kind == "recovery")
        .scalar_subquery()
    )
    found = (
        select(snapshots)
        .join(observations, c.snapshot_id == snapshots.c.id)
        .where(
            c.product_id == product_id,
            c.kind == after,
            c.outcome == steady,
            c.closed_at < by,
            c.deviated_at.is_(None),  # nor was it an early look that found it to deviate
            or_(c.superseded_at.is_(None), c.superseded_at >= by),
            func.coalesce(rolled_back_by, by) >= by,
        )
    )
    if besides is not None:
        found = found.where(or_(c.cr_id != besides.cr_id, c.deployment != besides.deployment))
    return found


def _choice(row: Row[Any]) -> AnchorChoice:
    return AnchorChoice(
        product_id=row.product_id,
        number=row.number,
        snapshot_id=row.snapshot_id,
        chosen_at=row.chosen_at,
        chosen_by=row.chosen_by,
        reason=row.reason,
        despite=row.despite,
    )
