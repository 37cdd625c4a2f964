"""What every handler of the snapshotter is given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from services.snapshotter.handlers.workers import Workers
from services.snapshotter.samples import Bucket
from services.snapshotter.sources import Source
from shared.access import Call
from shared.db import Database


@dataclass(frozen=True)
class Deps:
    """What the snapshotter works with.

    sources   by the names that policies use
    workers   where packing and judging are done
    bucket    where large samples lie; None = in the database
    """

    db: Database
    sources: Mapping[str, Source] = field(default_factory=dict)
    workers: Workers = field(default_factory=Workers)
    #: One file of readings at a time: reading it is a thread's work, and answers must go on meanwhile.
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    bucket: Bucket | None = None
    _twins: WeakValueDictionary[tuple[bytes | None, str], asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def alone(self, call: Call) -> AbstractAsyncContextManager[None]:
        """For commands that read for long: who sends the same again meanwhile waits for the first, and reads nothing.

        Clients that lose patience would otherwise pile up work on a slow source until nobody's is done.
        """
        if call.once is None:
            return nullcontext()
        return self._twins.setdefault((call.credential, call.once), asyncio.Lock())
