"""Early looks, from the deploy to the verdict of the day: what they raise, and what they never say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from shared.contracts import (
    DeviationDetected,
    DeviationWithdrawn,
    EarlyLookTaken,
    ObservationClosed,
    ObservationSuperseded,
    SnapshotTaken,
)
from tests.observing import POLICY, House, snapshotter
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)
LOOKS = POLICY.model_copy(
    update={"observation": POLICY.observation.model_copy(update={"early_looks_min": (60, 120, 360)})}
)


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        await made.policy(LOOKS)
        await made.registered()
        assert (await made.publish()).status_code == 201
        yield made


async def armed(house: House) -> list[tuple[str, datetime]]:
    rows = await house.rows(
        "SELECT job, due_at FROM agenda WHERE job IN ('look_early', 'take_snapshot') ORDER BY due_at"
    )
    return [(row["job"], row["due_at"]) for row in rows]


async def current(house: House) -> dict[str, Any]:
    found: dict[str, Any] = (await house.observation())["current"]
    return found


async def test_quiet_looks_say_nothing_and_the_day_has_its_own_verdict(house: House) -> None:
    at = await house.deployed()
    assert await armed(house) == [("look_early", at + timedelta(minutes=60)), ("take_snapshot", at + DAY)]
    for minutes in (60, 120):
        await house.go_to(at + timedelta(minutes=minutes))
        await house.worker.drain()
    look = await current(house)
    assert [(e["after_min"], e["found"]) for e in look["early"]] == [(60, "nothing"), (120, "nothing")]
    assert "the look after 24 hours decides" in look["early"][0]["sentence"]
    assert look["state"] == "scheduled" and look["outcome"] is None and look["next_early_at"] is not None
    house.prometheus.down = True  # an early look has no patience to wait for a source, and closes nothing
    await house.go_to(at + timedelta(minutes=361))
    for _ in range(3):
        await house.worker.drain()
        await house.go_on(seconds=30)
    assert (await current(house))["early"][-1]["found"] == "no_data"
    told = await house.said(EarlyLookTaken)
    assert [(one.after_min, one.found, one.revision) for one in told] == [
        (60, "nothing", 1), (120, "nothing", 1), (360, "no_data", 1),
    ]  # fmt: skip
    assert [one.sentence for one in told] == [one["sentence"] for one in (await current(house))["early"]]
    assert "This is no pass." in told[0].sentence and (told[0].window_start, told[0].window_end) == (
        at, at + timedelta(minutes=60),
    )  # fmt: skip
    house.prometheus.down = False
    assert await house.said(DeviationDetected) == [] and await house.said(ObservationClosed) == []
    assert await armed(house) == [("take_snapshot", at + DAY)]
    await house.go_to(at + DAY)
    await house.worker.drain()
    assert [c.outcome for c in await house.said(ObservationClosed)] == ["steady"]
    assert [s.kind for s in await house.said(SnapshotTaken)] == ["benchmark", "after"]


async def test_a_gross_change_is_a_deviation_within_the_hour_and_is_said_once(house: House) -> None:
    at = await house.deployed()
    house.prometheus.level["errors"] = lambda t: np.where(t >= at.timestamp(), 5.0, 1.0)
    await house.go_to(at + timedelta(minutes=60))
    await house.worker.drain()
    (raised,) = await house.said(DeviationDetected)
    assert await house.said(EarlyLookTaken) == []
    assert (raised.sli, raised.early_min, raised.slis_moved) == ("errors", 60, 1)
    assert (
        raised.sentence.startswith("Early, 60 min after the deploy: Errors") and raised.deviation_id == "DEV-CR-1-1-1"
    )
    look = await current(house)
    assert look["deviation"] == "DEV-CR-1-1-1" and look["state"] == "scheduled"
    evidence = (await house.get(f"/snapshots/{look['early'][0]['snapshot']}")).json()
    assert evidence["kind"] == "early" and evidence["window"]["end"].startswith(
        (at + timedelta(minutes=60)).isoformat()[:16]
    )
    assert await armed(house) == [("take_snapshot", at + DAY)]  # nothing more to raise
    await house.go_to(at + DAY)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "moved" and len(await house.said(DeviationDetected)) == 1


async def test_a_rollback_keeps_what_an_early_look_saw_and_a_wrong_deploy_time_takes_it_back(house: House) -> None:
    at = await house.deployed()
    house.prometheus.level["errors"] = lambda t: np.where(t >= at.timestamp(), 5.0, 1.0)
    await house.go_to(at + timedelta(minutes=61))
    await house.worker.drain()
    later = at + timedelta(minutes=20)
    await house.deployed(at=later, revision=2)
    (withdrawn,) = await house.said(DeviationWithdrawn)
    assert withdrawn.deviation_id == "DEV-CR-1-1-1"
    assert await armed(house) == [("look_early", later + timedelta(minutes=60)), ("take_snapshot", later + DAY)]
    await house.go_to(later + timedelta(minutes=60))
    await house.worker.drain()
    assert [d.deviation_id for d in await house.said(DeviationDetected)] == ["DEV-CR-1-1-1", "DEV-CR-1-1-2"]
    await house.go_on(minutes=30)
    await house.rolled_back()
    assert len(await house.said(DeviationWithdrawn)) == 1  # what it saw was true
    assert [(s.kind, s.revision) for s in await house.said(ObservationSuperseded)] == [("after", 1), ("after", 2)]
    assert [job for job, _ in await armed(house)] == ["take_snapshot"]
    house.prometheus.level.clear()
    await house.go_on(hours=20)  # most of a day later the run that deviated still lies in the window
    refused = await house.publish(product="epl", reason="a day", despite={"moved": "we know", "gaps": "none"})
    assert refused.status_code == 409 and "that deviated" in refused.json()["detail"]


async def test_a_deploy_reported_late_gets_the_last_early_look_it_missed_and_after_the_day_none(house: House) -> None:
    await house.go_on(hours=9)
    at = await house.now() - timedelta(hours=3)
    await house.deployed(at=at)
    await house.worker.drain()
    assert [e["after_min"] for e in (await current(house))["early"]] == [120]
    await house.go_on(hours=30)
    old = await house.now() - timedelta(hours=29)
    await house.registered("CR-2")
    await house.deployed("CR-2", at=old)
    await house.worker.drain()
    assert (await house.observation("CR-2"))["current"]["early"] == []
    assert [job for job, _ in await armed(house)] == []
