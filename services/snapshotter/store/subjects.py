"""CRs and products as subjects: whatever is said of one is said under its row's lock, in the order of its version."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.snapshotter.domain import ChangeRequest
from services.snapshotter.store.tables import subjects
from shared.db import Tx
from shared.errors import Stale


async def change_request(tx: Tx, cr_id: str) -> ChangeRequest | None:
    row = await tx.one(select(subjects).where(subjects.c.subject == cr_id, subjects.c.is_cr))
    return None if row is None else _cr(row)


async def locked_change_request(tx: Tx, cr_id: str, product_id: str) -> ChangeRequest:
    """The CR under its row's lock; a stub of it when nothing was heard of it before."""
    return _cr(await _locked(tx, cr_id, product_id, is_cr=True))


async def locked_product(tx: Tx, product_id: str) -> int:
    """The version of the product as a subject, under its row's lock."""
    return int((await _locked(tx, product_id, product_id, is_cr=False)).version)


async def _locked(tx: Tx, subject: str, product_id: str, *, is_cr: bool) -> Row[Any]:
    held = select(subjects).where(subjects.c.subject == subject).with_for_update()
    row = await tx.one(held)
    if row is None:
        empty = {"revision": 0, "authors": [], "deployers": [], "is_withdrawn": False, "version": 0}
        new = {"subject": subject, "product_id": product_id, "is_cr": is_cr, **empty}
        await tx.execute(upsert(subjects).values(new).on_conflict_do_nothing())
        row = await tx.one(held)
    if row is None:
        raise RuntimeError(f"{subject} was inserted and is not there")
    return row


async def save_change_request(tx: Tx, cr: ChangeRequest, *, version: int) -> None:
    """Write the CR as of `version`; `cr.version` is the one it was read at. Raises Stale."""
    touched = await tx.execute(
        update(subjects)
        .where(subjects.c.subject == cr.id, subjects.c.version == cr.version)
        .values(
            product_id=cr.product_id,
            release_id=cr.release_id,
            revision=cr.revision,
            authors=sorted(cr.authors),
            deployers=sorted(cr.deployers),
            is_withdrawn=cr.is_withdrawn,
            version=version,
        )
    )
    if touched != 1:
        raise Stale(f"{cr.id} changed meanwhile.")


async def save_version(tx: Tx, subject: str, *, was: int, version: int) -> None:
    """Raise a subject's version alone. Raises Stale."""
    raised = update(subjects).where(subjects.c.subject == subject, subjects.c.version == was).values(version=version)
    if await tx.execute(raised) != 1:
        raise Stale(f"{subject} changed meanwhile.")


def _cr(row: Row[Any]) -> ChangeRequest:
    return ChangeRequest(
        id=row.subject,
        product_id=row.product_id,
        release_id=row.release_id,
        revision=row.revision,
        authors=frozenset(row.authors),
        deployers=frozenset(row.deployers),
        is_withdrawn=row.is_withdrawn,
        version=row.version,
    )
