"""The Prometheus source against a scripted one: every way an answer can be less than whole is a `Missing`."""

import asyncio
import gzip
import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

import httpx2
import numpy as np
import pytest

from services.snapshotter.sources import Missing, Reading, Series, open_source
from services.snapshotter.sources.prometheus import MOST_POINTS, PrometheusSettings, PrometheusSource

START, STEP = 1_700_000_000.0, 60
Answer = Callable[[httpx2.Request], httpx2.Response]


def form(request: httpx2.Request) -> dict[str, str]:
    words = request.content.decode() if request.method == "POST" else request.url.query.decode()
    return {name: values[0] for name, values in parse_qs(words).items()}


def points(request: httpx2.Request) -> list[float]:
    """The times that this request asks for, end included, as Prometheus understands it."""
    asked = form(request)
    start, end, step = float(asked["start"]), float(asked["end"]), float(asked["step"])
    return [start + i * step for i in range(int((end - start) / step + 1e-6) + 1)]


def matrix(*series: list[Any], **more: Any) -> dict[str, Any]:
    result = [{"metric": {"n": str(i)}, "values": values} for i, values in enumerate(series)]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}


def whole(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, json=matrix([[at, str(at % 1000)] for at in points(request)]))


def noting(seen: list[Any], what: Callable[[httpx2.Request], Any] = lambda request: request) -> Answer:
    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(what(request))
        return whole(request)

    return answer


def always(status: int = 200, body: Any = None, **kwargs: Any) -> Answer:
    kwargs = kwargs or {"json": body}
    return lambda request: httpx2.Response(status, **kwargs)


async def read(answer: Any, n: int = 5, **settings: Any) -> Reading:
    settings = {"url": "http://metrics.test/prom/", **settings}
    source = PrometheusSource(PrometheusSettings.model_validate(settings), httpx2.MockTransport(answer))
    try:
        return await source.read("up", START, START + n * STEP, STEP)
    finally:
        await source.close()


async def read_matching(answer: Any, query: str, match: dict[str, str]) -> Reading:
    settings = PrometheusSettings.model_validate({"url": "http://metrics.test"})
    source = PrometheusSource(settings, httpx2.MockTransport(answer))
    try:
        return await source.read(query, START, START + 5 * STEP, STEP, match)
    finally:
        await source.close()


def values(reading: Reading) -> list[float]:
    assert isinstance(reading, Series), reading
    return list(reading.values)


async def test_a_whole_answer_is_one_number_for_each_step_of_the_half_open_window() -> None:
    seen: list[httpx2.Request] = []
    reading = await read(noting(seen))
    assert values(reading) == [(START + i * STEP) % 1000 for i in range(5)]
    asked = form(seen[0])
    assert (asked["start"], asked["end"]) == (f"{START:.3f}", f"{START + 4 * STEP:.3f}")
    assert (asked["partial_response"], asked["nocache"], asked["query"]) == ("false", "1", "up")
    assert (seen[0].method, str(seen[0].url)) == ("POST", "http://metrics.test/prom/api/v1/query_range")


async def test_a_query_travels_exactly_as_it_was_written() -> None:
    query = '{"http.server.duration", a="\\"} or vector(1) #&=%+ü"}\n[5m]'
    seen: list[str] = []
    mock = httpx2.MockTransport(noting(seen, lambda request: form(request)["query"]))
    source = PrometheusSource(PrometheusSettings.model_validate({"url": "http://x"}), mock)
    await source.read(query, START, START + 60, STEP)
    assert seen == [query]


async def test_a_week_of_minutes_by_seconds_is_read_in_parts_that_join_without_a_seam() -> None:
    asked: list[int] = []
    n = 2 * MOST_POINTS + 7
    reading = await read(noting(asked, lambda request: len(points(request))), n)
    assert asked == [MOST_POINTS, MOST_POINTS, 7]
    assert values(reading) == [(START + i * STEP) % 1000 for i in range(n)]


async def test_parts_that_return_different_series_are_two_series() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        first = points(request)[0] == START
        series = {"metric": {"pod": "a" if first else "b"}, "values": [[points(request)[0], "1"]]}
        return httpx2.Response(200, json={"status": "success", "data": {"resultType": "matrix", "result": [series]}})

    reading = await read(answer, MOST_POINTS + 1)
    assert reading == Missing("the query returns 2 series over this window, one is needed")


