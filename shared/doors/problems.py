"""Every no, said one way: RFC 9457 `application/problem+json`, at most 2 KB, never a stack, never SQL.

`type` is `urn:daymark:problem:<type of the error>` and stable; `instance` is `urn:daymark:request:<id>`, the id that
stands in `X-Request-Id` and, as trace id, in the logs and the traces.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import errors
from shared.answers import Answer, Repeated
from shared.errors import DaymarkError

_log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
BODY_LIMIT = 2048  #: bytes of a problem document, at most
_FIELDS_SHOWN = 12
_REQUEST_ID = "daymark.request_id"


def problems(app: FastAPI) -> None:
    """Install the one way of saying no on `app`, and the replay of stored answers (`Repeated`)."""
    handlers: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
        DaymarkError: _on_daymark_error,
        RequestValidationError: _on_validation_error,
        HTTPException: _on_http_exception,
        Repeated: _on_repeated,
        ClientDisconnect: _on_client_gone,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    # A slash too many is a 404: a redirect would name the host that the caller named, and a client takes its key there.
    app.router.redirect_slashes = False
    # Innermost, so that the doors around it still put their headers on a 500; and the stack is logged here, once.
    app.user_middleware.append(Middleware(_Unhandled))


def answered(answer: Answer, *, replay: bool = False) -> Response:
    """A stored or fresh answer as a response; `Idempotent-Replay: true` when it was given before."""
    response = Response(answer.body, answer.status, media_type="application/json")
    for name, value in answer.headers:
        response.headers[name] = value
    if replay:
        response.headers["Idempotent-Replay"] = "true"
    return response


def problem(error: DaymarkError, scope: Scope, *, headers: Mapping[str, str] | None = None) -> Response:
    """The problem document of `error`, for the request in `scope`."""
    sent = dict(headers or {})
    if error.retry_after_s is not None:
        sent["Retry-After"] = str(max(0, int(error.retry_after_s)))
    if error.status == 401:
        sent.setdefault("WWW-Authenticate", 'Bearer realm="daymark"')
    body = _document(
        status=error.status,
        type=error.type,
        title=error.title,
        detail=error.detail,
        fields=error.fields,
        instance=request_id(scope),
    )
    return Response(body, error.status, sent, MEDIA_TYPE)


def request_id(scope: Scope) -> str:
    """32 hex digits: the trace id where there is one, otherwise random; the same for the whole request."""
    known: str | None = scope.get(_REQUEST_ID)
    if known is None:
        context = trace.get_current_span().get_span_context()
        known = f"{context.trace_id:032x}" if context.is_valid else secrets.token_hex(16)
        scope[_REQUEST_ID] = known
    return known


def _document(
    *, status: int, type: str, title: str, detail: str, fields: Sequence[Mapping[str, Any]], instance: str
) -> bytes:
    shown = [{key: _text(value, 160) for key, value in field.items()} for field in fields[:_FIELDS_SHOWN]]
    document: dict[str, Any] = {
        "type": f"urn:daymark:problem:{type}",
        "title": title,
        "status": status,
        "detail": _text(detail, 600),
        "instance": f"urn:daymark:request:{instance}",
    }
    if shown:
        document["fields"] = shown
    body = orjson.dumps(document)
    while len(body) > BODY_LIMIT and shown:  # control characters grow sixfold when escaped
        shown.pop()
        body = orjson.dumps(document)
    if len(body) > BODY_LIMIT:
        document["detail"] = _text(detail, 120)
        body = orjson.dumps(document)
    return body


def _text(value: Any, limit: int) -> Any:
    """At most `limit` characters that can be written as UTF-8: input may hold lone surrogates, and is never echoed."""
    if value is None or isinstance(value, bool | int):
        return value
    text = str(value)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text.encode("utf-8", "replace").decode()


# Those that mean a status in general; the others (Stale, Busy, KeyReused) are special cases of these.
_BY_STATUS: dict[int, type[DaymarkError]] = {
    kind.status: kind
    for kind in (
        errors.Malformed,
        errors.Unauthenticated,
        errors.Forbidden,
        errors.NotFound,
        errors.Conflict,
        errors.TooLarge,
        errors.UnsupportedMedia,
        errors.Invalid,
        errors.Unavailable,
    )
}

_OTHERS: dict[int, tuple[str, str]] = {
    405: ("method-not-allowed", "This method is not for this path."),
    406: ("not-acceptable", "This is not offered in that form."),
    408: ("too-slow", "The request did not arrive in time."),
    429: ("too-many-requests", "Too many requests; please slow down."),
    431: ("headers-too-large", "The headers are too large."),
}


def _as_daymark_error(status: int, detail: str = "") -> DaymarkError:
    known = _BY_STATUS.get(status)
    if known is not None:
        return known(detail)
    if status >= 500:
        return DaymarkError()
    kind, title = _OTHERS.get(status, (f"http-{status}", "This cannot be answered."))
    error = DaymarkError(detail or title)
    error.status, error.type, error.title = status, kind, title  # type: ignore[misc]  # a one-off, not a class of ours
    return error


class TooSlow(DaymarkError):
    """The body did not arrive in time; the connection is closed."""

    status, type, title = 408, *_OTHERS[408]


async def _on_daymark_error(request: Request, error: DaymarkError) -> Response:
    if error.status >= 500 and type(error) is not errors.Unavailable:
        _log.error("request failed", path=request.url.path, exc_info=error)
        return problem(DaymarkError(), request.scope)  # what went wrong on our side is for the log alone
    return problem(error, request.scope)


async def _on_validation_error(request: Request, error: RequestValidationError) -> Response:
    found = error.errors()
    if found and found[0].get("type") == "json_invalid":
        return problem(errors.Malformed("The body is not JSON."), request.scope)
    fields = [
        {"path": _path(each.get("loc", ())), "message": str(each.get("msg", "is wrong"))}
        for each in found[:_FIELDS_SHOWN]
    ]
    count = len(found)
    detail = f"{count} things are wrong; see fields." if count > 1 else "One thing is wrong; see fields."
    return problem(errors.Invalid(detail, fields=fields), request.scope)


def _path(loc: Sequence[Any]) -> str:
    """`body.rules.0.sli`: where it was found and the way down. A key of the caller's own is cut short."""
    return ".".join(_text(str(part), 60) for part in loc[:10]) or "body"


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    detail = error.detail if isinstance(error.detail, str) else ""
    if error.status_code in (404, 405):
        detail = ""  # Starlette's own words say no more than the title
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    return problem(_as_daymark_error(error.status_code, detail), request.scope, headers=error.headers)


async def _on_repeated(request: Request, error: Repeated) -> Response:
    return answered(error.answer, replay=True)


async def _on_client_gone(request: Request, error: ClientDisconnect) -> Response:
    return problem(errors.Malformed("The body ended early."), request.scope)  # read by nobody; keeps the log quiet


class _Unhandled:
    """Whatever nobody expected is our bug: 500, the stack to the log, nothing of it to the caller."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_started = False

        async def noting(message: Message) -> None:
            nonlocal is_started
            is_started = is_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except (DaymarkError, HTTPException):
            raise  # from a middleware of ours further in, or a response that had begun
        except Exception as error:
            _log.error("unhandled", path=scope.get("path", ""), request_id=request_id(scope), exc_info=error)
            if is_started:
                raise  # the server must cut the connection, so that half an answer is not taken for a whole one
            await problem(DaymarkError(), scope)(scope, receive, noting)
