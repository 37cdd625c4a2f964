"""A fact as it was heard, and the set of them that a dossier is made from.

Across topics there is no order of arrival, so nothing here knows one: facts are ordered by (aggregate, sequence).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

from shared.contracts import FACTS, Event, Fact

F = TypeVar("F", bound=Fact, covariant=True)
G = TypeVar("G", bound=Fact)


@dataclass(frozen=True, slots=True)
class Known(Generic[F]):
    """One fact. `time` is the database's time of the transaction that said it; `actor` is `issuer|subject`."""

    event_id: str
    type: str
    aggregate: str
    sequence: int
    time: datetime
    actor: str
    data: F
    policy_version: str | None = None
    cause: str | None = None


class Place(NamedTuple):
    """Where facts of one type belong: the field that names the aggregate, and whether they are one CR's alone."""

    aggregate: str
    field: str
    is_of_cr: bool


_THINGS = {
    "daymark.change-requests": ("cr", "cr_id"),
    "daymark.tests": ("cr", "cr_id"),  # said by intake with the CR's own version
    "daymark.reviews": ("reviews", "cr_id"),
    "daymark.deviations": ("deviation", "deviation_id"),
    "daymark.investigations": ("investigation", "investigation_id"),
    "daymark.products": ("product", "product_id"),
    "daymark.releases": ("release", "release_id"),
}
_BY_FIELD = (
    ("pin", "pin_id"),
    ("case", "case_id"),
    ("incident", "incident_id"),
    ("snapshot", "snapshot_id"),
    ("observation", "cr_id"),
)


def _place(fact: type[Fact]) -> Place:
    fields = fact.model_fields
    is_of_cr = fact.key_field == "cr_id" or fact.key_field == "subject"
    known = _THINGS.get(fact.topic)
    if known is None:
        if "observation" in fact.type or "overdue" in fact.type:
            known = ("observation", "cr_id")  # it names its snapshot too, but is the CR's
        else:
            known = next(((name, field) for name, field in _BY_FIELD if field in fields), ("key", fact.key_field))
    return Place(*known, is_of_cr)


PLACES: dict[str, Place] = {name: _place(fact) for name, fact in FACTS.items()}


def aggregate_of(event: Event[Any]) -> str:
    """The thing whose version `event.sequence` is, as `kind|id`."""
    place = PLACES[event.type]
    return f"{place.aggregate}|{getattr(event.data, place.field)}"


def known(event: Event[F]) -> Known[F]:
    """An event as a fact of the set."""
    return Known(
        event.id,
        event.type,
        aggregate_of(event),
        event.sequence,
        event.time,
        event.actor,
        event.data,
        event.policy_version,
        event.cause,
    )


class Facts:
    """A set of facts in its one order. Given twice, or in any order, it is the same set."""

    def __init__(self, facts: Iterable[Known[Any]]) -> None:
        once = {fact.event_id: fact for fact in facts}
        self.all: tuple[Known[Any], ...] = tuple(
            sorted(once.values(), key=lambda fact: (fact.aggregate, fact.sequence, fact.type, fact.event_id))
        )

    @cached_property
    def _by_type(self) -> dict[type[Fact], tuple[Known[Any], ...]]:
        found: dict[type[Fact], list[Known[Any]]] = {}
        for fact in self.all:
            found.setdefault(type(fact.data), []).append(fact)
        return {kind: tuple(facts) for kind, facts in found.items()}

    def of(self, kind: type[G]) -> tuple[Known[G], ...]:
        """All facts of one class, by (aggregate, sequence)."""
        return self._by_type.get(kind, ())

    def said_by(self, moment: datetime) -> Facts:
        """What had been said at `moment`: later facts were not known then, whatever time they speak of."""
        return Facts(fact for fact in self.all if fact.time <= moment)
