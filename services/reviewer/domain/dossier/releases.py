"""The releases that were heard of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.reviewer.domain.known import Facts
from shared.contracts import ReleaseClosed, ReleaseFrozen, ReleasePlanned


@dataclass(frozen=True)
class ReleaseKnown:
    release_id: str
    product_id: str
    name: str
    planned_at: datetime
    state: str  #: planned, frozen, closed
    frozen_at: datetime | None = None
    closed_at: datetime | None = None


def releases(facts: Facts) -> dict[str, ReleaseKnown]:
    """Every release heard of, by id."""
    found: dict[str, ReleaseKnown] = {}
    said = [*facts.of(ReleasePlanned), *facts.of(ReleaseFrozen), *facts.of(ReleaseClosed)]
    frozen = {fact.data.release_id: fact.data.at for fact in facts.of(ReleaseFrozen)}
    closed = {fact.data.release_id: fact.data.at for fact in facts.of(ReleaseClosed)}
    for fact in sorted(said, key=lambda fact: (fact.sequence, fact.type, fact.event_id)):
        data = fact.data
        name = data.release_id
        state = "closed" if name in closed else "frozen" if name in frozen else "planned"
        found[name] = ReleaseKnown(
            name, data.product_id, data.name, data.planned_at, state, frozen.get(name), closed.get(name)
        )
    return found
