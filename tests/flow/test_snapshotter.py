"""Benchmarks and the 24 hours, on a real database and through the snapshotter's own doors."""

from __future__ import annotations

import asyncio
import json
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
    DeviationDetected,
    DeviationWithdrawn,
    ObservationClosed,
    ObservationSuperseded,
    SnapshotOverdue,
    SnapshotTaken,
)
from tests.observing import POLICY, House, snapshotter
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        yield made


def worse(query: str, house: House, since: float, by: float = 2.0) -> None:
    house.prometheus.level[query] = lambda t: np.where(t >= since, by, 1.0)


# -- benchmark --------------------------------------------------------------------------------------------------------


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


async def test_two_at_once_with_the_same_key_are_one_benchmark(house: House) -> None:
    await house.policy()
    await house.registered()
    answers = await asyncio.gather(*(house.publish(once="k1") for _ in range(4)))
    assert {a.status_code for a in answers} <= {201, 409}
    assert len({a.content for a in answers if a.status_code == 201}) == 1
    assert len(await house.said(BenchmarkPublished)) == 1


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


# -- the 24 hours -----------------------------------------------------------------------------------------------------


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
    house.prometheus.down = False
    await house.go_on(minutes=10)
    await house.worker.drain()
    (closed,) = await house.said(ObservationClosed)
    assert closed.outcome == "steady" and await house.said(SnapshotOverdue) == []
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
