"""What intake's handlers are given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from services.intake.webhooks import Hook
from shared.db import Database, Tx


@dataclass(frozen=True, slots=True)
class Deps:
    db: Database
    hooks: Mapping[str, Hook] = field(default_factory=dict)  #: by the name in their address


def readable(tx: Tx) -> Collection[str] | None:
    """Products that the reader may read of; None = all."""
    return tx.caller.products() if tx.caller is not None else None


def roles(tx: Tx, product_id: str) -> Collection[str]:
    return tx.caller.roles(product_id) if tx.caller is not None else ()
