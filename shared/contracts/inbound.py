"""What other systems tell Daymark, declared once: the body at the HTTP door and the `data` of an inbound CloudEvent.

Unknown words are refused, not ignored: a typing error in a field name must not become a silent default.
`INBOUND` names every type that `POST /intake/v1/events` and the topic `daymark.inbound` read; its data is the HTTP
body, plus the name of the CR where the HTTP path carries it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from shared.access import person
from shared.contracts.change_requests import CRKind
from shared.contracts.test_results import SuiteKind

TOPIC = "daymark.inbound"
_FIRST_YEAR, _LAST_YEAR = 2000, 2200


# The categories Cc and Cs.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def _clean(value: str) -> str:
    """No control characters (newlines and tabs are text), nothing that UTF-8 cannot say."""
    if _CONTROLS.search(value):
        raise ValueError("control characters are not text")
    return value


def _line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("one line of printable characters is wanted")
    return value


def _written(value: Any) -> Any:
    """A number may be seconds or milliseconds: nobody guesses."""
    if isinstance(value, datetime) or (isinstance(value, str) and "-" in value[1:]):
        return value
    raise ValueError("a time is written out, for example 2026-11-23T09:00:00Z")


def _when(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs its zone, for example 2026-11-23T09:00:00Z")
    if not _FIRST_YEAR <= value.year < _LAST_YEAR:
        raise ValueError(f"the year lies outside {_FIRST_YEAR} to {_LAST_YEAR}")
    return value.astimezone(UTC)


def _person(value: str) -> str:
    named = person(value)
    issuer, _, subject = named.partition("|")
    if not issuer.strip() or not subject.strip() or len(named) > 200:
        raise ValueError("a person is `issuer|subject`, or a subject alone, at most 200 characters")
    return named


#: A point in time with its zone, from 2000 to 2199, kept as UTC.
When = Annotated[datetime, BeforeValidator(_written), AfterValidator(_when)]
#: One printable line.
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True), AfterValidator(_line)]
#: Longer words; may be empty.
Words = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_clean)]
#: Why; never empty.
Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True), AfterValidator(_clean)]
#: A person as the caller names them; compared and kept as `issuer|subject` in one spelling.
Person = Annotated[Line, AfterValidator(_person)]
#: A commit, tag or build name: no spaces.
Mark = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]
#: A page about it, for people; only http and https, because consoles make it a link.
Link = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]{1,1990}$")]
#: A CR's, release's or product's id as it stands in a path.
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]


class Command(BaseModel):
    """What somebody asks for: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CRNamed(Command):
    """Which CR an inbound event is about: `cr_id`, or `source` and `external_id`."""

    cr_id: Id | None = None
    source: Line | None = None
    external_id: Line | None = None

    @model_validator(mode="after")
    def _one_name(self) -> CRNamed:
        if (self.cr_id is None) == (self.source is None) or (self.source is None) != (self.external_id is None):
            raise ValueError("name the CR by cr_id, or by source and external_id")
        return self


class RegisterCR(Command):
    """A change that is to go to production. (source, external_id) is one CR: the same again changes nothing."""

    product: Id = Field(description="The product's id, for example `epl`.")
    source: Line = Field(description="Your system, for example `servicenow`.")
    external_id: Line = Field(description="The change's name in your system, for example `CHG0041`.")
    title: Line
    author: Person = Field(description="Who made the change: `issuer|subject`, or a subject of the local issuer.")
    ptask: Person = Field(description="Who decides go and rollback: a PTASK engineer of the product.")
    kind: CRKind = "normal"
    release: Id | None = Field(None, description="The release it is scheduled for; may be named later.")
    description: Words = ""
    planned_start: When | None = None
    planned_end: When | None = None
    backout_plan: Words = ""
    commit: Mark | None = None
    artifact: Mark | None = None
    link: Link | None = None

    @model_validator(mode="after")
    def _in_order(self) -> RegisterCR:
        if self.planned_start and self.planned_end and self.planned_end <= self.planned_start:
            raise ValueError("planned_end comes after planned_start")
        return self


class ChangeCR(Command):
    """What is to be different. A field that is left out stays; null empties one that may be empty."""

    revision: int | None = Field(None, ge=1, description="Refuse unless this is still the CR's revision.")
    title: Line | None = None
    author: Person | None = None
    ptask: Person | None = None
    kind: CRKind | None = None
    release: Id | None = None
    description: Words | None = None
    planned_start: When | None = None
    planned_end: When | None = None
    backout_plan: Words | None = None
    commit: Mark | None = None
    artifact: Mark | None = None
    link: Link | None = None

    @model_validator(mode="after")
    def _never_empty(self) -> ChangeCR:
        never = ("title", "author", "ptask", "kind", "description", "backout_plan")
        empty = [name for name in never if name in self.model_fields_set and getattr(self, name) is None]
        if empty:
            raise ValueError(f"{', '.join(empty)} cannot be null")
        return self

    def wanted(self) -> dict[str, Any]:
        """Field -> value, for those that the caller named."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.said()}

    def said(self) -> frozenset[str]:
        return frozenset(self.model_fields_set) - {"revision", "cr_id", "source", "external_id"}


class ReportDeployed(Command):
    """It went to production. May come late, may be said again with another time: that is a correction."""

    deployed_at: When
    deployment: int | None = Field(
        None, ge=1, le=10_000, description="Which deployment of this CR; left out: the one under way, else a new one."
    )
    commit: Mark | None = None
    artifact: Mark | None = None
    deployer: Person | None = Field(None, description="Who or what deployed it; left out: the caller.")


class ReportRolledBack(Command):
    """It was taken back. Corrected in the same way as a deployment."""

    rolled_back_at: When
    reason: Reason
    deployment: int | None = Field(None, ge=1, le=10_000)


class WithdrawCR(Command):
    """It will not go to production. Before the deploy only."""

    reason: Reason


class Uploaded(Command):
    """What is said beside a test report's bytes."""

    suite_kind: SuiteKind
    commit: Mark | None = None
    artifact: Mark | None = None
    run_at: When

    @model_validator(mode="after")
    def _of_something(self) -> Uploaded:
        if self.commit is None and self.artifact is None:
            raise ValueError("say which commit or artifact was tested")
        return self


class InboundRegistered(RegisterCR):
    """`inbound.cr.registered.v1`"""


class InboundChanged(ChangeCR, CRNamed):
    """`inbound.cr.changed.v1`"""


class InboundDeployed(ReportDeployed, CRNamed):
    """`inbound.cr.deployed.v1`"""


class InboundRolledBack(ReportRolledBack, CRNamed):
    """`inbound.cr.rolled_back.v1`"""


class InboundWithdrawn(WithdrawCR, CRNamed):
    """`inbound.cr.withdrawn.v1`"""


#: CloudEvents type -> shape of its data.
INBOUND: dict[str, type[Command]] = {
    "inbound.cr.registered.v1": InboundRegistered,
    "inbound.cr.changed.v1": InboundChanged,
    "inbound.cr.deployed.v1": InboundDeployed,
    "inbound.cr.rolled_back.v1": InboundRolledBack,
    "inbound.cr.withdrawn.v1": InboundWithdrawn,
}
