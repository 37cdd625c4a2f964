"""Which benchmark a product's creep is measured from, act by act."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select

from services.snapshotter.domain import AnchorChoice, Snapshot
from services.snapshotter.store.snapshots import snapshot_of
from services.snapshotter.store.tables import anchors, snapshots
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


async def first_benchmarks(tx: Tx, product_id: str, by: datetime | None, besides: Iterable[str]) -> list[Snapshot]:
    """The first benchmarks that were published for the product or one of its CRs before `by`, ten at a time."""
    c = snapshots.c
    first = select(snapshots).where(c.product_id == product_id, c.kind == "benchmark", c.id.not_in(list(besides)))
    if by is not None:
        first = first.where(c.taken_at < by)
    return [snapshot_of(row) for row in await tx.all(first.order_by(c.number).limit(10))]


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
