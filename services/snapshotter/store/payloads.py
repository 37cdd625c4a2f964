"""Payloads of packed samples, and what open looks have read so far.

No object without a row: the row is committed before the upload begins (`announce_payload`), and whoever removes an object
holds its row's lock. So an upload that nobody claimed is found again, and none is removed while it is being claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ARRAY, Integer, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.snapshotter.samples import Bundle, Place, pack, unpack
from services.snapshotter.sources import Series
from services.snapshotter.store.tables import partial_readings, payloads, series
from shared.db import Tx
from shared.errors import Busy


@dataclass(frozen=True, slots=True)
class Payload:
    """Where a payload lies, and until when: in an object (`key`), in its row, or no longer (`expired_at`)."""

    hash: str
    size: int
    key: str | None
    kept_until: datetime | None
    expired_at: datetime | None


_ABOUT = [payloads.c[name] for name in ("hash", "size", "key", "kept_until", "expired_at")]


async def announce_payload(tx: Tx, made: Bundle, key: str) -> None:
    """Say that an object will be uploaded. Waits for one who removes an older one of the same name."""
    row = {"hash": made.hash, "size": len(made.data), "key": key, "bytes": None, "expired_at": None}
    again = {"key": key, "bytes": None, "expired_at": None}
    await tx.execute(upsert(payloads).values(row).on_conflict_do_update(index_elements=["hash"], set_=again))


async def save_payload(tx: Tx, made: Bundle, *, kept_until: datetime) -> None:
    """Keep a payload at least until then: into its row, or claim the object that was uploaded.

    Raises Busy when the object is gone: it was uploaded so long ago that it counted as nobody's.
    """
    c = payloads.c
    if not made.data:
        return
    if made.key is None:
        new = {"hash": made.hash, "size": len(made.data), "bytes": made.data, "kept_until": kept_until}
        again = {
            "kept_until": func.greatest(c.kept_until, kept_until),
            "bytes": func.coalesce(c.bytes, made.data),
            "key": None,
            "expired_at": None,
        }
        await tx.execute(upsert(payloads).values(new).on_conflict_do_update(index_elements=["hash"], set_=again))
    else:
        claim = update(payloads).where(c.hash == made.hash, c.key == made.key, c.expired_at.is_(None))
        if await tx.execute(claim.values(kept_until=func.greatest(c.kept_until, kept_until))) != 1:
            raise Busy("The samples' object was removed meanwhile.")
    tx.schedule("expire_samples", made.hash, kept_until)


async def keep_longer(tx: Tx, snapshot_id: str, *, kept_until: datetime) -> None:
    """Another snapshot's series lie in payloads that are there already. The job that ends them looks again by itself."""
    c = payloads.c
    mine = select(series.c.payload).where(series.c.snapshot_id == snapshot_id, series.c.payload.is_not(None))
    longer = func.greatest(c.kept_until, kept_until)
    await tx.execute(update(payloads).where(c.hash.in_(mine)).values(kept_until=longer))


async def payloads_at(tx: Tx, hashes: Iterable[str]) -> dict[str, Payload]:
    """By hash, those of them that are known."""
    rows = await tx.all(select(*_ABOUT).where(payloads.c.hash.in_(sorted(set(hashes)))))
    return {row.hash: Payload(**row._mapping) for row in rows}


_PARTS = text(
    "SELECT substring(p.bytes from w.first + 1 for w.length) AS part FROM snapshotter.payloads p,"
    " unnest(:firsts, :lengths) WITH ORDINALITY AS w(first, length, place) WHERE p.hash = :hash ORDER BY w.place"
).bindparams(bindparam("firsts", type_=ARRAY(Integer)), bindparam("lengths", type_=ARRAY(Integer)))


async def parts_of(tx: Tx, of: Payload, places: Sequence[Place]) -> list[bytes]:
    """The bytes of these series of a payload that lies in its row; of the whole row only when most of it is asked for."""
    if 2 * sum(each.length for each in places) > of.size:
        whole = await tx.scalar(select(payloads.c.bytes).where(payloads.c.hash == of.hash))
        return [whole[each.first : each.first + each.length] for each in places]
    asked = {"firsts": [each.first for each in places], "lengths": [each.length for each in places], "hash": of.hash}
    return [row.part for row in await tx.all(_PARTS.bindparams(**asked))]


async def locked_payload(tx: Tx, hashed: str) -> Payload | None:
    """The payload under its row's lock: until the end of the transaction nobody announces or claims it."""
    row = await tx.one(select(*_ABOUT).where(payloads.c.hash == hashed).with_for_update())
    return None if row is None else Payload(**row._mapping)


async def expire_payload(tx: Tx, of: Payload) -> None:
    """Its bytes go; of one that was ever claimed the row says since when."""
    mine = payloads.c.hash == of.hash
    if of.kept_until is None:
        await tx.execute(delete(payloads).where(mine))
    else:
        await tx.execute(update(payloads).where(mine).values(bytes=None, key=None, expired_at=tx.now))


# -- what open looks have read ----------------------------------------------------------------------------------------


async def save_readings(tx: Tx, look: str, revision: int, read: Mapping[str, Series]) -> None:
    """Keep what a try has read, by SLI, for the next try of the same look."""
    rows = [
        {"look": look, "revision": revision, "sli": sli, "packed": pack(one.values), "warnings": list(one.warnings)}
        for sli, one in read.items()
    ]
    if rows:
        await tx.execute(upsert(partial_readings).on_conflict_do_nothing(), rows)


async def partly_read(tx: Tx, look: str, revision: int, steps: int) -> dict[str, Series]:
    """What earlier tries have read, by SLI."""
    c = partial_readings.c
    found = select(c.sli, c.packed, c.warnings).where(c.look == look, c.revision == revision)
    return {row.sli: Series(unpack(row.packed, steps), tuple(row.warnings)) for row in await tx.all(found)}


async def forget_readings(tx: Tx, look: str) -> None:
    """The look is closed, or has lost its object."""
    await tx.execute(delete(partial_readings).where(partial_readings.c.look == look))
