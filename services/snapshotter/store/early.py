"""Early looks that were taken: what they found, or that they found nothing."""

from __future__ import annotations

from dataclasses import fields

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert

from services.snapshotter.domain import EarlyLook
from services.snapshotter.store.tables import early_looks
from shared.db import Tx

_LOOK = tuple(each.name for each in fields(EarlyLook))


async def save_early_look(tx: Tx, taken: EarlyLook) -> None:
    row = {name: getattr(taken, name) for name in _LOOK}
    await tx.execute(upsert(early_looks).values(row).on_conflict_do_nothing())


async def early_looks_at(tx: Tx, cr_id: str) -> list[EarlyLook]:
    """All early looks at a CR, in order."""
    c = early_looks.c
    found = select(*(c[name] for name in _LOOK)).where(c.cr_id == cr_id)
    return [EarlyLook(**row._mapping) for row in await tx.all(found.order_by(c.deployment, c.revision, c.after_min))]
