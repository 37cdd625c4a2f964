"""What is heard later: corrections, rollbacks, other changes, and letters in any order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.contracts import (
    DeviationDetected,
    DeviationWithdrawn,
    ObservationClosed,
    ObservationSuperseded,
    SnapshotTaken,
)
from tests.observing import House, snapshotter, worse
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        yield made


# -- corrections ------------------------------------------------------------------------------------------------------


async def test_a_corrected_deploy_time_moves_the_appointment_and_supersedes_the_older_look(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    later = at + timedelta(hours=3)
    await house.go_to(later)
    await house.deployed(at=later, revision=2)
    (row,) = await house.rows("SELECT subject, revision, due_at FROM agenda WHERE job = 'take_snapshot'")
    assert (row["subject"], row["revision"], row["due_at"]) == ("CR-1/1/after", 2, later + DAY)
    (gone,) = await house.said(ObservationSuperseded)
    assert gone.revision == 1 and "corrected" in gone.reason
    looks = (await house.observation())["deployments"][0]["observations"]
    assert [(look["revision"], look["state"]) for look in looks] == [(1, "superseded"), (2, "scheduled")]


async def test_a_verdict_is_withdrawn_with_its_deviation_when_the_deploy_time_was_wrong(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    worse("errors", house, at.timestamp() + 3600)
    await house.go_to(at + DAY)
    await house.worker.drain()
    await house.deployed(at=at + timedelta(minutes=5), revision=2)
    (withdrawn,) = await house.said(DeviationWithdrawn)
    assert (withdrawn.deviation_id, withdrawn.revision) == ("DEV-CR-1-1-1", 1)
    await house.go_to(at + DAY + timedelta(minutes=5))
    await house.worker.drain()
    assert [d.deviation_id for d in await house.said(DeviationDetected)] == ["DEV-CR-1-1-1", "DEV-CR-1-1-2"]
    old = (await house.observation())["deployments"][0]["observations"][0]
    assert old["state"] == "superseded" and old["outcome"] == "moved" and len(old["comparisons"]) == 3
    assert (await house.get(f"/snapshots/{old['snapshot']}")).status_code == 200


async def test_an_older_revision_heard_later_changes_nothing(house: House) -> None:
    await house.begin()
    at = await house.deployed(revision=2)
    before = await house.tables()
    await house.deployed(at=at - timedelta(hours=5), revision=1)
    await house.deployed(at=at - timedelta(hours=5), revision=2)
    after = await house.tables()
    assert {n: r for n, r in after.items() if n != "positions"} == {n: r for n, r in before.items() if n != "positions"}


async def test_the_same_letter_twice_is_one_snapshot(house: House) -> None:
    await house.begin()
    at = await house.deployed(id="letter-1")
    await house.deployed(at=at, id="letter-1")
    await house.deployed(at=at, id="letter-2")
    await house.go_to(at + DAY)
    await house.worker.drain()
    await house.deployed(at=at, id="letter-3")
    await house.worker.drain()
    assert [s.kind for s in await house.said(SnapshotTaken)] == ["benchmark", "after"]
    assert len(await house.said(ObservationClosed)) == 1


async def test_a_correction_during_the_capture_leaves_the_old_look_without_effect(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    await house.go_to(at + DAY)
    (claimed,) = await house.worker.claim(5)
    await house.deployed(at=at + timedelta(hours=1), revision=2)
    await house.worker.do(claimed)
    assert await house.said(ObservationClosed) == []
    (row,) = await house.rows("SELECT revision FROM agenda WHERE job = 'take_snapshot'")
    assert row["revision"] == 2


async def test_a_second_worker_that_runs_the_same_look_adds_nothing(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    await house.go_to(at + DAY)
    (claimed,) = await house.worker.claim(5)
    await asyncio.gather(house.worker.do(claimed), house.worker.do(claimed))
    assert len(await house.said(ObservationClosed)) == 1
    assert len(await house.rows("SELECT * FROM snapshots WHERE kind = 'after'")) == 1


# -- rollback ---------------------------------------------------------------------------------------------------------


async def test_an_early_rollback_ends_the_pending_look_and_arms_the_recovery(house: House) -> None:
    await house.begin()
    await house.deployed()
    await house.go_on(hours=2)
    back = await house.rolled_back()
    (gone,) = await house.said(ObservationSuperseded)
    assert gone.kind == "after" and gone.reason.startswith("rolled back")
    (row,) = await house.rows("SELECT subject, due_at FROM agenda WHERE job = 'take_snapshot'")
    assert (row["subject"], row["due_at"]) == ("CR-1/1/recovery", back + timedelta(hours=4))
    await house.go_to(back + timedelta(hours=4))
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.kind == "recovery" and closed.outcome == "steady" and closed.sentence.startswith("Recovered")
    taken = (await house.said(SnapshotTaken))[-1]
    assert (taken.kind, taken.window_start, taken.window_end) == ("recovery", back, back + timedelta(hours=4))


async def test_a_rollback_that_did_not_help_says_so_and_opens_no_second_deviation(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    worse("errors", house, at.timestamp())
    await house.go_to(at + DAY)
    await house.worker.drain()
    back = await house.rolled_back()
    await house.go_to(back + timedelta(hours=4))
    await house.worker.drain()
    after, recovery = await house.said(ObservationClosed)
    assert (after.outcome, recovery.outcome) == ("moved", "moved")
    assert recovery.sentence.startswith("Not recovered") and len(await house.said(DeviationDetected)) == 1
    assert await house.said(ObservationSuperseded) == []  # the verdict was true of what it saw


async def test_a_corrected_rollback_time_moves_the_recovery(house: House) -> None:
    await house.begin()
    await house.deployed()
    await house.go_on(hours=2)
    back = await house.rolled_back()
    await house.rolled_back(at=back + timedelta(minutes=20), revision=2)
    await house.rolled_back(at=back, revision=1)
    (row,) = await house.rows("SELECT subject, revision, due_at FROM agenda WHERE job = 'take_snapshot'")
    assert (row["revision"], row["due_at"]) == (2, back + timedelta(hours=4, minutes=20))
    assert [(s.kind, s.revision) for s in await house.said(ObservationSuperseded)] == [("after", 1), ("recovery", 1)]


async def test_a_rollback_that_turns_out_to_have_come_after_the_day_arms_the_look_again(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    await house.go_on(hours=30)
    await house.rolled_back(at=at + timedelta(hours=2))  # by a clock that was wrong
    await house.rolled_back(at=at + timedelta(hours=29), revision=2)
    armed = await house.rows("SELECT subject FROM agenda WHERE job = 'take_snapshot'")
    assert {row["subject"] for row in armed} == {"CR-1/1/after", "CR-1/1/recovery"}
    await house.worker.drain()
    assert [(c.kind, c.outcome) for c in await house.said(ObservationClosed)][:1] == [("after", "steady")]


async def test_a_second_deployment_is_looked_at_on_its_own(house: House) -> None:
    await house.begin()
    await house.deployed()
    await house.go_on(hours=1)
    await house.rolled_back()
    await house.go_on(hours=6)
    again = await house.deployed(deployment=2)
    await house.worker.drain()
    await house.go_to(again + DAY)
    await house.worker.drain()
    closed = await house.said(ObservationClosed)
    assert [(c.deployment, c.kind, c.outcome) for c in closed] == [(1, "recovery", "steady"), (2, "after", "steady")]


async def test_a_withdrawal_after_the_deploy_does_not_end_the_observation(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    await house.withdrawn()
    await house.go_to(at + DAY)
    await house.worker.drain()
    assert (await house.said(ObservationClosed))[0].outcome == "steady"
    assert (await house.observation())["is_withdrawn"] is True


# -- order of arrival -------------------------------------------------------------------------------------------------


async def test_a_deploy_under_a_policy_not_heard_yet_waits_for_it_and_is_not_lost(house: House) -> None:
    at = await house.deployed()
    assert await house.rows("SELECT * FROM observations") == []
    assert len(await house.rows("SELECT * FROM parked")) == 1
    await house.registered()  # behind it, in its key
    await house.policy()
    await house.go_on(seconds=10)
    await house.worker.drain()
    assert await house.rows("SELECT * FROM parked") == []
    view = await house.observation()
    assert view["deployments"][0]["deployed_at"].startswith(at.isoformat()[:19])


async def test_a_rollback_heard_before_its_deploy_is_kept(house: House) -> None:
    await house.begin()
    at = await house.now() - timedelta(hours=2)
    await house.rolled_back(at=at + timedelta(hours=1))
    await house.deployed(at=at)
    looks = (await house.observation())["deployments"][0]["observations"]
    assert [(look["kind"], look["state"]) for look in looks] == [("after", "superseded"), ("recovery", "scheduled")]
    agenda = await house.rows("SELECT subject FROM agenda WHERE job = 'take_snapshot'")
    assert [row["subject"] for row in agenda] == ["CR-1/1/recovery"]


async def test_another_cr_deployed_inside_the_window_is_shown_on_both(house: House) -> None:
    await house.begin()
    await house.deployed()
    await house.go_on(hours=5)
    await house.registered("CR-2")
    await house.deployed("CR-2")
    await house.go_on(hours=20)  # after the first one's day, inside the second one's
    await house.registered("CR-3")
    last = await house.deployed("CR-3")
    shown = {}
    for cr in ("CR-1", "CR-2", "CR-3"):
        look = (await house.observation(cr))["current"]
        shown[cr] = [a["change_request"] for a in look["also_deployed"]]
    assert shown == {"CR-1": ["CR-2"], "CR-2": ["CR-1", "CR-3"], "CR-3": ["CR-2"]}
    await house.go_to(last + DAY)
    await house.worker.drain()
    said = {c.cr_id: [a.change_request for a in c.also_deployed] for c in await house.said(ObservationClosed)}
    assert said == shown


async def test_a_benchmark_by_somebody_who_turns_out_to_be_the_deployer_does_not_count(house: House) -> None:
    await house.begin()  # published by olga
    at = await house.deployed(deployer="local|olga")
    await house.go_to(at + DAY)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "no_data" and "olga" in closed.sentence
