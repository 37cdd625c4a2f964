"""What is asked of incidents and what it answers: shapes that both the door and the handlers know."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.contracts import Severity
from shared.contracts.policy import Line, Slug

Words = Annotated[str, StringConstraints(min_length=1, max_length=5000, strip_whitespace=True)]


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OpenIncident(_Command):
    """Something went wrong in production. It owes at least one regression case to the next release of the product."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {
                "product": "epl",
                "title": "Orders time out at noon",
                "description": "p99 above 3 s between 12:00 and 12:20",
                "severity": "critical",
                "change_request": "CR-12",
                "regression_cases": ["An order placed under noon load answers within 300 ms"],
            }
        },
    )
    product: Slug
    title: Line
    description: Annotated[str, StringConstraints(max_length=5000)] = ""
    severity: Severity = "major"
    change_request: Annotated[str, StringConstraints(pattern=r"^CR-[0-9]{1,18}$")] | None = None
    regression_cases: tuple[Line, ...] = Field(default=(), max_length=50)


class CloseIncident(_Command):
    """The work on it is over."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"example": {"reason": "Rolled back; orders answer again."}},
    )
    reason: Words


class Acknowledge(_Command):
    """Somebody looks at it now: stops the first clock."""


class Explain(_Command):
    """What happened and why, in words: stops the second clock."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {"explanation": "The pool closes idle connections, so each call pays a new handshake."}
        },
    )
    explanation: Words


class Decide(_Command):
    """The one end of an investigation, by the CR's PTASK engineer."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "example": {"decision": "rollback", "reason": "A mend needs two days; partners feel it now."}
        },
    )
    decision: Literal["rollback", "keep"]
    reason: Words


class CaseView(BaseModel):
    id: str
    incident: str
    product: str
    title: str
    release: str | None
    state: Literal["owed", "red", "green"]
    is_debt: bool
    red_commit: str | None
    green_commit: str | None
    revision: int


class IncidentView(BaseModel):
    id: str
    product: str
    change_request: str | None
    title: str
    description: str
    severity: Severity
    origin: Literal["person", "deviation", "system"]
    deviation: str | None
    opened_at: datetime
    closed_at: datetime | None
    closed_reason: str | None
    regression_cases: list[CaseView]


class IncidentPage(BaseModel):
    items: list[IncidentView]
    next: str | None = Field(description="Give it as `cursor` for the next page; null at the end.")


class CaseList(BaseModel):
    items: list[CaseView]


class ClockView(BaseModel):
    step: Literal["acknowledge", "explain", "decide"]
    due_at: datetime
    done_at: datetime | None
    by: str | None
    was_missed: bool


class InvestigationView(BaseModel):
    id: str
    change_request: str
    product: str
    deployment: int
    revision: int
    look: Literal["after", "recovery"] = Field(
        description="The look that had a bad answer or none: after the deploy, or at the recovery from it."
    )
    deviation: str | None
    incident: str | None
    severity: Severity
    owner: str | None
    because: str
    state: Literal["opened", "acknowledged", "explained", "decided", "closed"]
    opened_at: datetime
    clocks: list[ClockView]
    explanation: str | None
    decision: Literal["rollback", "keep"] | None
    reason: str | None
    policy_version: str | None


class InvestigationList(BaseModel):
    items: list[InvestigationView]