async def test_a_step_that_the_source_does_not_answer_is_nan() -> None:
    reading = await read(always(body=matrix([[START, "1"], [START + 3 * STEP, "2.5e-3"]])))
    np.testing.assert_array_equal(values(reading), [1, math.nan, math.nan, 0.0025, math.nan])


async def test_nan_stays_nan_and_infinity_becomes_nan_with_a_warning() -> None:
    samples = [[START, "NaN"], [START + 60, "+Inf"], [START + 120, "-Inf"], [START + 180, "4"]]
    reading = await read(always(body=matrix(samples)))
    np.testing.assert_array_equal(values(reading), [math.nan, math.nan, math.nan, 4, math.nan])
    assert isinstance(reading, Series)
    assert "2 of 5 values were infinite" in reading.warnings[0]


async def test_a_source_that_takes_only_get_is_asked_by_get_from_then_on() -> None:
    methods: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        methods.append(request.method)
        return httpx2.Response(405) if request.method == "POST" else whole(request)

    assert len(values(await read(answer, MOST_POINTS + 5))) == MOST_POINTS + 5
    assert methods == ["POST", "GET", "GET"]


async def test_headers_come_from_the_settings_alone() -> None:
    seen: list[httpx2.Request] = []
    headers = {"Authorization": "Bearer s3cret", "X-Scope-OrgID": "epl"}
    await read(noting(seen), headers=headers)
    assert (seen[0].headers["authorization"], seen[0].headers["x-scope-orgid"]) == ("Bearer s3cret", "epl")


async def test_answers_are_packed_only_where_the_settings_say_that_the_line_is_slow() -> None:
    seen: list[str] = []
    asked = noting(seen, lambda request: request.headers["accept-encoding"])
    await read(asked)
    await read(asked, gzip=True)
    assert seen == ["identity", "gzip"]


@pytest.mark.parametrize("n", [1_440, MOST_POINTS])  # read on the loop, and beside it
async def test_a_long_answer_is_read_as_exactly_as_a_short_one(n: int) -> None:
    numbers = np.random.default_rng(n).lognormal(3, 2, n)

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked = points(request)
        return httpx2.Response(200, json=matrix([[at, repr(float(v))] for at, v in zip(asked, numbers, strict=True)]))

    assert values(await read(answer, n)) == numbers.tolist()


