"""Stored snapshots, for the judge: found inside a transaction, filled with their samples outside of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.snapshotter import domain, store
from services.snapshotter.handlers import keeping
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.judging import Grounds, Release, Taken
from shared.db import Tx


async def taken(tx: Tx, snapshot: domain.Snapshot | None) -> Taken | None:
    """A snapshot without its samples; None for none."""
    if snapshot is None:
        return None
    return Taken(snapshot.id, snapshot.window, tuple(await store.series_of(tx, snapshot.id)))


async def taken_by_id(tx: Tx, snapshot_id: str | None) -> Taken | None:
    """The same by id; None also for one that is not there any more."""
    return await taken(tx, await store.snapshot(tx, snapshot_id)) if snapshot_id else None


async def releases_of(tx: Tx, snapshot_ids: Sequence[str]) -> tuple[Release, ...]:
    """Earlier releases by their after snapshots, with the level of each SLI; raw samples are not needed for that."""
    levels = await store.levels_of(tx, snapshot_ids)
    names = await store.change_requests_of(tx, snapshot_ids)
    return tuple(Release(names[one], one, levels.get(one, {})) for one in snapshot_ids if one in names)


async def with_samples(deps: Deps, found: Taken) -> Taken:
    """The same with its samples, as far as they have not expired. Raises Unavailable when the object store fails."""
    if all(one.place is None or one.packed is not None for one in found.series):
        return found  # it comes straight from a capture
    return replace(found, series=tuple(await keeping.with_samples(deps, found.series)))


async def filled(deps: Deps, grounds: Grounds) -> Grounds:
    """All that a verdict rests on, with samples. Raises Unavailable as `with_samples`."""
    return replace(
        grounds,
        after=await with_samples(deps, grounds.after),
        benchmark=await with_samples(deps, grounds.benchmark) if grounds.benchmark else None,
        anchor=await with_samples(deps, grounds.anchor) if grounds.anchor else None,
        history=await with_samples(deps, grounds.history) if grounds.history else None,
    )


def expired(grounds: Grounds) -> str | None:
    """The first of the (filled) snapshots whose raw samples have expired: a verdict cannot be computed again without."""
    for found in (grounds.after, grounds.benchmark, grounds.anchor, grounds.history):
        if found is not None and any(one.place is not None and one.packed is None for one in found.series):
            return found.id
    return None
