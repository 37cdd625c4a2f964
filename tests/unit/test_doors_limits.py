"""What a stranger may cost us, counted on what arrives; and what every answer tells a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from fastapi import APIRouter, FastAPI, Form, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from shared.doors.limits import HTML_POLICY, MIB, Limits, limits
from shared.doors.problems import problems
from shared.doors.strict import StrictRoute


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI(openapi_url=None)
    problems(app)
    limits(app, body=1000, larger={"/v1/things/{id}/reports": 5000})
    router = APIRouter(route_class=StrictRoute, prefix="/v1")

    @router.post("/things")
    async def things(thing: dict[str, Any]) -> int:
        return len(thing)

    @router.post("/form")
    async def form(name: str = Form()) -> int:
        return len(name)

    @router.post("/things/{id}/reports")
    async def reports(id: str, request: Request) -> int:
        return len(await request.body())

    @router.post("/unread")
    async def unread() -> str:
        return "did not look"

    @router.get("/page")
    async def page() -> HTMLResponse:
        return HTMLResponse("<p>hello")

    @router.get("/own")
    async def own() -> PlainTextResponse:
        return PlainTextResponse(
            "x", headers={"Cache-Control": "max-age=60", "Content-Security-Policy": "default-src 'self'"}
        )

    @router.get("/bug")
    async def bug() -> None:
        raise RuntimeError("oh")

    @router.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"a", b"b"]))

    app.include_router(router)
    return TestClient(app)


@pytest.fixture
def quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def chunks(size: int) -> Iterator[bytes]:
    yield b'{"a": "'
    for _ in range(size // 100):
        yield b"x" * 100
    yield b'"}'


JSON = {"Content-Type": "application/json"}


def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_413(client: TestClient) -> None:
    fits = b'{"a": "' + b"x" * (1000 - 9) + b'"}'
    assert client.post("/v1/things", content=fits, headers=JSON).status_code == 200
    answer = client.post("/v1/things", content=fits + b" ", headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:daymark:problem:too-large")
    assert answer.headers["connection"] == "close" and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["instance"].endswith(answer.headers["x-request-id"])


@pytest.mark.parametrize("path", ["/v1/things", "/v1/form"])
def test_a_chunked_body_is_counted_as_it_comes(client: TestClient, path: str) -> None:
    media = "application/x-www-form-urlencoded" if path.endswith("form") else "application/json"
    answer = client.post(path, content=chunks(2000), headers={"Content-Type": media})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:daymark:problem:too-large")


def test_an_upload_has_its_own_limit_and_only_on_its_own_path(client: TestClient) -> None:
    assert client.post("/v1/things/CR-1/reports", content=b"x" * 5000).json() == 5000
    assert client.post("/v1/things/CR-1/reports", content=b"x" * 5001).status_code == 413
    assert client.post("/v1/things/CR-1/reports/more", content=b"x" * 5000).status_code == 413


def test_a_body_nobody_reads_is_refused_by_what_it_announces(client: TestClient) -> None:
    assert client.post("/v1/unread", content=b"x" * 1001).status_code == 413
    assert client.post("/v1/unread", content=b"x").status_code == 200


@pytest.mark.parametrize("path", ["/v1/x%00", "/v1/%ED%A0%80", "/v1/page?q=%00", "/v1/page?%ff=1"])
def test_an_address_no_column_could_hold_is_400(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:daymark:problem:malformed")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("path", ["/v1/page", "/v1/bug", "/nowhere", "/v1/stream", "/v1/own"])
def test_every_answer_tells_the_browser_what_not_to_do(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert len(answer.headers["x-request-id"]) == 32
    assert "default-src" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == ("max-age=60" if path.endswith("own") else "no-store")


def test_a_page_may_load_its_own_style_and_pictures_and_nothing_else(client: TestClient) -> None:
    assert client.get("/v1/page").headers["content-security-policy"] == HTML_POLICY
    assert client.get("/v1/own").headers["content-security-policy"] == "default-src 'self'"


async def answer_of(middleware: Limits, receive: Receive, path: str = "/") -> list[Message]:
    said: list[Message] = []

    async def send(message: Message) -> None:
        said.append(message)

    scope: Scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": []}
    await middleware(scope, receive, send)
    return said


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that swallows whatever goes wrong while it reads, as form parsers do."""
    try:
        while (await receive()).get("more_body"):
            pass
    except Exception:
        await PlainTextResponse("could not parse", 400)(scope, receive, send)
        return
    await PlainTextResponse("read")(scope, receive, send)


async def test_a_body_that_comes_too_slowly_is_408_and_the_connection_ends() -> None:
    async def receive() -> Message:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    started = asyncio.get_running_loop().time()
    said = await answer_of(Limits(reading, body=MIB, larger={}, receive_deadline_s=0.2), receive)
    assert 0.15 < asyncio.get_running_loop().time() - started < 1.0
    assert [each.get("status") for each in said] == [408, None]
    assert (b"connection", b"close") in said[0]["headers"]


async def test_an_endless_body_is_left_after_its_limit() -> None:
    sent = 0

    async def endless() -> AsyncIterator[Message]:
        while True:
            await asyncio.sleep(0)
            yield {"type": "http.request", "body": b"x" * MIB, "more_body": True}

    source = endless()

    async def receive() -> Message:
        nonlocal sent
        sent += 1
        return await anext(source)

    said = await answer_of(Limits(reading, body=2 * MIB, larger={}, receive_deadline_s=5), receive)
    assert said[0]["status"] == 413 and said[-1]["more_body"] is False
    assert sent < 50


async def test_a_slow_answer_to_a_whole_body_has_no_deadline() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["more_body"] is False
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.3)  # as a stream waits for its client to leave
        await PlainTextResponse("done")(scope, receive, send)

    messages = iter([{"type": "http.request", "body": b"x", "more_body": False}])

    async def receive() -> Message:
        for message in messages:
            return message
        return await asyncio.Event().wait()  # type: ignore[return-value]

    said = await answer_of(Limits(slow, body=MIB, larger={}, receive_deadline_s=0.1), receive)
    assert said[0]["status"] == 200
