"""Every no is one small problem document with a stable type, and tells nothing it should not."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from fastapi import APIRouter, FastAPI, HTTPException, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel, ConfigDict, Field

from shared.answers import Answer, Repeated
from shared.doors.problems import BODY_LIMIT, answered, problems
from shared.doors.strict import StrictRoute
from shared.errors import Conflict, DaymarkError, Invalid, KeyReused, NotFound, Stale, Unauthenticated, Unavailable
from shared.telemetry import configure_logs


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=5)
    share: float = 0.0
    parts: list[dict[str, int]] = []


RAISES: dict[str, Exception] = {
    "not-found": NotFound("CR-1 is not here."),
    "conflict": Conflict("CR-1 is withdrawn."),
    "stale": Stale(),
    "idempotency-key-reused": KeyReused(),
    "unauthenticated": Unauthenticated(),
    "invalid": Invalid("no", fields=[{"path": "body.a", "message": "m" * 5000}] * 50),
    "unavailable": Unavailable("The database does not answer.", retry_after_s=3),
    "internal": DaymarkError("SELECT secret FROM keys"),
    "http-418": HTTPException(418, "teapot"),
    "forbidden": HTTPException(403, "go away"),
    "too-many-requests": HTTPException(429, headers={"Retry-After": "7"}),
}


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI(openapi_url=None)
    problems(app)
    router = APIRouter(route_class=StrictRoute)

    @router.get("/raise/{kind}")
    async def raising(kind: str) -> None:
        raise RAISES[kind]

    @router.get("/bug")
    async def bug() -> None:
        raise RuntimeError("SELECT secret FROM keys WHERE id = 'x'")

    @router.get("/surrogate")
    async def surrogate() -> None:
        raise NotFound("\ud800\x00\x1b" * 900)

    @router.get("/repeated")
    async def repeated() -> None:
        raise Repeated(Answer(201, b'{"id":"CR-1"}', (("Location", "/v1/CR-1"),)))

    @router.get("/fresh")
    async def fresh() -> Any:
        return answered(Answer(201, b'{"id":"CR-1"}'))

    @router.post("/things")
    async def things(thing: Thing) -> Thing:
        return thing

    @router.get("/list")
    async def listing(limit: int = Query(le=100)) -> int:
        return limit

    app.include_router(router)
    return TestClient(app)


def read(answer: Any) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) <= BODY_LIMIT
    found: dict[str, Any] = answer.json()
    assert found["status"] == answer.status_code
    assert found["instance"].startswith("urn:daymark:request:")
    assert found["title"] and found["detail"]
    return found


@pytest.mark.parametrize("kind", RAISES)
def test_each_error_has_its_type_and_a_small_body(client: TestClient, kind: str) -> None:
    answer = client.get(f"/raise/{kind}")
    assert read(answer)["type"] == f"urn:daymark:problem:{kind}"
    assert answer.status_code == getattr(RAISES[kind], "status", getattr(RAISES[kind], "status_code", 0))
    assert "SELECT" not in answer.text


def test_when_to_come_back_and_how_to_sign_in_stand_in_the_headers(client: TestClient) -> None:
    assert client.get("/raise/unavailable").headers["retry-after"] == "3"
    assert client.get("/raise/too-many-requests").headers["retry-after"] == "7"
    assert client.get("/raise/unauthenticated").headers["www-authenticate"].startswith("Bearer")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    out = io.StringIO()
    before = list(logging.getLogger().handlers)
    configure_logs(stream=out, plain=False)
    yield out
    logging.getLogger().handlers[:] = before
    structlog.reset_defaults()


def test_a_bug_is_500_without_stack_or_sql_which_stand_in_the_log(client: TestClient, lines: io.StringIO) -> None:
    answer = client.get("/bug")
    (line,) = [json.loads(each) for each in lines.getvalue().splitlines()]
    assert "RuntimeError: SELECT secret" in line["exception"]
    assert line["request_id"] == answer.json()["instance"].rpartition(":")[2]
    assert answer.status_code == 500
    assert read(answer)["type"] == "urn:daymark:problem:internal"
    assert "SELECT" not in answer.text and "Traceback" not in answer.text and "RuntimeError" not in answer.text


def test_an_unknown_path_and_a_wrong_method_are_problems_too(client: TestClient) -> None:
    assert read(client.get("/nowhere"))["type"] == "urn:daymark:problem:not-found"
    answer = client.delete("/fresh")
    assert read(answer)["type"] == "urn:daymark:problem:method-not-allowed"
    assert answer.headers["allow"] == "GET"


def test_a_wrong_field_is_named_by_its_path_and_never_echoed(client: TestClient) -> None:
    found = read(client.post("/things", json={"name": "x" * 100_000, "share": "a", "parts": [{"n": "b" * 9999}]}))
    assert found["type"] == "urn:daymark:problem:invalid" and found["status"] == 422
    assert [field["path"] for field in found["fields"]] == ["body.name", "body.share", "body.parts.0.n"]
    assert all(field["message"] for field in found["fields"])
    assert "xxxx" not in str(found) and "bbbb" not in str(found)


def test_ten_thousand_wrong_fields_are_a_small_answer(client: TestClient) -> None:
    found = read(client.post("/things", json={"name": "a"} | {f"\x01\U0001f642{n}" * 50: n for n in range(10_000)}))
    assert 1 <= len(found["fields"]) <= 12


def test_a_wrong_query_is_named(client: TestClient) -> None:
    assert read(client.get("/list", params={"limit": "1" * 5000}))["fields"][0]["path"] == "query.limit"
    assert read(client.get("/list", params={"limit": 101}))["fields"][0]["path"] == "query.limit"


def test_text_that_is_not_text_is_still_a_problem_document(client: TestClient) -> None:
    assert read(client.get("/surrogate"))["status"] == 404


def test_a_repeat_gets_the_first_answer_and_says_so(client: TestClient) -> None:
    answer = client.get("/repeated")
    assert (answer.status_code, answer.content) == (201, b'{"id":"CR-1"}')
    assert answer.headers["location"] == "/v1/CR-1" and answer.headers["idempotent-replay"] == "true"
    assert answer.headers["content-type"] == "application/json"
    assert "idempotent-replay" not in client.get("/fresh").headers
