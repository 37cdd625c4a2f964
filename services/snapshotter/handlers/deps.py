"""What every handler of the snapshotter is given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.snapshotter.handlers.workers import Workers
from services.snapshotter.samples import Bucket
from services.snapshotter.sources import Source
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
