"""JSON as the house writes it: one canonical form for hashes, one plain form for rows and answers."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import orjson
from pydantic import BaseModel

from shared.errors import Invalid


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


def cursor(*parts: str | int) -> str:
    """An opaque place in a list, for the next page."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def from_cursor(given: str, *kinds: type) -> tuple[Any, ...]:
    """The parts of a cursor we gave. Raises Invalid for one we did not."""
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)))
    except (ValueError, binascii.Error):
        parts = None
    if not isinstance(parts, list) or [type(part) for part in parts] != list(kinds):
        raise Invalid("This cursor is not one we gave.", fields=[{"path": "cursor", "message": "unknown cursor"}])
    return tuple(parts)
