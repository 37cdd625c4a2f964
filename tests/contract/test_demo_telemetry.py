"""The demo's telemetry through its own door, read by the production source."""

import time
from collections.abc import Iterator

import httpx2
import numpy as np
import pytest

from deploy.local.plant import Plant
from deploy.local.telemetry import NAME, DemoTelemetry, policies_in
from services.snapshotter.sources import Missing, Series, open_source

PRESENT = 1_700_006_400.0
DAY_S = 86_400.0
P99 = next(
    sli.query for policy in policies_in() if policy.id == "epl-x" for sli in policy.slis if sli.id == "p99-latency"
)


@pytest.fixture(scope="module")
def telemetry() -> Iterator[tuple[str, DemoTelemetry]]:
    demo = DemoTelemetry(present_s=lambda: PRESENT)
    yield demo.start(), demo
    demo.stop()


async def test_every_sli_is_read_whole_for_eight_days(telemetry: tuple[str, DemoTelemetry]) -> None:
    source = open_source("main", {"kind": "prometheus", "url": telemetry[0]})
    started = time.perf_counter()
    for policy in policies_in():
        for sli in policy.slis:
            reading = await source.read(sli.query, PRESENT - 8 * DAY_S, PRESENT, 60)
            assert isinstance(reading, Series), reading
            assert reading.warnings == () and len(reading.values) == 8 * 1440 and np.isfinite(reading.values).all()
            direct = telemetry[1].plant.values(policy.id, sli.id, np.array([PRESENT - 60]))
            assert reading.values[-1] == direct[0]
    assert time.perf_counter() - started < 15  # 15 queries, each well under 100 ms on a quiet machine
    await source.close()


async def test_the_future_is_not_served(telemetry: tuple[str, DemoTelemetry]) -> None:
    source = open_source("main", {"kind": "prometheus", "url": telemetry[0]})
    reading = await source.read(P99, PRESENT - 120, PRESENT + 180, 60)
    assert isinstance(reading, Series)
    assert np.isfinite(reading.values).tolist() == [True, True, True, False, False]
    ahead = await source.read(P99, PRESENT + 60, PRESENT + 180, 60)
    assert isinstance(ahead, Missing) and "no series" in ahead.reason
    await source.close()


def test_the_present_is_the_machines_unless_told_otherwise() -> None:
    demo = DemoTelemetry()
    assert abs(demo._present_s() - time.time()) < 5


async def test_an_unknown_query_has_no_series(telemetry: tuple[str, DemoTelemetry]) -> None:
    source = open_source("main", {"kind": "prometheus", "url": telemetry[0]})
    reading = await source.read(P99 + " ", PRESENT - 120, PRESENT, 60)
    assert isinstance(reading, Missing) and "no series" in reading.reason
    await source.close()


async def test_the_deployer_tells_the_plant_what_runs(telemetry: tuple[str, DemoTelemetry]) -> None:
    url, demo = telemetry
    demo.plant = Plant()
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:

        async def p99(at_s: float) -> float:
            answer = (await client.get("/api/v1/query", params={"query": P99, "time": str(at_s)})).json()
            return float(answer["data"]["result"][0]["value"][1])

        before = await p99(PRESENT - 3600)
        said = {"product": "epl-x", "change": "EPLX-2.8.0", "at_s": PRESENT - 7200}
        assert (await client.post("/demo/deployed", json=said)).status_code == 200
        assert await p99(PRESENT - 3600) == pytest.approx(1.45 * before)
        back = await client.post("/demo/rolled-back", json={"product": "epl-x", "at_s": PRESENT - 5400})
        assert back.json()["data"] == {"change": "EPLX-2.8.0"}
        assert await p99(PRESENT - 3600) == before
        info = await client.get("/api/v1/status/buildinfo")
        assert info.json()["data"]["application"] == NAME
        for odd in (b"", b"[]", b'{"product": "epl"}', b'{"product": 1, "change": "x", "at_s": 1}'):
            assert (await client.post("/demo/deployed", content=odd)).status_code == 400


@pytest.mark.parametrize(
    "odd",
    [
        {"start": "x"},
        {"end": "0"},
        {"step": "0"},
        {"step": "-1"},
        {"step": "0.001"},
        {"start": "1e300"},
        {"start": "nan"},
        {"step": ""},
    ],
)
async def test_parameters_that_prometheus_refuses_are_refused_here(
    telemetry: tuple[str, DemoTelemetry], odd: dict[str, str]
) -> None:
    asked = {"query": P99, "start": str(PRESENT - 600), "end": str(PRESENT), "step": "60", **odd}
    async with httpx2.AsyncClient(base_url=telemetry[0], trust_env=False) as client:
        answer = await client.get("/api/v1/query_range", params=asked)
    assert answer.status_code == 400
    assert answer.json()["errorType"] == "bad_data"


async def test_times_are_taken_as_text_too(telemetry: tuple[str, DemoTelemetry]) -> None:
    asked = {"query": P99, "start": "2023-11-14T23:50:00Z", "end": "2023-11-15T00:00:00Z", "step": "1m"}
    async with httpx2.AsyncClient(base_url=telemetry[0], trust_env=False) as client:
        answer = await client.get("/api/v1/query_range", params=asked)
    assert len(answer.json()["data"]["result"][0]["values"]) == 11  # the API's end is included


def test_it_starts_once_ends_twice_and_says_when_its_port_is_taken() -> None:
    demo = DemoTelemetry([])
    port = int(demo.start().rpartition(":")[2])
    with pytest.raises(RuntimeError, match="already"):
        demo.start()
    with pytest.raises(OSError):
        DemoTelemetry([]).start(port)
    demo.stop()
    demo.stop()
    assert demo.start(port).endswith(f":{port}")
    demo.stop()
