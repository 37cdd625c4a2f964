"""Policies as heard: every version is kept, and a fact is judged under the version it names, never under another."""

from __future__ import annotations

from shared.contracts import Event, Policy, ProductChanged
from shared.db import Tx
from shared.errors import TryLater


async def on_product_changed(tx: Tx, event: Event[ProductChanged]) -> None:
    """The step of every service that decides by policy."""
    await tx.raw.execute(
        "INSERT INTO policies (product_id, version, document, sequence, changed_at) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (product_id, version) DO UPDATE SET sequence = greatest(policies.sequence, excluded.sequence)",
        event.data.product_id,
        event.data.version,
        event.data.policy.model_dump_json(),
        event.sequence,
        event.data.changed_at,
    )


async def of(tx: Tx, product_id: str, version: str | None) -> Policy:
    """The policy of that version. Raises TryLater while it was not heard: the fact that names it is parked."""
    document = await tx.raw.fetchval(
        "SELECT document FROM policies WHERE product_id = $1 AND version = $2", product_id, version
    )
    if document is None:
        raise TryLater(f"policy {version} of {product_id} has not been heard yet")
    return Policy.model_validate(document)


async def latest(tx: Tx, product_id: str) -> tuple[str, Policy] | None:
    """The newest version heard and its policy; None when the product is unknown here: absence, not a default."""
    row = await tx.raw.fetchrow(
        "SELECT version, document FROM policies WHERE product_id = $1 ORDER BY sequence DESC LIMIT 1", product_id
    )
    return None if row is None else (row["version"], Policy.model_validate(row["document"]))


async def in_force(tx: Tx, product_id: str) -> str | None:
    """The newest version heard, for the record of what is not decided by it; None when the product is unknown here."""
    version: str | None = await tx.raw.fetchval(
        "SELECT version FROM policies WHERE product_id = $1 ORDER BY sequence DESC LIMIT 1", product_id
    )
    return version
