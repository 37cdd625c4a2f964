"""What a command answers, kept as it was sent, so that a repeat gets the first answer to the byte.

Here and not with the doors, because the database stores answers and handlers make them, and neither knows of HTTP
servers. `shared.doors.problems` renders both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: `status`, `body` (JSON as bytes), `headers` beyond content type and length (`Location`)."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, value: Any, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
        """The answer that says `value`: a pydantic model, or what orjson can write (dicts, lists, times, UUIDs)."""
        if isinstance(value, BaseModel):
            return cls(status, value.model_dump_json().encode(), headers)
        return cls(status, orjson.dumps(value, default=_dumped), headers)


class Repeated(Exception):
    """This was asked before under the same key; `answer` is what was said then. Raised out of `db.tx(once=...)`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("asked before under the same key")
        self.answer = answer


def _dumped(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not something an answer can say")
