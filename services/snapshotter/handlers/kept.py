"""Stored samples, for the judge."""

from __future__ import annotations

from services.snapshotter import domain, store
from services.snapshotter.handlers.judging import Taken
from shared.db import Tx


async def taken(tx: Tx, snapshot: domain.Snapshot | None) -> Taken | None:
    """A snapshot with its samples; None for none."""
    if snapshot is None:
        return None
    return Taken(snapshot.id, snapshot.window, tuple(await store.series_of(tx, snapshot.id, samples=True)))


async def taken_by_id(tx: Tx, snapshot_id: str | None) -> Taken | None:
    """The same by id; None also for one that is not there any more."""
    return await taken(tx, await store.snapshot(tx, snapshot_id)) if snapshot_id else None
