"""What is said of a look before its answer: early looks that raised nothing, and that a look is due and must wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.reviewer.domain.known import Facts, Known
from services.reviewer.domain.production import Deploy
from shared.contracts import (
    EarlyLookTaken,
    MissingSLI,
    ObservationClosed,
    ObservationKind,
    ObservationSuperseded,
    SnapshotDelayed,
    SnapshotOverdue,
)


@dataclass(frozen=True)
class EarlyLook:
    """An early look that raised nothing: no pass. `no_data`: nothing could be said; `nothing`: nothing gross so far."""

    deployment: int
    revision: int
    after_min: float  #: minutes after the deploy
    window_end: datetime
    looked_at: datetime
    found: Literal["nothing", "no_data"]
    sentence: str
    superseded: str | None = None  #: why it no longer holds

    @property
    def holds(self) -> bool:
        return self.superseded is None


@dataclass(frozen=True)
class Delay:
    """A look that is due and cannot be taken yet: what is known of it last."""

    kind: ObservationKind
    deployment: int
    revision: int
    due_at: datetime
    tried_at: datetime
    tried_until: datetime  #: then it is overdue
    reason: str
    missing: tuple[MissingSLI, ...]


def early_looks(facts: Facts, deploys: tuple[Deploy, ...]) -> tuple[EarlyLook, ...]:
    """Every early look that raised nothing, in order; those of a corrected deploy time say so."""
    newest = {deploy.deployment: deploy.revision for deploy in deploys}
    found = (fact.data for fact in facts.of(EarlyLookTaken))
    return tuple(
        EarlyLook(
            one.deployment,
            one.revision,
            one.after_min,
            one.window_end,
            one.looked_at,
            one.found,
            one.sentence,
            "the deploy time was corrected" if one.revision < newest.get(one.deployment, 0) else None,
        )
        for one in sorted(found, key=lambda one: (one.deployment, one.revision, one.after_min))
    )


def delays(facts: Facts, deploys: tuple[Deploy, ...]) -> tuple[Delay, ...]:
    """The looks that wait for what cannot be read: the last word on each. It ends with the look, in whatever way."""
    ended: dict[tuple[int, str, int], int] = {}
    ends: list[Known[ObservationClosed | SnapshotOverdue | ObservationSuperseded]]
    ends = [*facts.of(ObservationClosed), *facts.of(SnapshotOverdue), *facts.of(ObservationSuperseded)]
    for end in ends:
        look = (end.data.deployment, end.data.kind, end.data.revision)
        ended[look] = max(ended.get(look, 0), end.sequence)
    current = {
        (deploy.deployment, "after", deploy.revision)
        if deploy.rollback is None
        else (deploy.deployment, "recovery", deploy.rollback.revision)
        for deploy in deploys
    }
    last: dict[tuple[int, ObservationKind, int], Delay] = {}
    for fact in facts.of(SnapshotDelayed):
        said = fact.data
        waits = (said.deployment, said.kind, said.revision)
        if waits in current and fact.sequence > ended.get(waits, 0):
            last[waits] = Delay(
                said.kind,
                said.deployment,
                said.revision,
                said.due_at,
                said.tried_at,
                said.tried_until,
                said.reason,
                said.missing,
            )
    return tuple(last[look] for look in sorted(last))
