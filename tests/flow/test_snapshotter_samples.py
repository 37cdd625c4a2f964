"""Where samples lie: in rows or objects, until their time has come; and what a retry need not read again."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from services.snapshotter import store
from services.snapshotter.handlers import keeping
from services.snapshotter.samples import BucketError, bundle, open_bucket, unpack
from shared.contracts import ObservationClosed, SnapshotOverdue
from shared.errors import Busy
from tests.observing import House, snapshotter
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        yield made


def give_bucket(house: House, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store for this house, in which everything counts as large."""
    house.deps = replace(house.deps, bucket=open_bucket(folder.as_uri()))
    house.worker._deps = house.deps
    house.app.state.deps = house.deps
    monkeypatch.setattr(keeping, "LARGE", 1)


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


async def test_one_series_is_read_without_the_others_and_expires_with_them(house: House) -> None:
    await house.begin()
    samples = (await house.get("/snapshots/SNAP-1/series?sli=errors")).json()["series"][0]
    rows = await house.rows("SELECT sli, payload, first, length FROM series ORDER BY place")
    (payload,) = await house.rows("SELECT hash, size, octet_length(bytes) AS there, key, kept_until FROM payloads")
    assert {row["payload"] for row in rows} == {payload["hash"]} and payload["key"] is None
    assert [row["first"] for row in rows] == [0, rows[0]["length"], rows[0]["length"] + rows[1]["length"]]
    assert payload["size"] == payload["there"] == sum(row["length"] for row in rows)
    # In the row as it is, outside of it and not compressed: PostgreSQL reads the part that is asked for alone.
    (how,) = await house.rows(
        "SELECT attstorage FROM pg_attribute WHERE attrelid = 'payloads'::regclass AND attname = 'bytes'"
    )
    assert how["attstorage"] == b"e"

    async with house.db.house() as tx:
        kept = await store.series_of(tx, "SNAP-1")
        (lying,) = (await store.payloads_at(tx, [payload["hash"]])).values()
        places = [one.place for one in kept if one.place]
        by_parts = [part for place in places for part in await store.parts_of(tx, lying, [place])]
        assert by_parts == await store.parts_of(tx, lying, places)
    assert unpack(by_parts[1], 288).tolist() == samples["values"]

    before = (await house.get("/snapshots/SNAP-1")).json()
    await house.go_to(payload["kept_until"] - timedelta(hours=1))
    assert await house.worker.drain() == 0
    await house.go_on(hours=2)
    await house.worker.drain()
    (gone,) = await house.rows("SELECT bytes, expired_at FROM payloads")
    assert gone["bytes"] is None and gone["expired_at"] is not None
    assert (await house.get("/snapshots/SNAP-1")).json() == before  # every number stays
    document = (await house.get("/snapshots/SNAP-1/series?sli=errors")).json()
    (errors,) = document["series"]
    assert (document["resolution"], document["step_s"], document["steps"]) == ("hourly", 3600, 24)
    assert errors["values"] == [] and errors["max"][3] == max(samples["values"][36:48])
    assert len((await house.get("/snapshots/SNAP-1/series?sli=errors&points=12")).json()["series"][0]["min"]) == 12
    fetched = await keeping.with_samples(house.deps, kept)
    assert all(one.packed is None and one.rollup is not None for one in fetched)


