"""What the snapshotter's doors refuse: a clear 4xx, and nothing written but the record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.observing import House, snapshotter
from tests.servers.postgres import Databases

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        await made.begin()
        yield made


BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "nothing": (b"", JSON, 400),
    "no JSON": (b"{", JSON, 400),
    "no UTF-8": (b'{"product":"epl","reason":"\xff\xfe"}', JSON, 400),
    "a key twice": (b'{"product":"epl","product":"scp","reason":"abc"}', JSON, 400),
    "NUL": (b'{"product":"epl","reason":"ab\\u0000c"}', JSON, 400),
    "a lone surrogate": (b'{"product":"epl","reason":"ab\\ud800c"}', JSON, 400),
    "NaN": (b'{"product":"epl","reason":NaN}', JSON, 400),
    "too deep": (b'{"product":' + b"[" * 100 + b"]" * 100 + b"}", JSON, 400),
    "another type": (b'{"product":"epl","reason":"abc"}', {"content-type": "text/plain"}, 415),
    "a list": (b"[]", JSON, 422),
    "no subject": (b'{"reason":"an ordinary day"}', JSON, 422),
    "two subjects": (b'{"product":"epl","change_request":"CR-1","reason":"abc"}', JSON, 422),
    "no reason": (b'{"product":"epl"}', JSON, 422),
    "an empty reason": (b'{"product":"epl","reason":"   "}', JSON, 422),
    "a long reason": (b'{"product":"epl","reason":"' + b"x" * 1001 + b'"}', JSON, 422),
    "a number as reason": (b'{"product":"epl","reason":7}', JSON, 422),
    "an unknown field": (b'{"product":"epl","reason":"abc","window":"7d"}', JSON, 422),
    "a window of one's own": (b'{"product":"epl","reason":"abc","start":"2020-01-01T00:00:00Z"}', JSON, 422),
    "a path as subject": (b'{"change_request":"../../etc/passwd","reason":"abc"}', JSON, 422),
    "a query as subject": (b'{"product":"epl\' OR 1=1 --","reason":"abc"}', JSON, 422),
    "an unknown CR": (b'{"change_request":"CR-999","reason":"abc"}', JSON, 404),
    "an unknown product": (b'{"product":"nobody","reason":"abc"}', JSON, 404),
    "a product as CR": (b'{"change_request":"epl","reason":"abc"}', JSON, 404),
    "too much": (b'{"product":"epl","reason":"' + b"x" * 1_100_000 + b'"}', JSON, 413),
}


@pytest.mark.parametrize("what", BODIES)
async def test_a_bad_body_is_refused_and_leaves_nothing(house: House, what: str) -> None:
    body, headers, status = BODIES[what]
    before, asked = await house.tables(), len(house.prometheus.asked)
    answer = await house.client.post(
        "/snapshotter/v1/snapshots",
        content=body,
        headers={**house.headers("olga", f"k {what}".replace(" ", "-")), **headers},
    )
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert await house.tables() == before and len(house.prometheus.asked) == asked


PATHS: dict[str, int] = {
    "/snapshots/SNAP-0": 404,
    "/snapshots/SNAP-99999999999999999999999999": 404,
    "/snapshots/nothing": 404,
    "/snapshots/SNAP-1%00": 400,
    "/snapshots/SNAP-1%ff": 400,
    "/snapshots/" + "x" * 65: 422,
    "/snapshots/SNAP-1/series?format=xml": 422,
    "/snapshots/SNAP-1/series?points=1": 422,
    "/snapshots/SNAP-1/series?points=1e9": 422,
    "/snapshots/SNAP-1/series?with=SNAP-2%27": 422,
    "/snapshots/SNAP-1/series?with=SNAP-999": 404,
    "/snapshots/SNAP-999/series": 404,
    "/snapshots/SNAP-1/series?sli=": 404,
    "/snapshots/SNAP-1/series?sli=%00": 400,
    "/snapshots/SNAP-1/series?" + "&".join(f"sli=s{n}" for n in range(21)): 404,
    "/snapshots/SNAP-1/series?" + "&".join(f"sli={n}" for n in range(501)): 422,
    "/snapshots/SNAP-1/series?sli=latency'--": 404,
    "/snapshots?limit=0": 422,
    "/snapshots?limit=1e9": 422,
    "/snapshots?limit=99999999999999999999999": 422,
    "/snapshots?cursor=17": 422,
    "/snapshots?cursor=SNAP-%D9%A1": 422,
    "/snapshots?cursor=SNAP-99999999999999999999999": 422,
    "/snapshots?kind=sketch": 422,
    "/change-requests/CR-999/observation": 404,
    "/change-requests/epl/observation": 404,
    "/change-requests/%ED%A0%80/observation": 400,
}


@pytest.mark.parametrize("path", PATHS)
async def test_a_bad_question_is_refused(house: House, path: str) -> None:
    answer = await house.get(path)
    assert answer.status_code == PATHS[path], answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer dmk_nobody"}, {"authorization": "Basic b2xnYTo="}])
async def test_without_a_valid_key_nothing_is_told_or_done(house: House, headers: dict[str, str]) -> None:
    before = await house.tables()
    for path in (
        "/snapshots",
        "/snapshots/SNAP-1",
        "/snapshots/SNAP-1/series?sli=latency",
        "/change-requests/CR-1/observation",
    ):
        assert (await house.client.get(f"/snapshotter/v1{path}", headers=headers)).status_code == 401
    body = {"product": "epl", "reason": "abc"}
    assert (await house.client.post("/snapshotter/v1/snapshots", json=body, headers=headers)).status_code == 401
    assert await house.tables() == before


async def test_an_unusable_idempotency_key_is_refused(house: House) -> None:
    for once in ("", "x" * 201, "with space"):
        headers = {**house.headers("olga"), "idempotency-key": once}
        body: Any = {"product": "epl", "reason": "abc"}
        answer = await house.client.post("/snapshotter/v1/snapshots", json=body, headers=headers)
        assert answer.status_code == 400, once


async def test_a_lying_source_never_makes_a_benchmark(house: House) -> None:
    before = await house.tables()
    house.prometheus.failing = {"latency", "errors", "heap"}
    try:
        answer = await house.publish(product="epl")
    finally:
        house.prometheus.failing = set()
    assert answer.status_code == 503 and [f["path"] for f in answer.json()["fields"]] == ["latency", "errors", "heap"]
    assert await house.tables() == before
