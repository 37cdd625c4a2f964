"""The Prometheus source against a real Prometheus with samples of the past."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from services.snapshotter.sources import Missing, Series, Source, open_source
from shared.contracts import read_policy

PRODUCTS = Path(__file__).parents[2] / "products"
pytestmark = [pytest.mark.prometheus, pytest.mark.slow]

START = 1_700_006_400  # a whole number of minutes and of two hours: a block of its own
STEPS = 240


def openmetrics() -> str:
    lines = ["# TYPE load gauge"]
    for i in range(STEPS):
        at = START + 60 * i
        lines += [f'load{{pod="a"}} {i * 0.1!r} {at}', f'load{{pod="b"}} {i} {at}']
        if i < 60 or i >= 120:
            lines.append(f'load{{pod="gaps"}} {i} {at}')
    return "\n".join(lines) + "\n# EOF\n"


@pytest.fixture
async def source(prometheus: Callable[[str], str]) -> Source:
    return open_source("main", {"kind": "prometheus", "url": prometheus(openmetrics()), "timeout_s": 10})


async def test_a_real_prometheus_is_read_to_the_last_bit_and_the_last_step(source: Source) -> None:
    reading = await source.read('load{pod="a"}', START, START + 60 * STEPS, 60)
    assert isinstance(reading, Series), reading
    assert reading.values.tolist() == [i * 0.1 for i in range(STEPS)]

    half = await source.read('load{pod="b"}', START + 60, START + 180, 60)
    assert isinstance(half, Series) and half.values.tolist() == [1, 2]

    # Beyond 11,000 points: one second apart, in parts, each sample held for as long as Prometheus looks back (5 min).
    fine = await source.read('load{pod="b"}', START, START + 60 * STEPS, 1)
    assert isinstance(fine, Series) and fine.values.tolist() == [i // 60 for i in range(60 * STEPS)]

    gaps = await source.read('load{pod="gaps"}', START, START + 60 * STEPS, 60)
    assert isinstance(gaps, Series)
    # The sample at step 59 is looked back at for five minutes; then nothing, and not zero.
    assert np.isfinite(gaps.values[:64]).all() and np.isnan(gaps.values[65:120]).all()

    ratio = await source.read('load{pod="b"} / 0', START, START + 600, 60)
    assert isinstance(ratio, Missing) and "no numbers" in ratio.reason and not ratio.retry

    several = await source.read("load", START, START + 600, 60)
    assert several == Missing("the query returns 3 series, one is needed")
    nothing = await source.read("absent_metric", START, START + 600, 60)
    assert isinstance(nothing, Missing) and "no series" in nothing.reason
    refused = await source.read("load{", START, START + 600, 60)
    assert isinstance(refused, Missing) and "HTTP 400" in refused.reason and not refused.retry
    long = await source.read("sum(" * 300 + 'load{pod="a"}' + ")" * 300 + " " * 3000, START, START + 60, 60)
    assert isinstance(long, Series)  # by POST, whatever its length

    for path in sorted(PRODUCTS.glob("*.yaml")):  # the policies that come with Daymark are PromQL to a real Prometheus
        for sli in read_policy(yaml.safe_load(path.read_text())).slis:
            reading = await source.read(sli.query, START, START + 600, 60)
            assert isinstance(reading, Missing) and "no series" in reading.reason, (sli.id, reading)
    await source.close()


async def test_a_prometheus_that_is_not_there_is_worth_another_try() -> None:
    source = open_source("main", {"kind": "prometheus", "url": "http://127.0.0.1:9", "timeout_s": 5})
    reading = await source.read("up", START, START + 60, 60)
    assert isinstance(reading, Missing) and reading.retry and "cannot be reached" in reading.reason
    await source.close()
