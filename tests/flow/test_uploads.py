"""Readings that come as a file, from the door to the benchmark that a deploy is held against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from services.snapshotter.handlers.judging import is_uploaded
from shared.contracts import BenchmarkDrafted, BenchmarkPublished, ObservationClosed
from tests.observing import House, snapshotter
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)
REASON = "exported by hand from the old monitoring"


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        await made.policy()
        await made.registered()
        yield made


async def send(
    house: House, raw: bytes, who: str = "olga", media: str = "text/csv", once: str | None = None, **query: Any
) -> httpx2.Response:
    query = {"product": "epl", "reason": REASON, **query}
    headers = {**house.headers(who, once), "content-type": media}
    return await house.client.post("/snapshotter/v1/uploads", params=query, content=raw, headers=headers)


async def exported(house: House, *slis: str) -> tuple[datetime, bytes]:
    """What the sources would have said of the last 24 hours, as CSV."""
    body = {"product": "epl", "reason": "to be exported"}
    draft = (await house.client.post("/snapshotter/v1/drafts", json=body, headers=house.headers("olga"))).json()
    path = f"/snapshots/{draft['id']}/series?" + "&".join(f"sli={sli}" for sli in slis)
    series = (await house.get(path)).json()["series"]
    end = datetime.fromisoformat(draft["window"]["end"])
    start_s = (end - DAY).timestamp()
    rows = [
        f"{one['sli']},{start_s + 300 * step:.0f},{'' if value is None else repr(value)}"
        for one in series
        for step, value in enumerate(one["values"])
    ]
    return end, "\n".join(["sli,time,value", *rows, ""]).encode()


async def test_a_file_becomes_a_draft_and_then_the_benchmark_that_a_deploy_is_held_against(house: House) -> None:
    end, raw = await exported(house, "latency", "errors")
    before = await house.tables()
    for who, status in (("ada", 403), ("stranger", 403)):
        assert (await send(house, raw, who)).status_code == status
    assert await house.tables() == before
    answer = await send(house, raw, once="u1", window_end=end.isoformat())
    assert answer.status_code == 202 and answer.json()["state"] == "waiting", answer.text
    assert (await send(house, raw, once="u1", window_end=end.isoformat())).content == answer.content
    place = answer.headers["location"].removeprefix("/snapshotter/v1")
    await house.worker.drain()
    view = (await house.get(place)).json()
    assert (view["state"], view["samples"], view["problems"]) == ("drafted", 576, [])
    assert (await house.get(place, "stranger")).status_code == 404
    assert [row["body"] for row in await house.rows("SELECT body FROM uploads")] == [None]
    drafted = (await house.said(BenchmarkDrafted))[-1]
    assert (drafted.origin, drafted.drafted_by, drafted.health.state) == ("uploaded", "local|olga", "good")
    assert [(m.sli, m.reason) for m in drafted.missing] == [("heap", "not in the file that was uploaded")]
    draft = (await house.get(f"/snapshots/{view['draft']}")).json()
    assert all(is_uploaded(reading["source"]) for reading in draft["readings"])
    headers, body = house.headers("olga"), {"reason": REASON}
    path = f"/snapshotter/v1/drafts/{view['draft']}/publish"
    assert (await house.client.post(path, json=body, headers=headers)).status_code == 201
    assert (await house.said(BenchmarkPublished))[-1].origin == "uploaded"
    at = await house.deployed()
    await house.go_to(at + DAY)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "steady", closed.sentence
    assert {c.sli: c.outcome for c in closed.comparisons} == {
        "latency": "steady",
        "errors": "steady",
        "heap": "no_data",
    }


async def test_one_wrong_row_refuses_the_file_and_each_is_named(house: House) -> None:
    end, raw = await exported(house, "latency")
    wrong = raw + f"nothing,{end.timestamp() - 300:.0f},1\nlatency,{end.timestamp():.0f},2\n".encode()
    answer = await send(house, wrong, window_end=end.isoformat(), change_request="CR-1", product=None)
    assert answer.status_code == 422  # httpx sends an empty product: two subjects
    answer = await send(house, wrong, window_end=end.isoformat())
    drafts = len(await house.said(BenchmarkDrafted))
    await house.worker.drain()
    view = (await house.get(f"/uploads/{answer.json()['id']}")).json()
    assert (view["state"], view["draft"], view["problems_total"]) == ("refused", None, 2)
    assert [(p["where"], p["reason"]) for p in view["problems"]] == [
        ("row 290", "the policy has no SLI 'nothing'"),
        ("row 291", "the time lies outside the window"),
    ]
    assert len(await house.said(BenchmarkDrafted)) == drafts
    audited = await house.rows("SELECT detail FROM audit WHERE action = 'read_upload'")
    assert "refused" in str(audited[-1]["detail"])


async def test_what_a_file_is_for_must_make_sense_before_it_is_taken(house: House) -> None:
    now = await house.now()
    before = await house.tables()
    grid = datetime.fromtimestamp(now.timestamp() // 300 * 300, now.tzinfo)
    for query, status in (
        ({"window_end": (grid + timedelta(hours=1)).isoformat()}, 422),
        ({"window_end": (grid - timedelta(days=91)).isoformat()}, 422),
        ({"window_end": (grid - timedelta(seconds=7)).isoformat()}, 422),
        ({"window_end": "yesterday"}, 422),
        ({"reason": "x"}, 422),
        ({"product": "nobody"}, 404),
        ({"change_request": "CR-1"}, 422),
        ({"format": "xml"}, 422),
        ({"colour": "red"}, 422),
    ):
        answer = await send(house, b"sli,time,value\n", **query)
        assert answer.status_code == status, (query, answer.text)
    assert (await send(house, b"x", media="text/plain")).status_code == 415
    assert (await send(house, b"")).status_code == 422
    assert await house.tables() == before
    assert (await house.get("/uploads/UP-99")).status_code == 404
    assert (await house.get("/uploads/7")).status_code == 422
