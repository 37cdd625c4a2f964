"""Something wrong in production: opened once, closed once, and it owes regression cases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from shared.contracts import Fact, IncidentClosed, IncidentOpened, Severity
from shared.errors import Conflict


@dataclass(frozen=True, slots=True)
class Incident:
    """Something wrong in production, as somebody's work."""

    id: str
    product_id: str
    cr_id: str | None
    title: str
    description: str
    severity: Severity
    origin: Literal["person", "deviation", "system"]
    deviation_id: str | None
    opened_at: datetime
    closed_at: datetime | None = None
    closed_reason: str | None = None
    version: int = 0


def open_incident(incident: Incident) -> tuple[Incident, list[Fact]]:
    opened = replace(incident, version=incident.version + 1)
    return opened, [
        IncidentOpened(
            incident_id=opened.id,
            product_id=opened.product_id,
            cr_id=opened.cr_id,
            title=opened.title,
            description=opened.description,
            severity=opened.severity,
            origin=opened.origin,
            deviation_id=opened.deviation_id,
            opened_at=opened.opened_at,
        )
    ]


def close_incident(
    incident: Incident, reason: str, now: datetime, *, is_withdrawn: bool = False
) -> tuple[Incident, list[Fact]]:
    """Raises Conflict when it is closed. Closing does not pay its debt."""
    if incident.closed_at is not None:
        raise Conflict(f"{incident.id} is closed already.")
    closed = replace(incident, closed_at=now, closed_reason=reason, version=incident.version + 1)
    return closed, [
        IncidentClosed(
            incident_id=closed.id,
            product_id=closed.product_id,
            reason=reason,
            is_withdrawn=is_withdrawn,
            closed_at=now,
        )
    ]
