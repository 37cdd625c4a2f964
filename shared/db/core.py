"""How rooms reach their tables: SQLAlchemy Core on a connection that is open already, and rows put by one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Connection, CursorResult, Executable, PoolProxiedConnection, Table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

if TYPE_CHECKING:
    import asyncpg


class Core:
    """SQLAlchemy on a connection that is open already; made when a room speaks it, for that costs as much as a statement."""

    def __init__(self, engine: AsyncEngine, pooled: PoolProxiedConnection) -> None:
        self._engine, self._pooled = engine, pooled
        self._made: AsyncConnection | None = None

    async def execute(
        self, statement: Executable, rows: Sequence[Mapping[str, Any]] | None = None
    ) -> CursorResult[Any]:
        if self._made is None:
            self._made = AsyncConnection(self._engine, Connection(self._engine.sync_engine, self._pooled))
        return await self._made.execute(statement, rows)


async def put(
    raw: asyncpg.Connection, schema: str, table: Table, rows: list[dict[str, Any]], newer: str | None
) -> None:
    """Write rows by one statement. One whose primary key is there stays as it is, or gives way when its `newer` is less."""
    keys = [column.name for column in table.primary_key]
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        at = tuple(row[name] for name in keys)
        if at not in best or (newer and row[newer] > best[at][newer]):
            best[at] = row
    rows = list(best.values())
    names = list(rows[0])
    columns = ", ".join(f'"{name}"' for name in names)
    full = f'"{schema}"."{table.name}"'
    conflict = "DO NOTHING"
    if newer:
        sets = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in keys)
        held = ", ".join(f'"{name}"' for name in keys)
        conflict = f'({held}) DO UPDATE SET {sets} WHERE t."{newer}" < excluded."{newer}"'
    # Names come from our own table declarations, values only from the parameter.
    await raw.execute(
        f"INSERT INTO {full} AS t ({columns}) SELECT {columns} "
        f"FROM json_populate_recordset(NULL::{full}, $1::json) ON CONFLICT {conflict}",
        orjson.dumps(rows, default=_plain, option=orjson.OPT_UTC_Z).decode(),
    )


def _plain(value: Any) -> Any:
    """What PostgreSQL's json_populate_recordset reads as a column's value, of what JSON has no form for."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()  # bytea's own form
    raise TypeError(f"{type(value).__name__} has no JSON form")
