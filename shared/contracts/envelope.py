"""What every fact carries, and how it lies on the wire: CloudEvents 1.0, binary mode.

A fact is declared once, as a class here in `shared.contracts`; the class names its type, topic, owner and key.
Events past tense (`CRDeployed`, `cr.deployed.v1`); a breaking change is a new version of the name, never an edit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from shared.errors import Unreadable

#: type name -> class, filled by the declarations themselves.
FACTS: dict[str, type[Fact]] = {}


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs its zone, for example 2026-11-23T09:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time lies outside what UTC can say") from None


#: A point in time: zone required, kept as UTC.
Instant = Annotated[datetime, AfterValidator(_aware)]


class Fact(BaseModel):
    """A frozen payload. Consumers ignore fields they do not know; doors that read the same shape refuse them."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_timedelta="float")

    type: ClassVar[str]
    topic: ClassVar[str]
    owner: ClassVar[str]
    key_field: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__()  # the declaration's own words are read below, once the fields are known

    @classmethod
    def __pydantic_init_subclass__(
        cls, *, type: str = "", topic: str = "", owner: str = "", key: str = "", **kwargs: Any
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not type:
            return  # a shape shared by several facts, not a fact
        if type in FACTS and FACTS[type].__qualname__ != cls.__qualname__:
            raise TypeError(f"{type} is declared twice")
        if key not in cls.model_fields:
            raise TypeError(f"{type}: key {key!r} is not one of its fields")
        cls.type, cls.topic, cls.owner, cls.key_field = type, topic, owner, key
        FACTS[type] = cls

    @property
    def key(self) -> str:
        """What keeps order: facts with one key arrive in the order they were said."""
        return str(getattr(self, self.key_field))


F = TypeVar("F", bound=Fact, covariant=True)


@dataclass(frozen=True, slots=True)
class Event(Generic[F]):
    """A fact with everything around it."""

    id: str
    source: str  #: the service that says it: `daymark/intake`
    type: str
    time: datetime  #: the database's time of the saying transaction
    key: str
    sequence: int  #: version of the aggregate it speaks of: older repeats can be dropped
    actor: str  #: `issuer|subject` of who caused it; `daymark|<service>` when a clock did
    data: F
    policy_version: str | None = None
    cause: str | None = None  #: id of the event or request that led to this one
    traceparent: str | None = None
    raw: bytes | None = field(
        default=None, compare=False, repr=False
    )  #: the data as it came, for hearers that keep it as it was said

    @property
    def service(self) -> str:
        return self.source.rpartition("/")[2]


Headers = tuple[tuple[str, bytes], ...]

_ATTRIBUTES = tuple(
    f"ce_{name}" for name in ("id", "source", "type", "time", "specversion", "partitionkey", "sequence", "actor")
)


def to_wire(event: Event[Fact]) -> tuple[bytes, Headers]:
    """Value and headers of a record in CloudEvents binary mode. The record's key is `event.key`."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_type", event.type.encode()),
        ("ce_time", event.time.astimezone(UTC).isoformat().replace("+00:00", "Z").encode()),
        ("ce_subject", event.key.encode()),
        ("ce_partitionkey", event.key.encode()),
        ("ce_sequence", str(event.sequence).encode()),
        ("ce_actor", event.actor.encode()),
        ("content-type", b"application/json"),
    ]
    for name, value in (
        ("ce_policyversion", event.policy_version),
        ("ce_causationid", event.cause),
        ("traceparent", event.traceparent),
    ):
        if value:
            headers.append((name, value.encode()))
    return event.data.model_dump_json().encode(), tuple(headers)


def from_wire(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Event[Fact] | None:
    """The event in a record; None when its type is not one of ours (a newer Daymark's: ignored, not an error).

    Raises Unreadable when it claims to be one of ours and is not.
    """
    found: Mapping[str, str]
    try:
        found = {name: raw.decode() for name, raw in headers if raw is not None}
    except UnicodeDecodeError as error:
        raise Unreadable("a header is not UTF-8") from error
    if missing := [name[3:] for name in _ATTRIBUTES if not found.get(name)]:
        raise Unreadable(f"CloudEvents attributes are missing: {', '.join(missing)}")
    if found["ce_specversion"] != "1.0":
        raise Unreadable(f"specversion {found['ce_specversion']!r} is not 1.0")
    fact = FACTS.get(found["ce_type"])
    if fact is None:
        return None
    try:
        data = fact.model_validate_json(value or b"")
        time = _aware(datetime.fromisoformat(found["ce_time"]))
        sequence = int(found["ce_sequence"])
    except (ValidationError, ValueError) as error:
        raise Unreadable(f"{fact.type}: {_short(error)}") from error
    if found["ce_source"] != f"daymark/{fact.owner}":
        raise Unreadable(f"{fact.type} is said by {fact.owner} alone, not by {found['ce_source']!r}")
    if data.key != found["ce_partitionkey"]:
        raise Unreadable(f"{fact.type}: the key is not its {fact.key_field}")
    return Event(
        id=found["ce_id"],
        source=found["ce_source"],
        type=fact.type,
        time=time,
        key=data.key,
        sequence=sequence,
        actor=found["ce_actor"],
        data=data,
        policy_version=found.get("ce_policyversion"),
        cause=found.get("ce_causationid"),
        traceparent=found.get("traceparent"),
        raw=value,
    )


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'data'}: {first['msg']}"
    return str(error)
