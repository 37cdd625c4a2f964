"""Headers as they are kept in a row between two buses: any bytes, in JSON that PostgreSQL takes.

`[name, text]`, the text being the bytes as latin-1; `[name, null, base64]` where they hold a NUL, which jsonb refuses.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

import orjson

from shared.contracts.envelope import Headers


def kept(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """The headers as a JSON text. A NUL or half a surrogate in a name cannot be kept and becomes U+FFFD."""
    return orjson.dumps([_entry(name, value or b"") for name, value in headers]).decode()


def _entry(name: str, value: bytes) -> list[str | None]:
    if "\0" in name or not name.isascii():
        name = name.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if b"\0" in value:
        return [name, None, base64.b64encode(value).decode()]
    return [name, value.decode("latin-1")]


def given_back(entries: Iterable[Sequence[str]]) -> Headers:
    """What `kept` was given, from the parsed JSON."""
    try:
        return tuple([(name, text.encode("latin-1")) for name, text in entries])
    except ValueError:  # some hold a NUL: hardly ever, so the others are spared the question
        return tuple([(e[0], e[1].encode("latin-1") if len(e) == 2 else base64.b64decode(e[2])) for e in entries])
