"""What both rooms of handlers rest on: their deps, saving a value with what it says, who may read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from services.incidents import store
from services.incidents.domain import Case, Incident, Investigation
from shared.contracts import Fact
from shared.db import Database, Tx

V = TypeVar("V", Incident, Case, Investigation)


@dataclass(frozen=True, slots=True)
class Deps:
    """What the handlers of incidents need."""

    db: Database


async def save(
    tx: Tx,
    value: V,
    was: int,
    facts: Sequence[Fact],
    policy_version: str | None,
) -> None:
    await store.save(tx, value, was=was)
    for number, fact in enumerate(facts, start=value.version - len(facts) + 1):
        tx.emit(fact, sequence=number, policy_version=policy_version)


def may_read(tx: Tx, product: str) -> bool:
    assert tx.caller is not None
    return bool(tx.caller.roles(product))
