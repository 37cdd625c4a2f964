"""Publishing a benchmark: who may, what it holds, what is refused; and how large one may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from services.snapshotter.store import metadata
from shared.contracts import (
    BenchmarkPublished,
    ObservationClosed,
    SnapshotTaken,
)
from tests.observing import POLICY, House, snapshotter
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        yield made


async def test_operations_publishes_a_benchmark_of_the_last_24_hours(house: House) -> None:
    await house.policy()
    await house.registered()
    answer = await house.publish(change_request="CR-1", reason="an ordinary day")
    assert answer.status_code == 201, answer.text
    view = answer.json()
    assert answer.headers["location"] == f"/snapshotter/v1/snapshots/{view['id']}"
    assert view["kind"] == "benchmark" and view["change_request"] == "CR-1" and view["taken_by"] == "local|olga"
    assert [r["sli"] for r in view["readings"]] == ["latency", "errors", "heap"]
    first = view["readings"][0]
    assert first["samples"] == first["steps"] == 288 and first["missing"] is None
    assert first["min"] < first["median"] < first["p95"] <= first["max"]
    taken, published = await house.said()
    assert isinstance(taken, SnapshotTaken) and isinstance(published, BenchmarkPublished)
    assert published.window_end - published.window_start == DAY and published.window_end.timestamp() % 300 == 0
    assert published.content_hash == taken.content_hash == view["content_hash"]
    assert (await house.get(f"/snapshots/{view['id']}", "ada")).json() == view


async def test_samples_are_read_one_series_at_a_time(house: House) -> None:
    await house.begin()
    answer = await house.get("/snapshots/SNAP-1/series?sli=latency&sli=heap")
    document = answer.json()
    assert [s["sli"] for s in document["series"]] == ["latency", "heap"]
    assert document["steps"] == len(document["series"][0]["values"]) == 288
    assert (await house.get("/snapshots/SNAP-1/series?sli=nothing")).status_code == 404


async def test_gaps_are_null_in_the_samples(house: House) -> None:
    house.prometheus.level["latency"] = lambda t: np.where(t % 600 < 300, np.nan, 1.0)
    await house.policy()
    await house.publish(product="epl", reason="a day", despite={"gaps": "every second step is all there is"})
    values = (await house.get("/snapshots/SNAP-1/series?sli=latency")).json()["series"][0]["values"]
    assert values.count(None) == 144
    assert (await house.get("/snapshots/SNAP-1")).json()["readings"][0]["samples"] == 144


async def test_a_repeat_with_the_same_key_gets_the_first_answer_and_reads_nothing_again(house: House) -> None:
    await house.policy()
    await house.registered()
    first = await house.publish(once="k1")
    asked = len(house.prometheus.asked)
    again = await house.publish(once="k1")
    assert again.content == first.content and again.headers["idempotent-replay"] == "true"
    assert len(house.prometheus.asked) == asked
    other = await house.publish(once="k1", change_request="CR-1", reason="another reason")
    assert other.status_code == 422
    assert len(await house.said(BenchmarkPublished)) == 1


async def test_twins_at_once_are_one_benchmark_read_once_and_answered_alike(house: House) -> None:
    await house.policy()
    await house.registered()
    await house.publish(once="k0")
    asked = len(house.prometheus.asked)
    answers = await asyncio.gather(*(house.publish(once="k1") for _ in range(4)))
    assert {a.status_code for a in answers} == {201}
    assert len({a.content for a in answers}) == 1
    assert len(house.prometheus.asked) == 2 * asked
    assert len(await house.said(BenchmarkPublished)) == 2


async def test_a_benchmark_for_a_product_holds_for_all_its_crs(house: House) -> None:
    await house.policy()
    await house.registered()
    view = (await house.publish(product="epl", reason="before Thursday")).json()
    assert view["change_request"] is None
    assert (await house.said(BenchmarkPublished))[0].subject == "epl"
    assert (await house.observation())["benchmark"] == {
        **(await house.observation())["benchmark"],
        "state": "good",
        "snapshot": view["id"],
    }


async def test_only_operations_publishes_and_a_refusal_is_on_the_record(house: House) -> None:
    await house.policy()
    await house.registered(author="local|erin")
    before = await house.tables()
    for who in ("ada", "stranger"):
        assert (await house.publish(who)).status_code == 403
    own = await house.publish("erin")  # of operations, but she wrote this change
    assert own.status_code == 403 and "authored" in own.json()["detail"]
    assert house.prometheus.asked == []
    assert await house.tables() == before
    refused = await house.rows("SELECT actor, object FROM audit WHERE refused ORDER BY id")
    assert [(r["actor"], r["object"]) for r in refused] == [
        ("local|ada", "CR-1"),
        ("local|stranger", "CR-1"),
        ("local|erin", "CR-1"),
    ]


async def test_who_deployed_a_cr_publishes_no_benchmark_for_it(house: House) -> None:
    await house.begin()
    await house.deployed(deployer="local|omar")
    assert (await house.publish("omar")).status_code == 403


async def test_a_missing_sli_is_named_and_the_others_are_kept(house: House) -> None:
    await house.policy()
    await house.registered()
    house.prometheus.failing = {"errors"}
    view = (await house.publish()).json()
    assert [m["sli"] for m in view["missing"]] == ["errors"] and "overloaded" in view["missing"][0]["reason"]
    assert (await house.said(BenchmarkPublished))[0].missing[0].sli == "errors"


async def test_a_benchmark_of_nothing_is_refused_with_the_reasons(house: House) -> None:
    await house.policy()
    await house.registered()
    before = await house.tables()
    house.prometheus.down = True
    answer = await house.publish(once="k1")
    assert answer.status_code == 503 and "cannot be reached" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "30"
    house.prometheus.down = False
    slis = tuple(sli.model_copy(update={"query": "gone"}) for sli in POLICY.slis)
    assert await house.tables() == before
    await house.policy(POLICY.model_copy(update={"slis": slis}))
    assert (await house.publish()).status_code == 409
    assert await house.said() == []


async def test_a_source_that_is_not_configured_is_missing_with_its_name(house: House) -> None:
    elsewhere = POLICY.slis[0].model_copy(update={"source": "elsewhere"})
    await house.policy(POLICY.model_copy(update={"slis": (elsewhere, *POLICY.slis[1:])}))
    await house.registered()
    view = (await house.publish()).json()
    assert view["missing"] == [{"sli": "latency", "reason": "source elsewhere is not configured here"}]


async def test_snapshots_are_listed_newest_first_and_only_of_products_one_may_see(house: House) -> None:
    await house.begin()
    for _ in range(2):
        await house.publish(product="epl")
    page = (await house.get("/snapshots?limit=2")).json()
    assert [s["id"] for s in page["items"]] == ["SNAP-3", "SNAP-2"]
    rest = (await house.get(f"/snapshots?limit=2&cursor={page['next']}")).json()
    assert [s["id"] for s in rest["items"]] == ["SNAP-1"] and rest["next"] is None
    assert [s["id"] for s in (await house.get("/snapshots?change_request=CR-1")).json()["items"]] == ["SNAP-1"]
    assert (await house.get("/snapshots", "stranger")).json()["items"] == []
    assert (await house.get("/snapshots/SNAP-1", "stranger")).status_code == 404
    assert (await house.get("/change-requests/CR-1/observation", "stranger")).status_code == 404


async def test_a_snapshot_is_never_changed_not_even_by_sql(house: House) -> None:
    await house.begin()
    with pytest.raises(asyncpg.RaiseError, match="never changed"):
        await house.rows("UPDATE snapshots SET reason = 'better'")
    with pytest.raises(asyncpg.RaiseError, match="never changed"):
        await house.rows("UPDATE series SET n = 0")


# -- size, shape ------------------------------------------------------------------------------------------------------


async def test_five_hundred_slis_fit_into_one_snapshot_and_one_letter(house: House) -> None:
    slis = tuple(
        POLICY.slis[0].model_copy(update={"id": f"sli-{n}", "query": f"q{n}", "title": "é" * 200}) for n in range(500)
    )
    rules = POLICY.observation.model_copy(update={"step_s": 3600, "history_days": 0})
    await house.policy(POLICY.model_copy(update={"slis": slis, "observation": rules}))
    await house.registered()
    assert (await house.publish()).status_code == 201
    at = await house.deployed()
    await house.go_to(at + DAY)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "steady" and len(closed.comparisons) == 500
    look = (await house.observation())["current"]
    assert look["comparisons"][0]["title"] == "é" * 200  # here nothing is cut short


async def test_the_migrations_make_what_the_store_declares(house: House) -> None:
    engine = create_async_engine(make_url(house.url).set(drivername="postgresql+asyncpg"))

    def differences(connection: object) -> list[object]:
        options = {
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == "snapshotter",
            "include_object": lambda _o, name, *_: name != "alembic_version",
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))  # type: ignore[arg-type]

    try:
        async with engine.connect() as connection:
            assert await connection.run_sync(differences) == []
    finally:
        await engine.dispose()
