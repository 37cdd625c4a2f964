"""Files of readings that were sent in, from the moment they were to what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from services.snapshotter.store.tables import upload_numbers, uploads
from shared.db import Database, Tx


@dataclass(frozen=True, slots=True)
class Upload:
    """`state`: waiting, reading, drafted, refused. `body` is dropped when it was read; its hash stays."""

    number: int
    product_id: str
    cr_id: str | None
    format: str
    reason: str
    window_end: datetime
    bytes: int
    sha256: str
    uploaded_at: datetime
    uploaded_by: str
    state: str = "waiting"
    samples: int = 0
    problems: tuple[dict[str, Any], ...] = ()
    problems_total: int = 0
    snapshot_id: str | None = None
    read_at: datetime | None = None

    @property
    def id(self) -> str:
        return f"UP-{self.number}"


_COLUMNS = [column for column in uploads.c if column.name != "body"]


async def next_upload(tx: Tx) -> int:
    return int(await tx.scalar(select(upload_numbers.next_value())))


async def insert_upload(tx: Tx, sent: Upload, body: bytes) -> None:
    row = {column.name: getattr(sent, column.name) for column in _COLUMNS}
    await tx.execute(insert(uploads).values({**row, "problems": list(sent.problems), "body": body}))


async def upload(tx: Tx, number: int) -> Upload | None:
    row = await tx.one(select(*_COLUMNS).where(uploads.c.number == number))
    return None if row is None else Upload(**{**row._mapping, "problems": tuple(row.problems)})


async def uploaded_bytes(tx: Tx, number: int) -> bytes | None:
    found: bytes | None = await tx.scalar(select(uploads.c.body).where(uploads.c.number == number))
    return found


async def say_progress(db: Database, number: int, samples: int) -> None:
    """How many samples were read so far, in a statement of its own: it is seen while the job still reads."""
    async with db.connection() as (_, raw):
        await raw.execute(
            "UPDATE uploads SET state = 'reading', samples = $2 WHERE number = $1 AND state IN ('waiting', 'reading')",
            number,
            samples,
        )


async def end_upload(tx: Tx, ended: Upload) -> None:
    done = ("state", "samples", "problems_total", "snapshot_id", "read_at")
    values = {name: getattr(ended, name) for name in done}
    change = update(uploads).where(uploads.c.number == ended.number)
    await tx.execute(change.values({**values, "problems": list(ended.problems), "body": None}))
