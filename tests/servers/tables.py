"""Every row there is, asked for at once: what must be the same before and after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

#: asyncpg's `fetch`, or anything like it.
Fetch = Callable[..., Awaitable[Sequence[Any]]]
_NAMES = (
    "SELECT n.nspname AS s, c.relname AS n FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY($1) AND c.relname <> ALL($2)"
    " AND c.relname NOT LIKE 'daymark.dead.%' AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1, 2"
)


async def every_row(fetch: Fetch, *schemas: str, besides: Sequence[str] = ()) -> dict[str, list[str]]:
    """`schema.table` -> its rows as text, sorted, of all tables but `besides`; of an outbox without dead letters."""
    names = [(row["s"], row["n"]) for row in await fetch(_NAMES, list(schemas), list(besides))]
    kept: dict[str, list[str]] = {f"{schema}.{name}": [] for schema, name in names}
    looks = []
    for schema, name in names:
        less = " WHERE topic NOT LIKE 'daymark.dead.%'" if name == "outbox" else ""
        looks.append(f"SELECT '{schema}.{name}' AS at, t::text AS t FROM {schema}.\"{name}\" t{less}")
    for row in await fetch(" UNION ALL ".join(looks) + " ORDER BY 1, 2"):
        kept[row["at"]].append(row["t"])
    return kept
