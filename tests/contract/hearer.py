"""A hearer of one kind of fact on a service that has nothing but plumbing, and letters for it."""

import uuid
from datetime import UTC, datetime
from typing import Any

from shared.agenda import Worker
from shared.bus import Batch, Bus, Record
from shared.consumer import Consumer, Step
from shared.contracts import CRRolledBack, CRWithdrawn, Event, Fact, to_wire
from shared.db import Tx
from shared.errors import Busy, Forbidden, TryLater
from tests.contract import plumbing
from tests.contract.plumbing import Bench, things

TOPIC = CRWithdrawn.topic
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


def event(cr: str, sequence: int, id: str | None = None) -> Event[CRWithdrawn]:
    data = CRWithdrawn(cr_id=cr, product_id="epl", reason=str(sequence), withdrawn_at=NOW)
    return Event(id or str(uuid.uuid4()), "daymark/intake", data.type, NOW, cr, sequence, "local|erin", data)


def rolled_back(cr: str, sequence: int) -> Event[CRRolledBack]:
    """A fact of another type on the same topic."""
    data = CRRolledBack(
        cr_id=cr, product_id="epl", deployment=1, revision=1, rolled_back_at=NOW, reported_at=NOW, reason="p99"
    )
    return Event(str(uuid.uuid4()), "daymark/intake", data.type, NOW, cr, sequence, "local|erin", data)


def record(said: Event[Any], offset: int, partition: int = 0) -> Record:
    value, headers = to_wire(said)
    return Record(TOPIC, partition, offset, said.key.encode(), value, headers)


class Hearer:
    """A consumer whose step writes one row per letter, and can be told what goes wrong."""

    def __init__(self, bench: Bench, bus: Bus, *more: type[Fact]) -> None:
        self.bench = bench
        self.waiting: set[str] = set()  #: keys that lack context
        self.poison: set[str] = set()  #: keys whose step fails for ever
        self.locked = 0  #: how many times more somebody else's lock is met
        on: dict[type[Fact], Step] = dict.fromkeys((CRWithdrawn, *more), self.step)
        self.consumer = Consumer(bench.db, bus, plumbing.telemetry(), on=on, raw={"daymark.inbound": self.inbound})

    async def step(self, tx: Tx, said: Event[Any]) -> None:
        if self.locked:
            self.locked -= 1
            raise Busy("somebody's lock")
        if said.key in self.waiting:
            raise TryLater(f"{said.key} is not known yet")
        if said.key in self.poison:
            raise ZeroDivisionError("a bug")
        assert tx.cause == said.id
        tx.put(things, {"id": f"{said.key}/{said.sequence}", "n": said.sequence})

    async def inbound(self, tx: Tx, said: Record) -> None:
        if self.locked:
            self.locked -= 1
            raise Busy("somebody's lock")
        tx.may("make", "epl", of=f"inbound/{said.offset}")
        await tx.execute(things.insert().values(id=f"inbound/{said.offset}", n=0))
        if said.value == b"refuse":
            raise Forbidden("not you")

    async def hear(self, *records: Record) -> None:
        claims = await self.consumer.claim({one.tp for one in records})
        generations = {tp: claim.generation for tp, claim in claims.items()}
        await self.consumer.hear(Batch(records, generations))

    async def rows(self) -> list[str]:
        return [row["id"] for row in await self.bench.admin.fetch("SELECT id FROM intake.things ORDER BY n, id")]

    async def drain(self) -> None:
        await Worker(self.bench.db, {"drain_parked": self.consumer.drain_parked}, None, plumbing.telemetry()).drain()
