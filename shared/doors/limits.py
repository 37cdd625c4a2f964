"""What a stranger may cost us: bytes, seconds; and what every answer tells a browser not to do.

Pure ASGI, so that a body is counted as it is received (chunked ones too) and nothing is buffered twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from re import Pattern

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.doors.problems import TooSlow, problem, request_id
from shared.doors.server import uvicorn_settings
from shared.doors.strict import refuse_bad_target
from shared.errors import DaymarkError, TooLarge

__all__ = ["HTML_POLICY", "MIB", "Limits", "limits", "uvicorn_settings"]

MIB = 1024 * 1024
HTML_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Without these a client that is still sending is reset before it can read why it was refused.
_LINGER_S = 1.0
_LINGER_BYTES = 32 * MIB


def limits(
    app: FastAPI, *, body: int = MIB, larger: Mapping[str, int] | None = None, receive_deadline_s: float = 15.0
) -> None:
    """Put the limits around `app`; call after `problems(app)` and before any other middleware is to be outside.

    `body` is the limit in bytes; `larger` maps path templates (`/intake/v1/change-requests/{id}/test-results`) to
    theirs. Over it: 413. A body that is not whole after `receive_deadline_s`: 408, and the connection is closed.
    """
    app.user_middleware.insert(
        0, Middleware(Limits, body=body, larger=dict(larger or {}), receive_deadline_s=receive_deadline_s)
    )


class Limits:
    """The middleware itself. Headers an app has set are left as they are."""

    def __init__(self, app: ASGIApp, *, body: int, larger: Mapping[str, int], receive_deadline_s: float) -> None:
        self.app = app
        self.body = body
        self.larger: list[tuple[Pattern[str], int]] = [(compile_path(path)[0], most) for path, most in larger.items()]
        self.receive_deadline_s = receive_deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        id = request_id(scope)
        is_started = False
        refused: DaymarkError | None = None

        async def sending(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                if refused is not None:
                    return  # what the app makes of a body it could not read is not the reason
                is_started = True
                _add_headers(message, id)
            elif not is_started:
                return
            await send(message)

        most = self._limit(scope["path"])
        received = 0
        is_whole = False
        deadline: float | None = None

        async def receiving() -> Message:
            nonlocal received, is_whole, deadline, refused
            if is_whole:
                return await receive()  # waits for the client to leave, for as long as the answer takes
            if refused is not None:
                raise refused
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + self.receive_deadline_s
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                refused = TooSlow(f"The body was not here after {self.receive_deadline_s:g} s.")
                raise refused from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                is_whole = not message.get("more_body", False)
            if received > most:
                refused = _too_large(most)
                raise refused
            return message

        try:
            refuse_bad_target(scope)
            if _announced(scope) > most:
                raise _too_large(most)
        except DaymarkError as error:
            refused = error
        else:
            try:
                await self.app(scope, receiving, sending)
            except Exception:
                if refused is None or is_started:
                    raise
        if refused is not None and not is_started:
            await _refuse(refused, scope, receive, send, id, is_whole=is_whole)

    def _limit(self, path: str) -> int:
        for pattern, most in self.larger:
            if pattern.match(path):
                return most
        return self.body


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"This takes at most {most} bytes.")


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0


def _add_headers(message: Message, id: str) -> None:
    headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
    present = {name.lower(): value for name, value in headers}
    is_html = present.get(b"content-type", b"").startswith(b"text/html")
    for name, value in (
        (b"x-content-type-options", b"nosniff"),
        # Not no-referrer: browsers would then send `Origin: null` with our own forms.
        (b"referrer-policy", b"same-origin"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
        (b"content-security-policy", (HTML_POLICY if is_html else _DATA_POLICY).encode()),
        (b"x-request-id", id.encode()),
    ):
        if name not in present:
            headers.append((name, value))
    message["headers"] = headers


async def _refuse(error: DaymarkError, scope: Scope, receive: Receive, send: Send, id: str, *, is_whole: bool) -> None:
    """Say it, close; listen a moment to a client that is still sending, else it never reads what we said."""
    answer = problem(error, scope, headers={"Connection": "close"})
    start: Message = {"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers}
    _add_headers(start, id)
    await send(start)
    is_lingering = isinstance(error, TooLarge) and not is_whole
    await send({"type": "http.response.body", "body": bytes(answer.body), "more_body": is_lingering})
    if not is_lingering:
        return
    heard = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while heard < _LINGER_BYTES:
                message = await receive()
                heard += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
    await send({"type": "http.response.body", "body": b"", "more_body": False})
