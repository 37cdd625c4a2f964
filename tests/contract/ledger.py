"""A hearer's database in small: positions with generations, and what was kept, for the suites of the bus."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping

from shared.bus import TP, Batch, Claim, Record, Subscription


class Ledger:
    """What all members of a group share. A batch is kept whole, under the generations it was fetched with, or fenced."""

    def __init__(self, positions: Mapping[TP, int] | None = None) -> None:
        self.positions: dict[TP, int | None] = dict(positions or {})
        self.generations: dict[TP, int] = defaultdict(int)
        self.kept: list[Record] = []
        self.fenced = 0
        self.claims: list[set[TP]] = []

    async def claim(self, partitions: set[TP]) -> Mapping[TP, Claim]:
        self.claims.append(set(partitions))
        for tp in partitions:
            self.generations[tp] += 1
        return {tp: Claim(self.positions.get(tp), self.generations[tp]) for tp in partitions}

    def keep(self, batch: Batch) -> bool:
        if any(self.generations[tp] != generation for tp, generation in batch.generations.items()):
            self.fenced += 1
            return False
        for record in batch.records:
            self.kept.append(record)
            self.positions[record.tp] = record.offset + 1
        return True

    def values(self) -> list[bytes | None]:
        return [record.value for record in self.kept]


async def hear(subscription: Subscription, ledger: Ledger, *, until: int, within_s: float = 30) -> None:
    """Keep batches until the ledger holds so many records. Raises TimeoutError when it does not come to that."""
    give_up_at = time.monotonic() + within_s
    while len(ledger.kept) < until:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{len(ledger.kept)} of {until} records after {within_s} s")
        ledger.keep(await subscription.batch(max_records=100, wait_s=0.2))


async def listen(subscription: Subscription, ledger: Ledger) -> None:
    """Keep batches until cancelled."""
    while True:
        ledger.keep(await subscription.batch(max_records=20, wait_s=0.2))
        await asyncio.sleep(0)
