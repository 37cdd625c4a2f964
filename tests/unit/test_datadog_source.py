"""The Datadog source against a server of ours that answers as Datadog does: its roll-ups, its limits, its ways to be wrong."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx2
import numpy as np
import pytest

from services.snapshotter.sources import Missing, Reading, Series, open_source
from services.snapshotter.sources._http import Fault
from services.snapshotter.sources.datadog import MOST_POINTS, DatadogSettings, DatadogSource, rolled_up

START, STEP = 1_700_000_010.0, 60  # 30 s into one of Datadog's buckets
QUERY = "avg:trace.web.request{env:prod}"
Answer = Callable[[httpx2.Request], httpx2.Response]


class Datadog:
    """Answers as its documentation and its clients' recordings show: buckets on whole multiples of the roll-up, from the
    first that begins in the time asked for to the last, their times as floats; coarser where no roll-up is asked for.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.keys: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        asked = dict(request.url.params)
        self.asked.append(asked)
        self.keys.append((request.headers["dd-api-key"], request.headers["dd-application-key"]))
        step = 60 if ", 60)" in asked["query"] else 300
        begins = range(-(-int(asked["from"]) // step) * step, int(asked["to"]) + 1, step)
        points = [[1000.0 * at, float(at // step % 1000)] for at in begins]
        one = {
            "aggr": "avg", "attributes": {}, "display_name": "trace.web.request", "end": 1000 * (begins[-1] + step) - 1000,
            "expression": asked["query"], "interval": step, "length": len(points), "metric": "trace.web.request",
            "pointlist": points, "query_index": 0, "scope": "env:prod", "start": 1000 * begins[0], "tag_set": [],
            "unit": [{"family": "time", "name": "second", "plural": "seconds", "scale_factor": 1.0, "short_name": "s"}, None],
        }  # fmt: skip
        answer = {
            "status": "ok", "res_type": "time_series", "resp_version": 1, "query": asked["query"], "message": "",
            "from_date": 1000 * int(asked["from"]), "to_date": 1000 * int(asked["to"]), "group_by": [], "series": [one],
            "times": [], "values": [],
        }  # fmt: skip
        return httpx2.Response(200, json=answer, headers=self.headers)


async def read(answer: Answer, n: int = 5, query: str = QUERY, times: int = 1, **settings: Any) -> Reading:
    keys = {"api_key": "a-secret", "application_key": "b-secret"}
    source = DatadogSource(DatadogSettings.model_validate({**keys, **settings}), httpx2.MockTransport(answer))
    try:
        for _ in range(times):
            found = await source.read(query, START, START + n * STEP, STEP)
        return found
    finally:
        await source.close()


def one(*points: list[Any], interval: Any = 60, **more: Any) -> Answer:
    document = {"status": "ok", "series": [{"scope": "*", "interval": interval, "pointlist": list(points)}], **more}
    return lambda _: httpx2.Response(200, json=document)


GRID = 1_699_999_980  # the bucket in which START lies


async def test_each_step_takes_the_point_that_it_lies_in() -> None:
    server = Datadog()
    reading = await read(server)
    assert isinstance(reading, Series)
    assert reading.values.tolist() == [(START + i * STEP) // 60 % 1000 for i in range(5)]
    asked = server.asked[0]
    assert asked["query"] == "avg:trace.web.request{env:prod}.rollup(avg, 60)"
    assert int(asked["from"]) == GRID and int(asked["to"]) == GRID + 5 * 60 - 1
    assert server.keys == [("a-secret", "b-secret")]


async def test_a_week_is_read_a_day_at_a_time() -> None:
    server = Datadog()
    reading = await read(server, 7 * 1440)
    assert isinstance(reading, Series) and np.isfinite(reading.values).all()
    assert len(server.asked) == 7
    for asked in server.asked:
        assert int(asked["to"]) - int(asked["from"]) < 60 * MOST_POINTS


@pytest.mark.parametrize(
    ("query", "rolled"),
    [
        ("sum:a.b{*}", "sum:a.b{*}.rollup(avg, 60)"),
        ("max:a{x:y} by {host}", "max:a{x:y} by {host}.rollup(max, 60)"),
        ("p95:a{*}", "p95:a{*}.rollup(avg, 60)"),
        ("sum:hits{*}.as_count()", "sum:hits{*}.as_count().rollup(sum, 60)"),
        ("avg:a{*}.rollup(max, 60)", "avg:a{*}.rollup(max, 60)"),
        (
            "100 * sum:e{a:b}.as_rate() / default_zero(sum:h{a:b}.as_rate())",
            "100 * sum:e{a:b}.as_rate().rollup(avg, 60) / default_zero(sum:h{a:b}.as_rate().rollup(avg, 60))",
        ),
    ],
)
def test_every_metric_is_rolled_up_over_one_step(query: str, rolled: str) -> None:
    assert rolled_up(query, 60) == rolled
    assert rolled_up(rolled, 60) == rolled


@pytest.mark.parametrize(
    "query",
    [
        "",
        "a{*}",
        "avg:a",
        "avg:a{*",
        "avg:a{b{c}}",
        "avg:a{*}.rollup(avg, 300)",
        "avg:a{*}.rollup(avg)",
        "avg:a{*} + b{*}",
    ],
)
async def test_a_query_that_cannot_be_rolled_up_is_missing_and_nothing_is_asked(query: str) -> None:
    server = Datadog()
    reading = await read(server, query=query)
    assert isinstance(reading, Missing) and not reading.retry and server.asked == []
    with pytest.raises(Fault):
        rolled_up(query, 60)


WRONG: dict[str, tuple[Answer, str, bool]] = {
    "none": (lambda _: httpx2.Response(200, json={"status": "ok", "series": []}), "no series", False),
    "two": (
        lambda _: httpx2.Response(200, json={"status": "ok", "series": [{"scope": "a"}, {"scope": "b"}]}),
        "returns 2 series",
        False,
    ),
    "coarse": (one([1000 * GRID, 1.0], interval=300), "in steps of 300 s instead of 60 s", False),
    "no interval": (one([1000 * GRID, 1.0], interval=None), "in steps of None s", False),
    "off the grid": (one([1000 * GRID + 1, 1.0]), "other times", False),
    "twice": (one([1000 * GRID, 1.0], [1000 * GRID, 2.0]), "twice for one step", True),
    "no numbers": (one([1000 * GRID, None]), "no numbers", False),
    "words": (one([1000 * GRID, "many"]), "not a time and a number", True),
    "no pair": (one([1000 * GRID]), "not a time and a number", True),
    "error inside": (one(error="Rate limit of the backend"), "Rate limit of the backend", True),
    "status": (lambda _: httpx2.Response(200, json={"status": "error", "series": []}), "status error", True),
    "no list": (lambda _: httpx2.Response(200, json={"status": "ok", "series": {}}), "no list of series", True),
    "bad query": (lambda _: httpx2.Response(400, json={"errors": ["Invalid metric"]}), "Invalid metric", False),
    "key": (lambda _: httpx2.Response(403, json={"errors": ["Forbidden"]}), "does not let us in", True),
    "down": (lambda _: httpx2.Response(503, text="<html>"), "HTTP 503", True),
    "html": (lambda _: httpx2.Response(200, text="<html>"), "status None", True),
    "redirect": (lambda _: httpx2.Response(302, headers={"location": "http://evil.test"}), "points elsewhere", True),
    "large": (lambda _: httpx2.Response(200, content=b" " * 2_000), "larger than 1,000 bytes", False),
}


@pytest.mark.parametrize("what", WRONG)
async def test_whatever_is_less_than_whole_is_missing_with_its_reason(what: str) -> None:
    answer, words, retry = WRONG[what]
    reading = await read(answer, max_bytes=1_000)
    assert isinstance(reading, Missing) and words in reading.reason and reading.retry is retry, reading
    assert reading.silent is (what in ("none", "no numbers"))
    assert "secret" not in reading.reason


async def test_points_of_buckets_that_only_touch_the_window_are_left_out_and_gaps_stay_gaps() -> None:
    answer = one([1000 * (GRID - 60), 9.0], [1000 * GRID, 1.0], [1000 * (GRID + 120), 3.0], [1000 * (GRID + 300), 9.0])
    reading = await read(answer)
    assert isinstance(reading, Series)
    np.testing.assert_array_equal(reading.values, [1, np.nan, 3, np.nan, np.nan])


async def test_when_nothing_is_left_to_be_asked_it_waits_as_long_as_datadog_says() -> None:
    server = Datadog()
    server.headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}
    began = time.monotonic()
    reading = await read(server, times=2)
    assert isinstance(reading, Series) and time.monotonic() - began >= 0.9

    server.headers["x-ratelimit-reset"] = "3600"
    reading = await read(server, times=2)
    assert isinstance(reading, Missing) and reading.retry and "used up for another 3600 s" in reading.reason
    assert len(server.asked) == 3  # and nobody was asked again


async def test_too_often_is_worth_another_try_and_closes_the_source_until_then() -> None:
    asked: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(429, json={"errors": ["Rate limit exceeded"]}, headers={"x-ratelimit-reset": "500"})

    reading = await read(answer, times=3)
    assert isinstance(reading, Missing) and reading.retry and len(asked) == 1


async def test_a_capture_that_is_given_up_leaves_nothing_behind() -> None:
    async def slow(_: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(60)
        raise AssertionError

    reading = await read(slow, timeout_s=0.05)  # type: ignore[arg-type]
    assert reading == Missing("the source did not answer within 0.05 s", retry=True)


async def test_settings_name_two_keys_and_never_show_them() -> None:
    with pytest.raises(ValueError, match="source dd: application_key: Field required") as wrong:
        open_source("dd", {"kind": "datadog", "api_key": "a-secret"})
    assert "a-secret" not in str(wrong.value)
    source = open_source(
        "dd", {"kind": "datadog", "api_key": "a", "application_key": "b", "url": "https://api.datadoghq.eu"}
    )
    refused = await source.read(QUERY, START, START + 60, 60, {"env": "prod"})
    assert isinstance(refused, Missing) and "write the tags into it" in refused.reason
    await source.close()
