"""Snapshots and their samples: inserted once, read whole or one series at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, and_, insert, select

from services.snapshotter.domain import ChangeRequest, Snapshot, Window
from services.snapshotter.samples import Bundle, Place
from services.snapshotter.store.payloads import save_payload
from services.snapshotter.store.tables import numbers, series, snapshots
from shared.contracts import MissingSLI
from shared.db import Tx

#: What verdicts and limits are computed from, and nobody looks for among snapshots.
UNLISTED = ("history", "day")


@dataclass(frozen=True, slots=True)
class KeptSeries:
    """One SLI's row of a snapshot. `place` is where its samples lie, None when it is missing; see store/payloads.py.

    silent   missing for the one reason that the source answered completely, and had nothing of it in the whole window
    packed   the samples, once they were fetched; None before, and when they have expired
    rollup   four packed numbers an hour, which stay
    """

    sli: str
    title: str
    unit: str
    source: str
    query: str
    missing: str | None
    warnings: tuple[str, ...]
    hash: str
    n: int
    min: float | None
    median: float | None
    p95: float | None
    max: float | None
    place: Place | None = None
    rollup: bytes | None = None
    silent: bool = False
    packed: bytes | None = None


@dataclass(frozen=True, eq=False)
class Kept:
    """A capture as it will lie in the tables."""

    series: tuple[KeptSeries, ...]
    content_hash: str
    bundle: Bundle


async def next_id(tx: Tx) -> str:
    return f"SNAP-{await tx.scalar(select(numbers.next_value()))}"


async def insert_snapshot(tx: Tx, taken: Snapshot, kept: Kept | None, *, raw_days: float) -> None:
    """Write a snapshot with its samples, once and for all; the raw ones are kept for `raw_days`.

    `kept` is None when its series are copied from a draft. A second one of the same look is refused as a conflict. Raises
    Busy as `save_payload` does.
    """
    await tx.execute(
        insert(snapshots).values(
            number=int(taken.id.removeprefix("SNAP-")),
            id=taken.id,
            kind=taken.kind,
            product_id=taken.product_id,
            cr_id=taken.cr_id,
            deployment=taken.deployment,
            revision=taken.revision,
            window_start=taken.window.start,
            window_end=taken.window.end,
            step_s=taken.window.step_s,
            taken_at=taken.taken_at,
            taken_by=taken.taken_by,
            reason=taken.reason,
            policy_version=taken.policy_version,
            content_hash=taken.content_hash,
            slis=taken.slis,
            missing=[each.model_dump() for each in taken.missing],
        )
    )
    if kept is None:
        return
    await save_payload(tx, kept.bundle, kept_until=taken.taken_at + timedelta(days=raw_days))
    rows = [
        {
            **{name: getattr(one, name) for name in _SERIES if name != "warnings"},
            "snapshot_id": taken.id,
            "place": place,
            "warnings": list(one.warnings),
            "payload": one.place.payload if one.place else None,
            "first": one.place.first if one.place else None,
            "length": one.place.length if one.place else None,
            "rollup": one.rollup,
        }
        for place, one in enumerate(kept.series)
    ]
    if rows:
        await tx.execute(insert(series), rows)


async def snapshot(tx: Tx, snapshot_id: str) -> Snapshot | None:
    row = await tx.one(select(snapshots).where(snapshots.c.id == snapshot_id))
    return None if row is None else snapshot_of(row)


async def known_content(tx: Tx, product_id: str, kind: str, content_hash: str) -> str | None:
    """The product's snapshot of this kind and content, when there is one already."""
    c = snapshots.c
    same = (c.product_id == product_id, c.kind == kind, c.content_hash == content_hash)
    found: str | None = await tx.scalar(select(c.id).where(*same).order_by(c.number).limit(1))
    return found


