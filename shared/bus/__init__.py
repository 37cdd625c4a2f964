"""The bus, as the rest of the house sees it: publish letters in order per key, hear them at least once, resume by position.

Two parts keep these promises, held by one contract suite: `KafkaBus` (kafka.py) and `PostgresBus` (postgres.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from shared.contracts.envelope import Headers

#: One partition count for every topic of facts, for life: growing is a new topic version.
PARTITIONS = 24
#: A letter over this is refused where it is written (facts carry digests and links, never samples).
MAX_LETTER_BYTES = 256 * 1024
#: A record over this is refused by the bus itself: room for foreign records and for suites of tests.
MAX_RECORD_BYTES = 2 * 1024 * 1024


class TP(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


# Letters and records are tuples: a frozen dataclass takes four times as long to make, and there is one a fact.
class Letter(NamedTuple):
    """A record on its way out. Bytes that are no UTF-8 stand in a foreign key as lone surrogates (partitioner.key_of)."""

    topic: str
    key: str
    value: bytes
    headers: Headers = ()


class Record(NamedTuple):
    """A letter as it lies on the bus. Foreign writers may leave any of it out."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def tp(self) -> TP:
        return TP(self.topic, self.partition)


class Claim(NamedTuple):
    """What the hearer's database says of a partition at the moment it was assigned to us."""

    offset: int | None  #: next record to hear; None = this group never heard it: from the start
    generation: int  #: raised by every assignment; a batch of an older one is fenced


#: Called on every assignment, before the first record: raises the generations and gives the positions.
ClaimPositions = Callable[[set[TP]], Awaitable[Mapping[TP, Claim]]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in order per partition, and the generations under which they were fetched."""

    records: Sequence[Record] = ()
    generations: Mapping[TP, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is made. Facts are kept for good (`retention_ms=-1`)."""

    name: str
    partitions: int = PARTITIONS
    retention_ms: int = -1

    def drift(self, partitions: int, retention_ms: int) -> list[str]:
        """How a topic that is there differs from this, one sentence each."""
        said = []
        if partitions != self.partitions:
            said.append(
                f"{self.name} has {partitions} partitions, not {self.partitions}: they are never changed, "
                "since keys would move; declare a new version of the topic."
            )
        if retention_ms != self.retention_ms:
            said.append(f"{self.name} keeps its letters {_span(retention_ms)}, not {_span(self.retention_ms)}.")
        return said


def _span(retention_ms: int) -> str:
    return "for good" if retention_ms < 0 else f"for {retention_ms / 1000:g} s"


class SendUnknown(Exception):
    """A send failed, timed out or was cancelled: its letters may or may not lie on the bus. Abandon the publisher."""


class BusBroken(Exception):
    """The client was rebuilt three times and still hears nothing: let the supervisor start the process anew."""


class PositionLost(Exception):
    """The position in the hearer's database is outside what the bus still keeps: a person must decide."""

    def __init__(self, said: str, lost: Iterable[TP] = ()) -> None:
        super().__init__(said)
        self.lost = frozenset(lost)


def refuse_too_large(letters: Sequence[Letter]) -> None:
    """Raises SendUnknown for a letter over MAX_RECORD_BYTES: no bus of ours takes one, whatever its own limit."""
    for letter in letters:
        if len(letter.value) > MAX_RECORD_BYTES:
            raise SendUnknown(f"a letter of {len(letter.value)} bytes on {letter.topic} is too large for the bus")


class Publisher(Protocol):
    async def publish(self, letters: Sequence[Letter]) -> None:
        """Return when all letters are durable, in order per key. Raises SendUnknown; then only `abandon` may follow."""

    async def abandon(self) -> None:
        """Let go without waiting for anything that may hang; bounded to a few seconds, never raises."""


class Subscription(Protocol):
    """One member of a group."""

    async def batch(self, *, max_records: int, wait_s: float) -> Batch:
        """Up to `max_records` after the claimed positions; empty after `wait_s`. Calls `claim` where that is due.

        Raises PositionLost where it cannot seek to what `claim` gave, Unavailable when the bus does not answer (call
        again later), BusBroken when nothing helps but a new process, and whatever `claim` raises (it is asked again).
        A record is given once: who could not keep a batch abandons the subscription, or runs it again from memory.
        """

    async def commit(self, positions: Mapping[TP, int]) -> None:
        """Best effort, bounded, never raises: for lag tools only. The truth is in the hearer's database."""

    @property
    def assigned(self) -> frozenset[TP]: ...

    async def abandon(self) -> None:
        """As for a publisher."""


class Bus(Protocol):
    """Both buses. Every await inside is bounded in time."""

    async def publisher(self) -> Publisher: ...

    async def subscribe(self, group: str, topics: Iterable[str], claim: ClaimPositions) -> Subscription:
        """Join the group. `claim` is called on each assignment; the subscription seeks to what it gives.

        Raises Unavailable when the bus does not answer, or a topic does not exist yet.
        """

    async def ends(self, topics: Iterable[str]) -> Mapping[TP, int]:
        """Offset of the next letter in each partition, asked through a fresh connection. Raises Unavailable."""

    async def apply_topics(self, specs: Sequence[TopicSpec]) -> Sequence[str]:
        """Create what is missing; report, as sentences, what drifted. Never changes partitions. Idempotent."""

    async def ping(self) -> None:
        """Raises Unavailable when the bus does not answer within 2 s."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """How a Kafka lets us in: over TLS or not, with a certificate of ours, with a name and a password."""

    tls: bool = False
    ca_file: Path | None = None  #: who vouches for the brokers; None: whom the machine trusts
    certificate_file: Path | None = None  #: ours, PEM, for brokers that ask for one
    key_file: Path | None = None  #: its key, where it is in a file of its own
    sasl: str | None = None  #: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
    user: str | None = None
    password: str | None = field(default=None, repr=False)


ANYBODY = KafkaAccess()

#: Opens a bus from its URL, for the life of a service.
OpenBus = Callable[[str], AbstractAsyncContextManager[Bus]]


@asynccontextmanager
async def open_bus(url: str, *, role: str | None = None, access: KafkaAccess = ANYBODY) -> AsyncIterator[Bus]:
    """The bus behind a URL: `kafka://host:port[,host:port]` let in by `access`, or `postgresql://...` acting as `role`.

    Opening does not connect: a service starts, and accepts commands, while its bus is away. Raises ValueError for
    another kind of URL, OSError for certificates that cannot be read.
    """
    bus: Bus
    scheme, _, rest = url.partition("://")
    if scheme == "kafka":
        from shared.bus.kafka import KafkaBus

        if "@" in rest:  # it would stand in each line of the log that names a broker
            raise ValueError("a kafka:// URL holds no password: set DAYMARK_KAFKA_USER and DAYMARK_KAFKA_PASSWORD")
        bus = KafkaBus(rest.rstrip("/"), access)
    elif scheme == "postgresql":
        from shared.bus.postgres import PostgresBus

        bus = PostgresBus(url, role=role)
    else:
        raise ValueError(f"a bus is kafka://... or postgresql://..., not {scheme}://...")
    try:
        yield bus
    finally:
        await bus.close()