GOOD = [[START, "1"]]
FAULTS: dict[str, tuple[Answer, str, bool]] = {
    "refused query": (always(400, {"status": "error", "error": "parse error"}), "(HTTP 400): parse error", False),
    "query that fails": (always(422, {"status": "error", "error": "too many samples"}), "too many samples", False),
    "no access": (always(401, text="no"), "does not let us in", True),
    "wrong address": (always(404, text="no"), "HTTP 404", True),
    "asked too often": (always(429, text="slow"), "asked too often", True),
    "server error": (always(500, {"status": "error", "error": "disk"}), "(HTTP 500): disk", True),
    "unavailable": (always(503, text="<html>"), "HTTP 503", True),
    "redirect": (always(302, headers={"location": "http://evil.test/"}), "points elsewhere", True),
    "web page": (always(200, text="<html>sign in</html>"), "not a Prometheus answer", True),
    "cut JSON": (always(200, text='{"status":"success","data":{"resu'), "not a Prometheus answer", True),
    "empty": (always(200, text=""), "not a Prometheus answer", True),
    "list": (always(body=[1, 2]), "not a Prometheus answer", True),
    "deep JSON": (always(200, text="[" * 100_000), "not a Prometheus answer", True),
    "lying status": (always(200, {**matrix(GOOD), "status": "error", "error": "boom"}), "status error: boom", True),
    "no status": (always(200, {"data": matrix(GOOD)["data"]}), "status None", True),
    "vector": (always(body={"status": "success", "data": {"resultType": "vector", "result": []}}), "matrix", True),
    "no data": (always(body={"status": "success"}), "matrix", True),
    "result of text": (
        always(body={"status": "success", "data": {"resultType": "matrix", "result": "x"}}),
        "matrix",
        True,
    ),
    "series of text": (
        always(body={"status": "success", "data": {"resultType": "matrix", "result": ["x"]}}),
        "cannot be read",
        True,
    ),
    "samples of text": (always(body=matrix("abc")), "cannot be read", True),  # type: ignore[arg-type]
    "no series": (always(body=matrix()), "no series", False),
    "several series": (always(body=matrix(GOOD, GOOD, GOOD)), "the query returns 3 series, one is needed", False),
    "only NaN": (always(body=matrix([[START, "NaN"], [START + 60, "NaN"]])), "no numbers", False),
    "only infinity": (always(body=matrix([[START, "+Inf"]])), "no numbers", False),
    "series without samples": (always(body=matrix([])), "no numbers", False),
    "warning": (always(body=matrix(GOOD, warnings=["store-2 is down"])), "partial answer: store-2 is down", True),
    "warning by the language": (always(body=matrix(GOOD, warnings=["PromQL warning: mixed"])), "partial answer", False),
    "warnings of text": (always(body=matrix(GOOD, warnings={"a": 1})), "cannot be read", True),
    "info that samples were ignored": (
        always(body=matrix(GOOD, infos=["PromQL info: ignored histograms in a range"])),
        "partial answer: PromQL info: ignored",
        False,
    ),
    "unknown info": (always(body=matrix(GOOD, infos=["results truncated"])), "partial answer: results", False),
    "partial VictoriaMetrics": (always(body=matrix(GOOD, isPartial=True)), "partial answer", True),
    "number not as text": (always(body=matrix([[START, 1.0]])), "not a time and a number", True),
    "word for a number": (always(body=matrix([[START, "one"]])), "not a time and a number", True),
    "Python's number": (always(body=matrix([[START, "1_0"]])), "not a time and a number", True),
    "time as text": (always(body=matrix([["1700000000", "1"]])), "not a time and a number", True),
    "three in a sample": (always(body=matrix([[START, "1", "2"]])), "not a time and a number", True),
    "null sample": (always(body=matrix([None])), "not a time and a number", True),
    "off the grid": (always(body=matrix([[START + 7, "1"]])), "other times", False),
    "before the window": (always(body=matrix([[START - 60, "1"]])), "outside the window", True),
    "at the window's end": (always(body=matrix([[START + 300, "1"]])), "outside the window", True),
    "in the year 10^300": (always(body=matrix([[1e300, "1"]])), "source answers", True),
    "twice for a step": (always(body=matrix([[START, "1"], [START, "2"]])), "twice for one step", True),
    "backwards": (always(body=matrix([[START + 60, "1"], [START, "2"]])), "twice for one step", True),
    "histograms": (
        always(
            body={
                "status": "success",
                "data": {"resultType": "matrix", "result": [{"metric": {}, "histograms": [[START, {}]]}]},
            }
        ),
        "histograms",
        False,
    ),
    "bad compression": (always(200, content=b"\x1f\x8bnot", headers={"content-encoding": "gzip"}), "broke off", True),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_source_is_missing_with_its_reason(name: str) -> None:
    answer, reason, retry = FAULTS[name]
    reading = await read(answer)
    assert isinstance(reading, Missing), reading
    assert reason in reading.reason
    assert reading.retry is retry
    # Only a whole answer without a warning tells that a series fell silent; an infinity is no silence.
    assert reading.silent is (name in ("no series", "only NaN", "series without samples"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx2.ConnectError("[Errno 111] Connection refused"), "cannot be reached: [Errno 111] Connection refused"),
        (httpx2.ConnectTimeout("slow"), "did not answer within 30 s"),
        (httpx2.ReadTimeout("slow"), "did not answer within 30 s"),
        (httpx2.PoolTimeout("slow"), "did not answer within 30 s"),
        (httpx2.ReadError(""), "broke off: ReadError"),
        (httpx2.RemoteProtocolError("peer closed connection"), "peer closed connection"),
        (OSError("network is unreachable"), "network is unreachable"),
    ],
)
async def test_a_connection_that_fails_is_missing_and_worth_another_try(error: Exception, reason: str) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise error

    reading = await read(answer)
    assert isinstance(reading, Missing) and reading.retry
    assert reason in reading.reason


class Trickle(httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)


async def test_a_source_that_trickles_for_ever_is_left_in_time() -> None:
    reading = await read(lambda request: httpx2.Response(200, stream=Trickle()), timeout_s=0.2)
    assert reading == Missing("the source did not answer within 0.2 s", retry=True)


