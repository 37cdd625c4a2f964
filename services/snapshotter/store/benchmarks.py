"""How drafts and benchmarks came to be, pins, and what speaks against a benchmark after it was published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import datetime, timedelta

from sqlalchemy import and_, insert, literal, or_, select, update

from services.snapshotter.domain import ROLLED_BACK, ChangeRequest, Doubt, Observation, Pin, Provenance, Snapshot
from services.snapshotter.store.payloads import keep_longer
from services.snapshotter.store.snapshots import snapshot_of
from services.snapshotter.store.tables import doubts, observations, pin_numbers, pins, provenances, series, snapshots
from shared.contracts import BenchmarkHealth
from shared.db import Tx


async def insert_provenance(tx: Tx, made: Provenance) -> None:
    """Write it with its snapshot. The same draft twice is a conflict."""
    health = made.health.model_dump(mode="json") if made.health is not None else None
    await tx.execute(
        insert(provenances).values(
            snapshot_id=made.snapshot_id,
            origin=made.origin,
            draft_id=made.draft_id,
            corrects=made.corrects,
            health=health,
            despite=dict(made.despite),
        )
    )


async def provenances_of(tx: Tx, snapshot_ids: Iterable[str]) -> dict[str, Provenance]:
    c = provenances.c
    rows = await tx.all(select(provenances).where(c.snapshot_id.in_(list(snapshot_ids))))
    return {
        row.snapshot_id: Provenance(
            row.snapshot_id,
            row.origin,
            row.draft_id,
            row.corrects,
            BenchmarkHealth.model_validate(row.health) if row.health is not None else None,
            row.despite,
        )
        for row in rows
    }


async def published_as(tx: Tx, draft_id: str) -> str | None:
    """The benchmark that a draft became."""
    found: str | None = await tx.scalar(select(provenances.c.snapshot_id).where(provenances.c.draft_id == draft_id))
    return found


async def copy_series(tx: Tx, draft_id: str, published: Snapshot, *, raw_days: float) -> None:
    """Give a published draft's readings to the benchmark that it becomes: their payload is the same, and kept as long."""
    columns = [column for column in series.c if column.name != "snapshot_id"]
    names = ["snapshot_id", *(column.name for column in columns)]
    draft = select(literal(published.id), *columns).where(series.c.snapshot_id == draft_id)
    await tx.execute(insert(series).from_select(names, draft))
    await keep_longer(tx, published.id, kept_until=published.taken_at + timedelta(days=raw_days))


async def latest_draft(tx: Tx, cr: ChangeRequest) -> Snapshot | None:
    """The newest draft of the CR or of its whole product."""
    c = snapshots.c
    mine = or_(c.cr_id == cr.id, c.cr_id.is_(None) & (c.product_id == cr.product_id))
    row = await tx.one(select(snapshots).where(c.kind == "draft", mine).order_by(c.number.desc()).limit(1))
    return None if row is None else snapshot_of(row)


# -- pins -------------------------------------------------------------------------------------------------------------

_PIN = tuple(each.name for each in fields(Pin))


async def next_pin(tx: Tx) -> int:
    return int(await tx.scalar(select(pin_numbers.next_value())))


async def insert_pin(tx: Tx, made: Pin) -> None:
    await tx.execute(insert(pins).values({name: getattr(made, name) for name in _PIN}))


async def end_pin(tx: Tx, ended: Pin) -> None:
    end = {"ended_at": ended.ended_at, "ended_by": ended.ended_by, "ended_because": ended.ended_because}
    await tx.execute(update(pins).where(pins.c.number == ended.number).values(end))


async def pin(tx: Tx, number: int) -> Pin | None:
    row = await tx.one(select(pins).where(pins.c.number == number))
    return None if row is None else Pin(**row._mapping)


async def pins_of(tx: Tx, product_id: str, by: datetime | None = None) -> list[Pin]:
    """The product's pins, newest first: the last hundred, of those that were set before `by`."""
    found = select(pins).where(pins.c.product_id == product_id)
    if by is not None:
        found = found.where(pins.c.pinned_at < by)
    return [Pin(**row._mapping) for row in await tx.all(found.order_by(pins.c.number.desc()).limit(100))]


# -- runs that deviated, and what is said of benchmarks that came from them --------------------------------------------

_LOOK = [observations.c[each.name] for each in fields(Observation)]
#: It was found to deviate, or a rollback ended it before anybody could say.
_SPOILED = or_(
    observations.c.deviated_at.is_not(None),
    and_(observations.c.state == "superseded", observations.c.superseded_because.startswith(ROLLED_BACK)),
)
_LONGEST_RUN = timedelta(days=60)  #: a rollback comes later than the look; after this it is another story


async def looks_about(tx: Tx, product_id: str, start: datetime, end: datetime) -> list[Observation]:
    """Looks of the product that deviated, were cut short or are still open, and may have to do with `[start, end)`."""
    c = observations.c
    rows = await tx.all(
        select(*_LOOK)
        .where(
            c.product_id == product_id,
            c.starts_at < end,
            c.ends_at > start - _LONGEST_RUN,
            or_(_SPOILED, c.state == "scheduled"),
        )
        .order_by(c.starts_at.desc())
        .limit(500)
    )
    return [Observation(**row._mapping) for row in rows]


async def benchmarks_met(tx: Tx, product_id: str, since: datetime) -> list[Snapshot]:
    """Benchmarks of the product and its CRs that may come from a look that deviated and ended after `since`."""
    c, o = snapshots.c, observations.c
    met = (
        select(o.cr_id)
        .where(
            o.product_id == product_id,
            _SPOILED,
            o.ends_at > since,
            o.starts_at < c.window_end,
            o.ends_at > c.window_start - _LONGEST_RUN,
        )
        .exists()
    )
    found = select(snapshots).where(c.product_id == product_id, c.kind == "benchmark", c.window_end > since, met)
    return [snapshot_of(row) for row in await tx.all(found.order_by(c.number))]


async def newest_benchmarks(tx: Tx, product_id: str) -> list[Snapshot]:
    """Of the product and its CRs, the last twenty."""
    c = snapshots.c
    found = select(snapshots).where(c.product_id == product_id, c.kind == "benchmark")
    return [snapshot_of(row) for row in await tx.all(found.order_by(c.number.desc()).limit(20))]


async def doubts_of(tx: Tx, snapshot_ids: Iterable[str]) -> list[Doubt]:
    """Everything said against these benchmarks, in order."""
    c = doubts.c
    rows = await tx.all(select(doubts).where(c.snapshot_id.in_(list(snapshot_ids))).order_by(c.sequence))
    return [Doubt(**row._mapping) for row in rows]


async def doubted_since(tx: Tx, product_id: str, since: datetime) -> list[Snapshot]:
    """Benchmarks of the product that something was said against since then."""
    c = doubts.c
    which = select(c.snapshot_id).where(c.product_id == product_id, c.at > since)
    rows = await tx.all(select(snapshots).where(snapshots.c.id.in_(which)).order_by(snapshots.c.number))
    return [snapshot_of(row) for row in rows]


async def insert_doubts(tx: Tx, said: Iterable[Doubt]) -> None:
    if rows := [asdict(each) for each in said]:
        await tx.execute(insert(doubts), rows)
