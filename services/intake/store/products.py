"""Products with their policies, and releases."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert

from services.intake.domain import Product, Proposal, Release
from services.intake.store.tables import products, releases
from shared.contracts import Policy
from shared.db import Tx
from shared.errors import Stale

# With a release, its row is held until commit, so that it cannot be frozen between our look and our insert.
_PTASK = (
    "EXISTS (SELECT 1 FROM access.principals a JOIN access.grants g ON g.principal_id = a.id WHERE a.issuer = $2"
    " AND a.subject = $3 AND NOT a.is_disabled AND g.role = 'ptask' AND g.product_id IN ('*', $1)) AS has_ptask"
)
_GROUND = f"SELECT policy_version, {_PTASK} FROM products WHERE id = $1"  # noqa: S608
_GROUND_WITH_RELEASE = (
    f"SELECT p.policy_version, {_PTASK}, r.* FROM products p, releases r"  # noqa: S608
    " WHERE p.id = $1 AND r.id = $4 FOR SHARE OF r"
)


async def ground(
    tx: Tx, product_id: str, release_id: str | None, ptask: str = ""
) -> tuple[str | None, bool, Release | None]:
    """What a CR stands on: the version of its product's policy in force, whether `ptask` is a PTASK engineer of it, and its
    release. None where there is none.
    """
    issuer, _, subject = ptask.partition("|")
    if release_id is not None:
        row = await tx.raw.fetchrow(_GROUND_WITH_RELEASE, product_id, issuer, subject, release_id)
        if row is not None:
            return row["policy_version"], row["has_ptask"], _release(row)
    row = await tx.raw.fetchrow(_GROUND, product_id, issuer, subject)
    return (None, False, None) if row is None else (row["policy_version"], row["has_ptask"], None)


async def load_product(tx: Tx, product_id: str, *, lock: bool = False) -> Product | None:
    statement = select(products).where(products.c.id == product_id)
    row = await tx.one(statement.with_for_update() if lock else statement)
    return None if row is None else _product(row)


async def insert_product(tx: Tx, product: Product) -> bool:
    """Whether it is ours: another may have made it meanwhile."""
    made = await tx.execute(pg_insert(products).values(id=product.id, **_product_row(product)).on_conflict_do_nothing())
    if made:
        await _keep_policy(tx, product)
    return bool(made)


async def save_product(tx: Tx, before: Product, after: Product) -> None:
    moved = await tx.execute(
        update(products)
        .where(products.c.id == before.id, products.c.version == before.version)
        .values(**_product_row(after))
    )
    if not moved:
        raise Stale(f"{before.id} changed meanwhile.")
    if after.version != before.version:
        await _keep_policy(tx, after)


async def _keep_policy(tx: Tx, product: Product) -> None:
    """Every version that was ever in force stays readable, here as in every service that hears of it."""
    await tx.raw.execute(
        "INSERT INTO policies (product_id, version, document, sequence, changed_at) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (product_id, version) DO UPDATE SET sequence = excluded.sequence",
        product.id,
        product.policy_version,
        product.policy.model_dump_json(),
        product.version,
        product.changed_at,
    )


async def products_listed(tx: Tx, only: Collection[str] | None) -> list[Product]:
    statement = select(products).order_by(products.c.id)
    if only is not None:
        statement = statement.where(products.c.id.in_(only))
    return [_product(row) for row in await tx.all(statement)]


def _product_row(product: Product) -> dict[str, Any]:
    waiting = product.proposal
    return {
        "policy": product.policy.model_dump(mode="json"),
        "policy_version": product.policy_version,
        "version": product.version,
        "changed_at": product.changed_at,
        "changed_by": product.changed_by,
        "proposal": None
        if waiting is None
        else {
            "policy": waiting.policy.model_dump(mode="json"),
            "loosens": list(waiting.loosens),
            "by": waiting.by,
            "at": waiting.at.isoformat(),
        },
    }


def _product(row: Row[Any]) -> Product:
    waiting = row.proposal
    return Product(
        row.id,
        Policy.model_validate(row.policy),
        row.policy_version,
        row.version,
        row.changed_at,
        row.changed_by,
        waiting
        and Proposal(
            Policy.model_validate(waiting["policy"]),
            tuple(waiting["loosens"]),
            waiting["by"],
            datetime.fromisoformat(waiting["at"]),
        ),
    )


async def load_release(tx: Tx, release_id: str, *, lock: bool = False, share: bool = False) -> Release | None:
    """`lock`: to change it; `share`: to put something into it, so that it is not frozen meanwhile."""
    statement = select(releases).where(releases.c.id == release_id)
    if lock or share:
        statement = statement.with_for_update(read=share)
    row = await tx.one(statement)
    return None if row is None else _release(row._mapping)


async def insert_release(tx: Tx, release: Release) -> bool:
    """Whether it is new."""
    values = {name: getattr(release, name) for name in Release.__dataclass_fields__}
    return bool(await tx.execute(pg_insert(releases).values(**values).on_conflict_do_nothing()))


async def save_release(tx: Tx, before: Release, after: Release) -> None:
    moved = await tx.execute(
        update(releases)
        .where(releases.c.id == before.id, releases.c.version == before.version)
        .values(state=after.state, version=after.version, frozen_at=after.frozen_at, closed_at=after.closed_at)
    )
    if not moved:
        raise Stale(f"{before.id} changed meanwhile.")


async def releases_listed(
    tx: Tx, only: Collection[str] | None, product_id: str | None, before: int | None, limit: int
) -> list[tuple[int, Release]]:
    """Newest first: (number for the cursor, release), those planned before number `before`."""
    statement = select(releases).order_by(releases.c.n.desc()).limit(limit)
    if only is not None:
        statement = statement.where(releases.c.product_id.in_(only))
    if product_id is not None:
        statement = statement.where(releases.c.product_id == product_id)
    if before is not None:
        statement = statement.where(releases.c.n < before)
    return [(row.n, _release(row._mapping)) for row in await tx.all(statement)]


def _release(row: Any) -> Release:
    return Release(**{name: row[name] for name in Release.__dataclass_fields__})