async def test_two_snapshots_are_laid_side_by_side_as_json_csv_and_arrow(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    house.prometheus.level["errors"] = lambda t: np.where(np.abs(t - at.timestamp() - 7200) < 150, 50.0, 1.0)
    await house.go_to(at + DAY)
    await house.worker.drain()
    path = "/snapshots/SNAP-2/series?with=SNAP-1"
    document = (await house.get(path)).json()
    assert (document["resolution"], document["step_s"], document["steps"], document["with"]) == (
        "raw",
        300,
        288,
        "SNAP-1",
    )
    assert [one["sli"] for one in document["series"]] == ["latency", "errors", "heap"]  # all, when none is named
    errors = document["series"][1]
    benchmark = (await house.get("/snapshots/SNAP-1/series?sli=errors")).json()
    shift = round((document["start_s"] - benchmark["start_s"]) % 86_400 / 300) % 288
    own = benchmark["series"][0]["values"]
    assert errors["with"]["values"] == own[shift:] + own[:shift] and errors["with"]["query"] == "errors"

    # In 24 steps, one of the 288 samples that is fifty times the others is still there.
    few = (await house.get(path + "&points=24&sli=errors")).json()
    assert (few["steps"], few["step_s"], few["series"][0]["values"]) == (24, 3600, [])
    assert max(few["series"][0]["max"]) == max(errors["values"]) > 10 * max(few["series"][0]["min"])
    assert max(few["series"][0]["with"]["max"]) == max(own)

    answer = await house.client.get(
        f"/snapshotter/v1{path}", headers={**house.headers("ada"), "Accept": "application/vnd.apache.arrow.stream"}
    )
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.column_names == ["sli", "at", "value", "with_value"] and table.num_rows == 3 * 288
    assert table["value"].to_pylist()[288:576] == errors["values"]
    assert table["with_value"].to_pylist()[288:576] == errors["with"]["values"]
    assert table["at"][288].as_py().timestamp() == pytest.approx(document["start_s"], abs=0.001)
    assert set(table["sli"].to_pylist()[288:576]) == {"errors"}

    rows = list(csv.reader((await house.get(path + "&format=csv&sli=errors&points=24")).text.splitlines()))
    assert rows[0] == ["sli", "at", "min", "max", "with_min", "with_max"] and len(rows) == 25
    assert [float(row[3]) for row in rows[1:]] == few["series"][0]["max"] and rows[1][1].endswith("Z")

    wrong = await house.get("/snapshots/SNAP-1/series?with=SNAP-2", "stranger")
    assert wrong.status_code == 404


async def test_large_samples_lie_in_the_object_store_until_their_time_has_come(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_bucket(house, tmp_path, monkeypatch)
    await house.begin()
    (payload,) = await house.rows("SELECT hash, bytes, key, kept_until FROM payloads")
    assert payload["bytes"] is None and files(tmp_path) == [payload["hash"]]
    read = (await house.get("/snapshots/SNAP-1/series?sli=errors")).json()["series"][0]
    assert read["missing"] is None and len(read["values"]) == 288

    at = await house.deployed()
    await house.go_to(at + DAY)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "steady"  # judged on what the object store gave back

    # An object that is gone, or a store that does not answer, is a plain 503 and not a hole in the samples.
    (tmp_path / payload["key"]).rename(tmp_path / "away")
    refused = await house.get("/snapshots/SNAP-1/series?sli=errors")
    assert refused.status_code == 503 and "samples cannot be read" in refused.json()["detail"]
    (tmp_path / "away").rename(tmp_path / payload["key"])

    await house.go_to(payload["kept_until"] + timedelta(hours=1))
    await house.worker.drain()
    assert payload["hash"] not in files(tmp_path)
    (gone,) = await house.rows("SELECT key, expired_at FROM payloads WHERE hash = $1", payload["hash"])
    assert gone["key"] is None and gone["expired_at"] is not None


async def test_an_upload_that_nobody_claims_is_removed_and_a_repeat_is_harmless(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_bucket(house, tmp_path, monkeypatch)
    values = np.arange(500.0)
    made = await keeping.uploaded(house.deps, bundle([values, None]))
    again = await keeping.uploaded(house.deps, bundle([values, None]))
    assert again == made and files(tmp_path) == [made.hash] and made.places[1] is None
    await house.go_on(days=3)
    await house.worker.drain()
    assert files(tmp_path) == [] and await house.rows("SELECT * FROM payloads") == []

    # One that would be claimed after that is refused, and the whole try made again; then it stays as long as was said.
    async with house.db.house() as tx:
        with pytest.raises(Busy):
            await store.save_payload(tx, made, kept_until=tx.now + DAY)
    made = await keeping.uploaded(house.deps, bundle([values, None]))
    for days in (30, 10):
        async with house.db.house() as tx:
            await store.save_payload(tx, made, kept_until=tx.now + days * DAY)
    await house.go_on(days=11)
    await house.worker.drain()
    place = made.places[0]
    assert place is not None
    found = (await keeping.fetched(house.deps, [place]))[place]
    assert found is not None and unpack(found, 500).tolist() == values.tolist()
    await house.go_on(days=20)
    await house.worker.drain()
    assert files(tmp_path) == [] and (await keeping.fetched(house.deps, [place]))[place] is None


async def test_an_object_store_that_fails_keeps_nothing_and_is_tried_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_bucket(house, tmp_path, monkeypatch)
    await house.policy()
    await house.registered()

    async def broken(*_: object) -> None:
        raise BucketError("the object store fails (PermissionDeniedError)")

    with monkeypatch.context() as patch:
        patch.setattr(house.deps.bucket, "put", broken)
        refused = await house.publish()
    assert refused.status_code == 503 and "PermissionDenied" in refused.json()["detail"]
    assert await house.rows("SELECT * FROM snapshots") == []
    assert (await house.publish()).status_code == 201


async def test_an_object_store_that_stays_away_ends_patience_and_loses_no_snapshot(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_bucket(house, tmp_path, monkeypatch)
    await house.begin()
    at = await house.deployed()
    (tmp_path / "samples").rename(tmp_path / "away")  # what the benchmark holds cannot be read, nor anything be written
    (tmp_path / "samples").touch()
    await house.go_to(at + DAY)
    await house.worker.drain()
    waiting = (await house.observation())["current"]
    assert waiting["state"] == "capturing" and "object store" in waiting["waiting_for"]
    house.prometheus.asked.clear()
    await house.go_on(minutes=10)
    await house.worker.drain()
    assert sorted(house.prometheus.asked) == [
        "errors",
        "heap",
        "latency",
    ]  # their history: the day itself is remembered
    await house.go_on(minutes=60)
    await house.worker.drain()
    (overdue,) = await house.said(SnapshotOverdue)
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "no_data" and "object store" in overdue.reason, (closed, overdue)
    read = (await house.get(f"/snapshots/{closed.snapshot_id}/series?sli=errors")).json()["series"][0]
    assert len(read["values"]) == 288 and None not in read["values"]  # in the database

    (tmp_path / "samples").unlink()
    (tmp_path / "away").rename(tmp_path / "samples")
    assert (await house.get("/snapshots/SNAP-1/series?sli=errors")).status_code == 200


async def test_a_retry_does_not_read_again_what_was_read(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    house.prometheus.failing = {"errors"}
    await house.go_to(at + DAY)
    house.prometheus.asked.clear()
    await house.worker.drain()
    assert sorted(house.prometheus.asked) == ["errors", "heap", "latency"]
    house.prometheus.asked.clear()
    await house.go_on(minutes=10)
    await house.worker.drain()
    assert house.prometheus.asked == ["errors"]
    house.prometheus.failing = set()
    await house.go_on(minutes=10)
    house.prometheus.asked.clear()
    await house.worker.drain()
    assert sorted(house.prometheus.asked) == ["errors", "errors", "heap", "latency"]  # the rest, and each one's history
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "steady"
    assert await house.rows("SELECT * FROM partial_readings") == []


async def test_what_a_superseded_look_has_read_is_forgotten(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    house.prometheus.failing = {"errors"}
    await house.go_to(at + DAY)
    await house.worker.drain()
    assert len(await house.rows("SELECT * FROM partial_readings")) == 2
    house.prometheus.failing = set()
    await house.deployed(at=at - timedelta(hours=1), revision=2)
    assert await house.rows("SELECT * FROM partial_readings") == []


async def test_a_dry_run_says_which_queries_return_nothing_several_series_or_nan(house: House) -> None:
    await house.policy()
    before = await house.tables()
    house.prometheus.level["latency"] = lambda t: np.where(t % 600 < 300, np.nan, 1.0)
    house.prometheus.level["errors"] = lambda t: np.full_like(t, np.nan)
    answer = await house.get("/products/epl/sli-check?hours=2", "ada")
    view = answer.json()
    assert answer.status_code == 200 and not view["is_fine"], view
    assert {one["sli"]: one["result"] for one in view["slis"]} == {
        "latency": "gaps", "errors": "no_numbers", "heap": "fine"
    }  # fmt: skip
    assert "12 of 24 steps have no number" in view["slis"][0]["sentence"]
    house.prometheus.down = True
    down = (await house.get("/products/epl/sli-check")).json()
    assert {one["result"] for one in down["slis"]} == {"failed"}
    assert await house.tables() == before
    for path, who, status in (("epl", "stranger", 404), ("none", "ada", 404), ("epl/sli-check?hours=25", "ada", 422)):
        assert (await house.get(f"/products/{path}{'' if '?' in path else '/sli-check'}", who)).status_code == status