@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_that_is_too_large_is_left_in_the_stream(packed: bool) -> None:
    body = json.dumps(matrix(GOOD)).encode() + b" " * 100_000
    kwargs = {"headers": {"content-encoding": "gzip"}, "content": gzip.compress(body)} if packed else {"content": body}
    reading = await read(always(200, **kwargs), max_bytes=50_000)
    assert reading == Missing("the answer is larger than 50,000 bytes", retry=False)


async def test_an_answer_of_megabytes_is_read_all_the_same() -> None:
    body = json.dumps(matrix(GOOD)).encode() + b" " * 2_000_000
    assert values(await read(always(200, content=body)))[0] == 1


async def test_a_remark_on_style_is_kept_beside_the_numbers() -> None:
    info = "PromQL info: metric might not be a counter, name does not end in _total: up (1:6)"
    reading = await read(always(body=matrix(GOOD, infos=[info])))
    assert isinstance(reading, Series)
    assert reading.warnings == (info,)


async def test_a_reason_holds_no_control_characters_and_stays_short() -> None:
    error = "bad\x00\x1b[31m\nline\u202e" + "x" * 5000
    reading = await read(always(400, {"status": "error", "error": error}))
    assert isinstance(reading, Missing)
    assert reading.reason.isprintable() and len(reading.reason) < 400


async def test_one_source_is_asked_by_no_more_than_allowed_at_once() -> None:
    under_way = most = 0

    async def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return whole(request)

    settings = PrometheusSettings.model_validate({"url": "http://x", "at_once": 3})
    source = PrometheusSource(settings, httpx2.MockTransport(answer))
    await asyncio.gather(*(source.read("up", START, START + 60, STEP) for _ in range(20)))
    assert most == 3


async def test_a_cancelled_read_is_cancelled_not_missing() -> None:
    task = asyncio.create_task(read(lambda request: httpx2.Response(200, stream=Trickle())))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("end", "step"), [(START, 60), (START - 1, 60), (START + 60, 0), (math.nan, 60), (math.inf, 60)]
)
async def test_a_window_that_makes_no_sense_is_the_callers_fault(end: float, step: int) -> None:
    source = PrometheusSource(PrometheusSettings.model_validate({"url": "http://x"}), httpx2.MockTransport(whole))
    with pytest.raises(ValueError, match="no window"):
        await source.read("up", START, end, step)


async def test_a_source_is_opened_by_its_kind() -> None:
    source = open_source("main", {"kind": "prometheus", "url": "http://metrics.test"})
    assert isinstance(source, PrometheusSource)
    await source.close()


async def test_each_request_to_amazon_is_signed_by_post_and_by_get() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(405) if request.method == "POST" else whole(request)

    keys = {"region": "eu-central-1", "access_key_id": "AKID", "secret_access_key": "s3cret"}
    settings = PrometheusSettings.model_validate({"url": "http://metrics.test", "aws": keys})
    source = PrometheusSource(settings, httpx2.MockTransport(answer))
    assert len(values(await source.read("sum (up)", START, START + 5 * STEP, STEP))) == 5
    await source.close()
    assert "+" not in str(seen[1].url) and form(seen[1])["query"] == "sum (up)"
    asked = [(each.method, each.headers["authorization"].split("/")[0], "x-amz-date" in each.headers) for each in seen]
    assert asked == [(way, "AWS4-HMAC-SHA256 Credential=AKID", True) for way in ("POST", "GET")]
    assert seen[0].headers["authorization"] != seen[1].headers["authorization"]
    assert not any("s3cret" in str(each.headers) for each in seen)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kind": "prometheus", "url": "http://x", "aws": {"region": "eu", "secret_access_key": "hunter2"}},
        {"kind": "../../etc"},
        {"kind": "graphite", "url": "http://x"},
        {"kind": "prometheus"},
        {"kind": "prometheus", "url": "file:///etc/passwd"},
        {"kind": "prometheus", "url": "http://x", "unknown": 1},
        {"kind": "prometheus", "url": "http://u:hunter2@", "headers": {"Authorization": ["hunter2"]}},
    ],
)
def test_settings_that_do_not_fit_are_refused_without_repeating_them(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="source main") as refusal:
        open_source("main", settings)
    assert "hunter2" not in str(refusal.value)
