"""What FastAPI cannot know of our doors, added to the OpenAPI document: how every no looks, and the Idempotency-Key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

#: `GET /intake/v1/releases` -> {"request": what was asked, "answers": {"200": what was answered}}
Examples = Mapping[str, Mapping[str, Any]]

_PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "Every no, as RFC 9457 has it. `type` is stable: decide by it, not by the words.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "description": "`urn:daymark:problem:` and the kind of problem"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence for a person."},
        "instance": {"type": "string", "description": "Names this request in our log: say it when you ask about it."},
        "fields": {
            "type": "array",
            "description": "Which fields are wrong, and why.",
            "items": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
    "examples": [
        {
            "type": "urn:daymark:problem:invalid",
            "title": "The request says something that cannot be.",
            "status": 422,
            "detail": "One thing is wrong; see fields.",
            "instance": "urn:daymark:request:3efbfe4c6e6f0a7c9be1d2aa4f1c5e07",
            "fields": [{"path": "body.title", "message": "String should have at least 1 character"}],
        }
    ],
}
_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_ONCE: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
    "description": "Send one, and the same one when you try again: the first answer comes again (`Idempotent-Replay: true`)"
    " and nothing happens twice. It is yours alone; with another body it is 422 `idempotency-key-reused`.",
}
_EVENTS = {
    "Daymark-Events": {
        "schema": {"type": "string"},
        "description": "Ids of the facts that this said; `GET /reviewer/v1/gate/{cr_id}?heard=` waits for one.",
    }
}
_ANY = {
    "400": "It cannot be read.",
    "401": "No valid key.",
    "503": "It cannot be done now, and nothing was changed; try again after `Retry-After`.",
}
_WITH_BODY = {"413": "The body is too large.", "415": "The content type is not read here."}


def described(app: FastAPI) -> None:
    """Let `app.openapi()` tell of problems, repeats and events as well."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def exemplified(app: FastAPI, examples: Examples) -> None:
    """Let `app.openapi()` show, at each operation, what was once really asked and answered there."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        for path, methods in document.get("paths", {}).items():
            for method, operation in methods.items():
                _exemplify(operation, examples.get(f"{method.upper()} {path}", {}))
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _exemplify(operation: dict[str, Any], example: Mapping[str, Any]) -> None:
    asked = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if asked is not None and "request" in example and not asked.keys() & {"example", "examples"}:
        asked["example"] = example["request"]
    for status, answered in example.get("answers", {}).items():
        content = operation["responses"].get(status, {}).get("content", {}).get("application/json")
        if content is not None and not content.keys() & {"example", "examples"}:
            content["example"] = answered


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    for path, methods in document.get("paths", {}).items():
        if "/v1/" in path:
            for method, operation in methods.items():
                _complete(method, operation)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own words for a no, which we never say
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM
    return document


def _complete(method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    for status, words in {**_ANY, **(_WITH_BODY if "requestBody" in operation else {})}.items():
        responses.setdefault(status, {"description": words})
    for status, response in responses.items():
        if status[0] in "45":
            response["content"] = _CONTENT
            if response.get("description") == "Validation Error":
                response["description"] = "Readable and wrong: `fields` says which and why."
        elif method != "get":
            response["headers"] = {**_EVENTS, **response.get("headers", {})}
    if method == "post":
        operation.setdefault("parameters", []).append(_ONCE)
