"""A process that hears, to be killed: `python -m tests.contract.hearing DATABASE_URL BUS_URL`.

It hears a letter of a key once there is a thing named `about <key>`, and lacks context until then.
"""

import asyncio
import sys
from typing import Any

from shared.agenda import Worker
from shared.bus import open_bus
from shared.consumer import Consumer
from shared.contracts import CRWithdrawn, Event
from shared.db import Database, Tx
from shared.errors import TryLater
from tests.contract import plumbing
from tests.contract.plumbing import things


async def step(tx: Tx, said: Event[Any]) -> None:
    if not await tx.raw.fetchval("SELECT 1 FROM things WHERE id = $1", f"about {said.key}"):
        raise TryLater(f"{said.key} is not known yet")
    tx.put(things, {"id": f"{said.key}/{said.sequence}", "n": said.sequence})


async def main(url: str, bus_url: str) -> None:
    db, telemetry = Database(url, service="intake", rights={}, role="intake"), plumbing.telemetry()
    async with open_bus(bus_url) as bus:
        consumer = Consumer(db, bus, telemetry, on={CRWithdrawn: step}, raw={})
        worker = Worker(db, {"drain_parked": consumer.drain_parked}, None, telemetry)
        await asyncio.gather(consumer.run(), worker.run())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
