"""JSON as the house writes it: one canonical form for hashes, one plain form for rows and answers."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from pydantic import BaseModel


def _more(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def dumps(value: Any) -> bytes:
    """UTF-8 JSON; pydantic models, sets, dates, UUIDs and dataclasses included. Raises TypeError for anything else."""
    return orjson.dumps(value, default=_more, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


def digest(value: Any) -> str:
    """SHA-256 over the canonical form (sorted keys, no spaces): the same content gives the same digest anywhere."""
    raw = orjson.dumps(value, default=_more, option=orjson.OPT_UTC_Z | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(raw).hexdigest()