async def benchmarks_for(
    tx: Tx, cr: ChangeRequest, deployed_at: datetime | None, pinned: Iterable[str] = ()
) -> list[Snapshot]:
    """Benchmarks of the CR, and those for all its product: the newest 50 of each from before the deploy, 10 from after.

    And those in `pinned`, whosever and however old they are.
    """
    c = snapshots.c
    rows: list[Row[Any]] = []
    for subject in (c.cr_id == cr.id, and_(c.cr_id.is_(None), c.product_id == cr.product_id)):
        found = select(snapshots).where(c.kind == "benchmark", subject)
        if deployed_at is None:
            rows += await tx.all(found.order_by(c.number.desc()).limit(50))
        else:
            rows += await tx.all(found.where(c.taken_at < deployed_at).order_by(c.number.desc()).limit(50))
            rows += await tx.all(found.where(c.taken_at >= deployed_at).order_by(c.number).limit(10))
    there = {row.id for row in rows}
    if others := [each for each in set(pinned) if each not in there]:
        rows += await tx.all(select(snapshots).where(c.kind == "benchmark", c.id.in_(others)))
    return [snapshot_of(row) for row in rows]


async def listed(
    tx: Tx,
    *,
    cr_id: str | None,
    product_id: str | None,
    kind: str | None,
    visible: frozenset[str] | None,
    before: int | None,
    limit: int,
) -> list[Snapshot]:
    """Snapshots, newest first; those of `UNLISTED` kinds only when `kind` asks for them.

    `visible`: products that the caller may read of, None = all; `before`: a number.
    """
    c = snapshots.c
    found: Select[Any] = select(snapshots)
    if kind is None:
        found = found.where(c.kind.not_in(UNLISTED))
    for column, value in ((c.cr_id, cr_id), (c.product_id, product_id), (c.kind, kind)):
        if value is not None:
            found = found.where(column == value)
    if visible is not None:
        found = found.where(c.product_id.in_(sorted(visible)))
    if before is not None:
        found = found.where(c.number < before)
    return [snapshot_of(row) for row in await tx.all(found.order_by(c.number.desc()).limit(limit))]


_SERIES = [
    *("sli", "title", "unit", "source", "query", "missing", "silent", "warnings", "hash"),
    *("n", "min", "median", "p95", "max"),
]


async def series_of(tx: Tx, snapshot_id: str, slis: Iterable[str] | None = None) -> list[KeptSeries]:
    """The series of a snapshot in the policy's order, all or some, without samples: those lie at their `place`."""
    c = series.c
    found = select(*(c[name] for name in _SERIES), c.payload, c.first, c.length, c.rollup).where(
        c.snapshot_id == snapshot_id
    )
    if slis is not None:
        found = found.where(c.sli.in_(list(slis)))
    return [
        KeptSeries(
            **{name: row._mapping[name] for name in _SERIES if name != "warnings"},
            warnings=tuple(row.warnings),
            place=None if row.payload is None else Place(row.payload, row.first, row.length),
            rollup=row.rollup,
        )
        for row in await tx.all(found.order_by(c.place))
    ]


def snapshot_of(row: Row[Any]) -> Snapshot:
    return Snapshot(
        id=row.id,
        kind=row.kind,
        product_id=row.product_id,
        cr_id=row.cr_id,
        deployment=row.deployment,
        revision=row.revision,
        window=Window(row.window_start, row.window_end, row.step_s),
        taken_at=row.taken_at,
        taken_by=row.taken_by,
        reason=row.reason,
        policy_version=row.policy_version,
        content_hash=row.content_hash,
        slis=row.slis,
        missing=tuple(MissingSLI(**each) for each in row.missing),
    )


async def levels_of(tx: Tx, snapshot_ids: Iterable[str]) -> dict[str, dict[str, tuple[str, str, float | None]]]:
    """Snapshot -> SLI -> (query, source, median): what is kept of a day when nothing else is asked."""
    c = series.c
    rows = await tx.all(
        select(c.snapshot_id, c.sli, c.query, c.source, c.median).where(c.snapshot_id.in_(list(snapshot_ids)))
    )
    found: dict[str, dict[str, tuple[str, str, float | None]]] = {}
    for row in rows:
        found.setdefault(row.snapshot_id, {})[row.sli] = (row.query, row.source, row.median)
    return found


async def change_requests_of(tx: Tx, snapshot_ids: Iterable[str]) -> dict[str, str]:
    """Snapshot -> the CR that it was taken for."""
    c = snapshots.c
    rows = await tx.all(select(c.id, c.cr_id).where(c.id.in_(list(snapshot_ids)), c.cr_id.is_not(None)))
    return {row.id: row.cr_id for row in rows}
