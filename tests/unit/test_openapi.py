"""What a stranger needs to integrate without asking: read from the OpenAPI documents of all four services."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shared.settings import SERVICES

AGAIN = "run `python -m tests.examples`"
#: Nothing is shown of an answer that is no JSON, or of a body that is a form or a report.
PLAIN = "application/json"
PICTURES = {"GET /snapshotter/v1/change-requests/{id}/explanation"}  #: answers that are no JSON
ROOT = Path(__file__).parents[2]


@cache
def document(service: str) -> dict[str, Any]:
    made: dict[str, Any] = importlib.import_module(f"services.{service}.app").build().openapi()
    return made


def operations() -> Iterator[tuple[str, str, str]]:
    for service in SERVICES:
        for path, methods in document(service)["paths"].items():
            yield from ((service, method, path) for method in methods)


ALL = list(operations())


def the(service: str, method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = document(service)["paths"][path][method]
    return found


def shows(service: str, content: dict[str, Any]) -> bool:
    """Whether an example stands with a body or with its schema."""
    schema = content.get("schema", {})
    if "$ref" in schema:
        schema = document(service)["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return any(name in where for name in ("example", "examples") for where in (content, schema))


@pytest.mark.parametrize(("service", "method", "path"), ALL)
def test_an_operation_says_what_it_does_and_what_it_may_answer(service: str, method: str, path: str) -> None:
    operation = the(service, method, path)
    assert operation.get("summary"), "a line for the table of contents"
    assert len(operation.get("description", "")) >= 20, "a sentence or two for who has never seen it"
    assert all(answer.get("description") for answer in operation["responses"].values())
    for parameter in operation.get("parameters", ()):
        assert parameter.get("description") or parameter["in"] == "path", f"what is {parameter['name']}?"
    if "/v1/" not in path:
        return
    refusals = {"400", "401", "503"} | ({"404"} if "{" in path and method != "put" else set())
    refusals |= {"403", "422"} if method != "get" else set()
    assert refusals <= operation["responses"].keys()
    names = [each["name"] for each in operation.get("parameters", ())]
    assert method != "post" or "Idempotency-Key" in names


@pytest.mark.parametrize(("service", "method", "path"), ALL)
def test_an_operation_shows_what_was_once_asked_and_answered(service: str, method: str, path: str) -> None:
    operation = the(service, method, path)
    asked = operation.get("requestBody", {}).get("content", {})
    assert not asked or any(shows(service, content) for content in asked.values()), AGAIN
    good = {status: answer for status, answer in operation["responses"].items() if status[0] == "2"}
    bodies = [answer["content"][PLAIN] for answer in good.values() if PLAIN in answer.get("content", {})]
    assert not bodies or any(shows(service, content) for content in bodies), AGAIN


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_shown_was_recorded_and_has_the_shape_that_is_answered_today(service: str) -> None:
    recorded = json.loads((ROOT / "services" / service / "examples.json").read_text())
    asked_for = {f"{method.upper()} {path}" for of, method, path in ALL if of == service}
    assert recorded.keys() == asked_for - PICTURES, AGAIN
    for operation, example in recorded.items():
        method, path = operation.split(" ")
        for status, answer in example["answers"].items():
            described = the(service, method.lower(), path)["responses"][status].get("content", {}).get(PLAIN, {})
            assert not list(strays(service, described.get("schema", {}), answer, f"{operation} {status}")), AGAIN


def strays(service: str, schema: dict[str, Any], shown: Any, where: str) -> Iterator[str]:
    """Fields of an answer that its schema does not have, or that it has not and the schema promises."""
    if "$ref" in schema:
        schema = document(service)["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if shown is not None and (one_of := schema.get("anyOf")):
        found = [list(strays(service, each, shown, where)) for each in one_of if each.get("type") != "null"]
        yield from min(found, key=len)
    elif isinstance(shown, dict) and (fields := schema.get("properties")):
        promised = set(schema.get("required", ()))
        yield from (f"{where}.{name}" for name in (shown.keys() - fields.keys()) | (promised - shown.keys()))
        for name in shown.keys() & fields.keys():
            yield from strays(service, fields[name], shown[name], f"{where}.{name}")
    elif isinstance(shown, list):
        for each in shown:
            yield from strays(service, schema.get("items", {}), each, where)
