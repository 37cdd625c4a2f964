"""The 24 hours: what a look finds and says, on a real database and through the snapshotter's own doors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.contracts import (
    DeviationDetected,
    ObservationClosed,
    SnapshotDelayed,
    SnapshotOverdue,
    SnapshotTaken,
)
from tests.observing import POLICY, House, snapshotter, worse
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        yield made


async def test_a_steady_deploy_is_closed_steady_a_day_later(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    waiting = await house.observation()
    assert waiting["current"]["state"] == "scheduled" and await house.worker.drain() == 0
    await house.go_to(at + DAY)
    assert (await house.observation())["current"]["state"] == "due"
    assert await house.worker.drain() == 1
    look = (await house.observation())["current"]
    assert (look["state"], look["outcome"]) == ("closed", "steady"), look
    assert [c["outcome"] for c in look["comparisons"]] == ["steady"] * 3 and look["history_days"] == 2
    (closed,) = await house.said(ObservationClosed)
    assert closed.benchmark_id == "SNAP-1" and closed.snapshot_id == "SNAP-2" and len(closed.comparisons) == 3
    snapshot = (await house.said(SnapshotTaken))[-1]
    assert (snapshot.window_start, snapshot.window_end) == (at, at + DAY) and snapshot.kind == "after"
    assert await house.said(DeviationDetected) == []
    assert (
        await house.worker.drain() == 0 and await house.rows("SELECT * FROM agenda WHERE job = 'take_snapshot'") == []
    )


async def test_all_that_is_said_of_a_cr_is_numbered_without_gaps(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    worse("latency", house, at.timestamp())
    await house.go_to(at + DAY)
    await house.worker.drain()
    headers = await house.rows("SELECT headers::text AS h FROM outbox ORDER BY id")
    numbers = [int(dict(json.loads(row["h"]))["ce_sequence"]) for row in headers]
    assert numbers == [1, 2, 3, 4, 5]


async def test_a_deploy_that_moved_is_a_deviation_of_the_gravest_sli_that_decides(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    worse("latency", house, at.timestamp(), 3.0)
    worse("errors", house, at.timestamp(), 1.6)
    worse("heap", house, at.timestamp(), 9.0)  # a shadow: shown, never decides
    await house.go_to(at + DAY)
    await house.worker.drain()
    (deviation,) = await house.said(DeviationDetected)
    assert (deviation.deviation_id, deviation.sli, deviation.severity) == ("DEV-CR-1-1-1", "errors", "critical")
    assert deviation.slis_moved == 2 and deviation.slis_judged == 2 and deviation.release_id == "epl-1"
    assert deviation.after is not None and deviation.before is not None and deviation.after > deviation.before
    look = (await house.observation())["current"]
    assert look["deviation"] == "DEV-CR-1-1-1" and look["sentence"].startswith("Moved: 2 of 2 SLIs")


async def test_without_a_benchmark_the_answer_is_no_data_and_says_so(house: House) -> None:
    await house.policy()
    await house.registered()
    at = await house.deployed()
    await house.go_on(seconds=5)
    await house.publish()  # too late: it satisfies nothing
    await house.go_to(at + DAY)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "no_data" and closed.benchmark_id is None and "after the deploy" in closed.sentence
    view = await house.observation()
    assert view["benchmark"]["state"] == "late" and view["benchmark"]["late"] == ["SNAP-1"]


async def test_with_a_stale_benchmark_nothing_is_ever_steady(house: House) -> None:
    await house.begin()
    await house.go_on(hours=50)
    at = await house.deployed()
    assert (await house.observation())["benchmark"]["state"] == "stale"
    await house.go_to(at + DAY)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "inconclusive" and "stale" in closed.sentence and closed.benchmark_id == "SNAP-1"


async def test_a_series_that_another_query_measured_is_no_benchmark(house: House) -> None:
    await house.begin()
    changed = POLICY.slis[0].model_copy(update={"query": "errors"})
    await house.policy(POLICY.model_copy(update={"slis": (changed, *POLICY.slis[1:])}))
    at = await house.deployed()
    await house.go_to(at + DAY)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "no_data" and "another query" in closed.comparisons[0].sentence


async def test_a_source_that_comes_back_within_patience_gives_the_nominal_window(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    house.prometheus.down = True
    await house.go_to(at + DAY)
    await house.worker.drain()
    look = (await house.observation())["current"]
    assert look["state"] == "capturing" and look["attempts"] == 1 and "cannot be reached" in look["waiting_for"]
    await house.go_on(minutes=10)
    await house.worker.drain()
    assert await house.said(ObservationClosed) == []
    (delayed,) = await house.said(SnapshotDelayed)  # of the first try; those after it had nothing new to say
    assert (delayed.kind, delayed.due_at, delayed.tried_until) == ("after", at + DAY, at + DAY + timedelta(minutes=60))
    assert delayed.reason.startswith("the source does not answer for 3 of 3 SLIs: ")
    assert delayed.reason.count("cannot be reached") == 1 and delayed.reason.endswith(" (latency, errors, heap)")
    assert [m.sli for m in delayed.missing] == ["latency", "errors", "heap"]
    house.prometheus.down, house.prometheus.failing = False, {"errors"}
    await house.go_on(minutes=10)
    await house.worker.drain()
    await house.go_on(minutes=10)
    await house.worker.drain()
    assert [m.sli for m in (await house.said(SnapshotDelayed))[1].missing] == ["errors"]  # and of another reason
    house.prometheus.failing = set()
    await house.go_on(minutes=10)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "steady" and await house.said(SnapshotOverdue) == []
    assert len(await house.said(SnapshotDelayed)) == 2
    acts = await house.rows(
        "SELECT action, detail->>'reason' AS reason FROM audit WHERE action = 'delay_snapshot' ORDER BY id"
    )
    assert [row["reason"] for row in acts] == [said.reason for said in await house.said(SnapshotDelayed)]
    taken = (await house.said(SnapshotTaken))[-1]
    assert (taken.window_start, taken.window_end) == (at, at + DAY)


async def test_a_source_that_stays_away_is_overdue_and_no_data_once(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    house.prometheus.down = True
    await house.go_to(at + DAY)
    await house.worker.drain()
    await house.go_to(at + DAY + timedelta(minutes=61))
    await house.worker.drain()
    (overdue,) = await house.said(SnapshotOverdue)
    assert overdue.due_at == at + DAY and "cannot be reached" in overdue.reason
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "no_data" and all(c.outcome == "no_data" for c in closed.comparisons)
    assert [m.sli for m in (await house.said(SnapshotTaken))[-1].missing] == ["latency", "errors", "heap"]
    look = (await house.observation())["current"]
    assert look["state"] == "closed" and look["overdue_at"] is not None
    assert await house.rows("SELECT * FROM agenda WHERE job = 'take_snapshot'") == []


async def test_what_can_be_read_is_judged_when_patience_ends(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    worse("errors", house, at.timestamp())
    house.prometheus.failing = {"latency"}
    await house.go_to(at + DAY)
    await house.worker.drain()
    assert await house.said(ObservationClosed) == []  # errors moved already, but latency may still come
    await house.go_on(hours=2)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert {c.sli: c.outcome for c in closed.comparisons} == {"latency": "no_data", "errors": "moved", "heap": "steady"}
    assert closed.outcome == "moved" and len(await house.said(SnapshotOverdue)) == 1


async def test_a_first_try_long_after_the_due_time_does_not_give_up_at_once(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    house.prometheus.down = True
    await house.go_to(at + DAY + timedelta(hours=9))  # it was we who were away
    await house.worker.drain()
    assert await house.said(SnapshotOverdue) == []
    house.prometheus.down = False
    await house.go_on(minutes=1)
    await house.worker.drain()
    assert (await house.said(ObservationClosed))[0].outcome == "steady"


async def test_a_judge_that_fails_is_no_silence_but_no_data_when_patience_ends(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("services.snapshotter.handlers.observations.judged", broken)
    await house.begin()
    at = await house.deployed()
    await house.go_to(at + DAY)
    await house.worker.drain()
    assert await house.said(ObservationClosed) == []
    assert [said.reason for said in await house.said(SnapshotDelayed)] == ["the judge failed on it (ZeroDivisionError)"]
    await house.go_on(minutes=61)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "no_data" and "the judge failed" in closed.sentence
    assert len(await house.said(SnapshotOverdue)) == 1


async def test_a_deploy_reported_late_is_looked_at_at_once_over_the_nominal_window(house: House) -> None:
    await house.begin()
    await house.go_on(hours=40)
    at = await house.now() - timedelta(hours=39)
    await house.deployed(at=at)
    assert await house.worker.drain() == 1
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "steady"
    taken = (await house.said(SnapshotTaken))[-1]
    assert (taken.window_start, taken.window_end) == (at, at + DAY)
