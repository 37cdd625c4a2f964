"""What a command answers, kept as it was sent, so that a repeat gets the first answer to the byte.

Here and not with the doors, because the database stores answers and handlers make them, and neither knows of HTTP
servers. `shared.doors.problems` renders both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: `status`, `body` (JSON as bytes), `headers` beyond content type and length (`Location`)."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Repeated(Exception):
    """This was asked before under the same key; `answer` is what was said then. Raised out of `db.tx(once=...)`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("asked before under the same key")
        self.answer = answer
