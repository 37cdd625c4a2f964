"""What those who run a service ask it; open to strangers are health, readiness and version, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, FastAPI, Header, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

from shared.doors import ops as ops_module
from shared.doors.docs import docs_page
from shared.doors.limits import limits
from shared.doors.ops import ops
from shared.doors.problems import problems
from shared.doors.strict import StrictRoute
from shared.errors import Unauthenticated


class Part(BaseModel):
    """A part, which may hold `others`."""

    name: str = Field(max_length=40, description="What it is called <b>here</b>.")
    inside: list[Part] = []
    notes: dict[str, int] = {}


class Thing(BaseModel):
    id: str = Field(examples=["CR-1"])
    part: Part | None = None


async def key(authorization: Annotated[str, Header()] = "") -> None:
    if authorization != "Bearer right":
        raise Unauthenticated


def made(ready: Callable[[], Any], version: Callable[[], Any] | None = None) -> TestClient:
    app = FastAPI(openapi_url=None, title="Daymark intake", version="1.2.3", description="Takes `CRs`.")
    problems(app)
    limits(app)

    async def known() -> dict[str, Any]:
        return {"version": "1.2.3", "clock": "movable"}

    ops(app, "intake", ready=ready, version=version or known, metrics=lambda: b"daymark_x 1\n", key=key)
    router = APIRouter(route_class=StrictRoute, prefix="/intake/v1", tags=["things"])

    @router.post("/things/{id}", status_code=201, summary="Make a thing")
    async def make(
        id: str,
        thing: Annotated[
            Thing, Body(openapi_examples={"plain": {"summary": "A plain one", "value": {"id": "</pre><script>"}}})
        ],
        limit: Annotated[int, Query(le=100, description="How many")] = 10,
    ) -> Thing:
        """Makes it.

        And `says` so.
        """
        return thing

    app.include_router(router)
    return TestClient(app)


async def fine() -> dict[str, str | None]:
    return {"database": None, "bus": None}


RIGHT = {"Authorization": "Bearer right"}


def test_a_service_that_can_work_says_so_to_anybody() -> None:
    client = made(fine)
    assert client.get("/intake/healthz").json() == {"status": "alive"}
    answer = client.get("/intake/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "checks": {"database": "ok", "bus": "ok"}})
    assert client.get("/intake/version").json() == {"service": "intake", "version": "1.2.3", "clock": "movable"}


def test_one_failing_check_is_503_and_named() -> None:
    async def ready() -> dict[str, str | None]:
        return {"database": None, "bus": "no broker answers"}

    answer = made(ready).get("/intake/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "checks": {"database": "ok", "bus": "no broker answers"}}
    assert made(ready).get("/intake/healthz").status_code == 200


def test_a_check_that_hangs_is_503_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops_module, "_ASKING_LIMIT_S", 0.1)

    async def hangs() -> dict[str, str | None]:
        await asyncio.sleep(60)
        return {}

    client = made(hangs, version=hangs)
    assert client.get("/intake/readyz").status_code == 503
    assert client.get("/intake/version").status_code == 503


def test_a_check_that_breaks_is_503_without_its_words() -> None:
    async def breaks() -> dict[str, str | None]:
        raise RuntimeError("postgresql://user:secret@host")

    answer = made(breaks).get("/intake/readyz")
    assert answer.status_code == 503 and "secret" not in answer.text


async def test_a_crowd_asks_once() -> None:
    asked = 0

    async def count() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return {}

    question = ops_module._Asked(count)
    await asyncio.gather(*(question() for _ in range(100)))
    assert asked == 1


@pytest.mark.parametrize("path", ["metrics", "openapi.json", "docs"])
def test_metrics_and_documentation_need_a_key(path: str) -> None:
    client = made(fine)
    assert client.get(f"/intake/{path}").status_code == 401
    assert client.get(f"/intake/{path}", headers=RIGHT).status_code == 200
    for elsewhere in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(elsewhere, headers=RIGHT).status_code == 404


def test_metrics_are_what_prometheus_reads() -> None:
    answer = made(fine).get("/intake/metrics", headers=RIGHT)
    assert answer.text == "daymark_x 1\n" and answer.headers["content-type"].startswith("text/plain; version=0.0.4")


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.wanted: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value or "")
            elif name in ("href", "src"):
                self.wanted.add(value or "")


def test_the_documentation_is_readable_without_script_or_network() -> None:
    answer = made(fine).get("/intake/docs", headers=RIGHT)
    page = Links()
    page.feed(answer.text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.wanted - {"openapi.json"} == {link for link in page.wanted if link.startswith("#")}
    assert {link[1:] for link in page.wanted if link.startswith("#")} <= page.ids
    for said in (
        "/intake/v1/things/{id}",
        "Make a thing",
        "How many",
        "maximum 100",
        "A plain one",
        "CR-1",
        "maxLength",
    ):
        assert said in answer.text
    assert "<code>says</code>" in answer.text and "&lt;b&gt;here&lt;/b&gt;" in answer.text
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]


def test_the_documentation_is_made_once() -> None:
    app: Any = made(fine).app
    assert docs_page(app) is docs_page(app)


def test_the_document_tells_of_problems_repeats_and_facts() -> None:
    document = made(fine).get("/intake/openapi.json", headers=RIGHT).json()
    making = document["paths"]["/intake/v1/things/{id}"]["post"]
    assert "Idempotency-Key" in [each["name"] for each in making["parameters"]]
    assert "Daymark-Events" in making["responses"]["201"]["headers"]
    for status in ("400", "401", "413", "415", "422", "503"):
        schema = making["responses"][status]["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}
    assert "HTTPValidationError" not in str(document) and "Problem" in document["components"]["schemas"]
