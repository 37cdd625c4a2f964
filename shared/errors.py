"""Every way Daymark can say no, as one small tree.

The docstring of a class is its message's frame, and `type` is stable: other systems may rely on it.
Three families: the caller must change something (4xx), nobody must act but later (503), anything else is our bug (500).
Failing to measure is never here: that is a value, `Missing(reason)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class DaymarkError(Exception):
    """The root. `str(error)` is one plain sentence for the person who must act."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side."

    def __init__(self, detail: str = "", *, fields: Sequence[Mapping[str, Any]] = (), retry_after_s: int | None = None):
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.fields = tuple(fields)
        self.retry_after_s = retry_after_s


class Malformed(DaymarkError):
    """The request cannot be read at all: not JSON, not UTF-8, duplicate keys, too deep."""

    status, type, title = 400, "malformed", "The request cannot be read."


class Unauthenticated(DaymarkError):
    """No key, an unknown key, an expired or revoked one. All look the same from outside."""

    status, type, title = 401, "unauthenticated", "This needs a valid key."


class Forbidden(DaymarkError):
    """The principal is known and may not do this. Written to the audit record, alone."""

    status, type, title = 403, "forbidden", "You may not do this."


class NotFound(DaymarkError):
    """There is no such thing, or the caller may not know of it."""

    status, type, title = 404, "not-found", "There is no such thing here."


class Conflict(DaymarkError):
    """The thing is in a state in which this cannot happen, or another already has its name."""

    status, type, title = 409, "conflict", "This cannot happen now."


class Stale(Conflict):
    """The caller acted on an older revision than the present one."""

    type, title = "stale", "It has changed since you looked."


class Busy(Conflict):
    """A twin of this request, or another command on the same thing, is under way. Try again shortly."""

    type, title = "busy", "Another request is working on this."


class TooLarge(DaymarkError):
    """The body is over the limit of this door."""

    status, type, title = 413, "too-large", "The body is too large."


class UnsupportedMedia(DaymarkError):
    """This door does not read that content type."""

    status, type, title = 415, "unsupported-media-type", "This content type is not read here."


class Invalid(DaymarkError):
    """Readable, and wrong: a field is missing, unknown, out of range; `fields` says which and why."""

    status, type, title = 422, "invalid", "The request says something that cannot be."


class KeyReused(Invalid):
    """The same Idempotency-Key came with another body."""

    type, title = "idempotency-key-reused", "This Idempotency-Key was used for another request."


class Unavailable(DaymarkError):
    """Nobody must act, but not now: the database or a source does not answer."""

    status, type, title = 503, "unavailable", "Not now; please try again."


class TryLater(Exception):
    """Raised by a step that lacks context it will hear of later: the letter's key is parked, its neighbours go on."""


class Unreadable(Exception):
    """A letter nobody can read: dead letter at once, with the reason."""
