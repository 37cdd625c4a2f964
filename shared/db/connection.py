"""A connection that need not ask PostgreSQL what PostgreSQL's own types are."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import asyncpg

#: Types below this number are PostgreSQL's own, and the same in every server for good (FirstGenbkiObjectId).
_FIRST_OTHER = 10_000
_TOLD: dict[frozenset[int], Any] = {}


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """asyncpg's, which would ask on each new connection, at its first statement with an array and at some later ones:
    the dearest query that most connections ever make (10 to 20 ms of the server's time, as long as nothing else
    is slow). Here a process asks once."""

    async def _introspect_types(self, typeoids: Collection[int], timeout: float) -> tuple[Any, Any]:
        asked = frozenset(typeoids)
        if asked in _TOLD:
            return _TOLD[asked], SimpleNamespace(name="none was needed")
        told, statement = await super()._introspect_types(typeoids, timeout)
        if max(asked) < _FIRST_OTHER:
            _TOLD[asked] = told
        return told, statement
