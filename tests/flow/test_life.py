"""The whole life of a change through the public doors of all four services, with a clock that is stepped forward.

Each test walks one way that a change can go; what is asserted is what people and deployers would see.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from shared.contracts import (
    CRDeployed,
    DeviationDetected,
    DeviationWithdrawn,
    InvestigationEscalated,
    ObservationClosed,
    SnapshotDelayed,
    SnapshotOverdue,
    SnapshotTaken,
)
from tests.flow.asking import codes, said, stage, when
from tests.flow.world import DAY, HOUR, MINUTE, WORSE, World, begun
from tests.servers.postgres import Databases

# -- 24 hours later ---------------------------------------------------------------------------------------------------


async def test_a_change_that_stays_steady_is_verified_after_24_hours_and_not_before(world: World) -> None:
    cr = await world.live()
    await world.step(23 * HOUR + 50 * MINUTE)
    await world.t.until_stage(cr.id, "observing")
    await world.quiet()
    assert await said(world, ObservationClosed, cr) == []
    await world.step(10 * MINUTE)
    found = await world.t.until_stage(cr.id, "verified")
    (deployment,) = found["deployments"]
    assert deployment["flags"] == [] and deployment["gate"]["go"] and deployment["gate"]["is_ready"]
    (look,) = deployment["observations"]
    deployed_at = when(deployment["deployed_at"])
    assert look["outcome"] == "steady" and look["benchmark_id"] == found["before"]["benchmark"]["snapshot_id"]
    assert (when(look["window_start"]), when(look["window_end"])) == (deployed_at, deployed_at + DAY)
    assert found["incidents"] == [] and deployment["investigations"] == []
    assert len(await said(world, ObservationClosed, cr)) == 1
    assert sorted(one.kind for one in await said(world, SnapshotTaken, cr)) == ["after", "benchmark"]


async def test_a_change_that_deviates_is_investigated_and_kept_only_with_an_explanation_and_a_reason(
    world: World,
) -> None:
    cr = await world.live(change=WORSE)
    await world.step(DAY)
    found = await world.t.until_stage(cr.id, "deviating")
    (deviation,) = found["deployments"][0]["deviations"]
    assert deviation["severity"] == "critical" and deviation["deviation_id"] == f"DEV-{cr.id}-1-1"
    one = await world.investigation(cr)
    assert one["owner"] == "local|pia" and one["deviation"] == deviation["deviation_id"] and one["state"] == "opened"
    keep = {"decision": "keep", "reason": "Partners knew; mended on Monday."}
    path = f"/incidents/v1/investigations/{one['id']}/decide"
    assert (await world.ask("paul", "POST", path, keep)).status_code == 403  # a PTASK engineer, of other changes
    assert (await world.ask("olga", "POST", path, keep)).status_code == 403
    assert (await world.ask("pia", "POST", path, keep)).status_code == 409  # not explained yet
    await world.investigate("eli", one["id"], "acknowledge")
    await world.t.until_stage(cr.id, "investigating")
    await world.investigate("eli", one["id"], "explain", explanation="A cache was cold for longer than foreseen.")
    await world.investigate("pia", one["id"], "decide", **keep)
    found = await world.t.until_stage(cr.id, "kept")
    (shown,) = found["deployments"][0]["investigations"]
    assert shown["decision"] == "keep" and shown["reason"] == keep["reason"] and shown["decided_by"] == "local|pia"
    assert [case["is_debt"] for case in await world.cases(product="epl")] == [True]  # kept, and owed all the same


async def test_a_rolled_back_change_recovers_and_the_next_release_pays_its_debt_by_a_proven_case(world: World) -> None:
    following = await world.release(ahead=6 * DAY)
    bad = await world.live(change=WORSE)
    await world.step(DAY)
    await world.t.until_stage(bad.id, "deviating")
    one = await world.investigation(bad)
    await world.investigate("pia", one["id"], "decide", decision="rollback", reason="Partners feel it.")
    await world.step(10 * MINUTE)
    await world.roll_back(bad)
    await world.t.until_stage(bad.id, "recovering")
    await world.step(4 * HOUR + MINUTE)
    found = await world.t.until_stage(bad.id, "recovered")
    assert [(look["kind"], look["outcome"]) for look in found["deployments"][0]["observations"]] == [
        ("after", "moved"),
        ("recovery", "steady"),
    ]
    (incident,) = found["incidents"]
    (case,) = await world.cases(release=following)
    assert case["is_debt"] and case["state"] == "owed" and incident["case_ids"] == [case["id"]]

    await world.step(DAY)  # a day without the deviation can be a benchmark again
    fixed = await world.register(release=following)
    await world.evidence(fixed)
    await world.benchmark(fixed)
    await world.reviewed(fixed)
    await world.go(fixed)
    await world.gate(fixed, "debt_open", go=False)
    page = await world.get(f"/reviewer/v1/releases/{following}")
    assert [(owed["case_id"], owed["counts"]) for owed in page["debt"]] == [(case["id"], True)]

    await world.marked(fixed, case["id"], "passed")  # never seen to fail: proves nothing
    await world.marked(fixed, case["id"], "failed", bad.commit)
    await world.gate(fixed, "debt_open", "review_void", "go_void", go=False)
    await world.marked(fixed, case["id"], "passed", bad.commit)  # the same code failed and passed: proves nothing
    await world.quiet()
    assert [(one["state"], one["is_debt"]) for one in await world.cases(release=following)] == [("red", True)]
    await world.marked(fixed, case["id"], "passed")
    await world.gate(fixed, "review_void", "go_void", go=False)
    (proven,) = await world.cases(release=following)
    assert not proven["is_debt"] and (proven["red_commit"], proven["green_commit"]) == (bad.commit, fixed.commit)
    await world.reviewed(fixed)
    await world.go(fixed)
    answer = await world.gate(fixed, go=True)
    assert answer["is_ready"]


async def test_a_change_that_does_not_come_back_after_its_rollback_needs_a_person(world: World) -> None:
    bad = await world.live(change=WORSE)
    await world.step(DAY)
    await world.t.until_stage(bad.id, "deviating")
    await world.report(bad, "rolled-back", {"rolled_back_at": (await world.now()).isoformat(), "reason": "worse"})
    await world.step(4 * HOUR + MINUTE)  # said to be rolled back, and it runs on
    found = await world.t.until_stage(bad.id, "needs_person")
    assert found["deployments"][0]["observations"][-1]["outcome"] == "moved"


async def test_a_rollback_before_the_24_hours_are_over_ends_the_look_and_says_so(world: World) -> None:
    cr = await world.live()
    await world.step(3 * HOUR)
    await world.roll_back(cr)
    await world.t.until_stage(cr.id, "recovering")
    await world.step(4 * HOUR + MINUTE)
    await world.t.until_stage(cr.id, "recovered")
    await world.step(20 * HOUR)
    await world.quiet()
    assert [one.kind for one in await said(world, ObservationClosed, cr)] == ["recovery"]
    found = await world.get(f"/snapshotter/v1/change-requests/{cr.id}/observation")
    (after, _) = found["deployments"][0]["observations"]
    assert after["state"] == "superseded" and "rolled back" in after["superseded_because"]


# -- absence is never success -----------------------------------------------------------------------------------------


async def test_series_that_fall_silent_while_others_speak_have_moved(world: World) -> None:
    cr = await world.live()
    world.telemetry.silent |= {"p99-latency", "error-ratio"}
    await world.step(DAY)
    found = await world.t.until_stage(cr.id, "deviating")
    (deviation,) = found["deployments"][0]["deviations"]
    assert (deviation["severity"], deviation["slis_moved"]) == ("critical", 2), deviation
    assert "fell silent" in deviation["sentence"]
    assert deviation["before"] is deviation["after"] is deviation["effect_relative"] is None
    (look,) = found["deployments"][0]["observations"]
    assert look["overdue"] is None  # nothing was waited for: the source had answered
    said_of = {one["sli"]: (one["outcome"], one["view"]) for one in look["comparisons"]}
    assert said_of["p99-latency"] == said_of["error-ratio"] == ("moved", "silent")
    assert said_of["throughput"] == ("steady", None)
    again = await world.get(f"/snapshotter/v1/change-requests/{cr.id}/recomputation")
    assert again["is_equal"], again
    page = (await world.ask("olga", "GET", f"/change-requests/{cr.id}")).text
    assert "response time fell silent" in page and '– <span class="unit">' not in page  # no number, so no unit


async def test_series_that_cannot_be_read_need_a_person_and_never_verify(world: World) -> None:
    cr = await world.live()
    world.telemetry.refused |= {"p99-latency", "error-ratio"}
    await world.step(DAY)
    found = await world.t.until_stage(cr.id, "needs_person")
    (look,) = found["deployments"][0]["observations"]
    assert look["outcome"] == "no_data"
    missing = {one["sli"]: one["outcome"] for one in look["comparisons"]}
    assert missing["p99-latency"] == missing["error-ratio"] == "no_data" and missing["throughput"] == "steady"
    one = await world.investigation(cr)
    assert one["deviation"] is None and one["incident"] is None and one["severity"] == "critical"
    assert "no_data" in one["because"]
    await world.investigate("pia", one["id"], "acknowledge")
    await world.t.until_stage(cr.id, "investigating")
    assert await world.cases(product="epl") == []


async def test_a_source_that_is_back_within_patience_gives_the_verdict_over_the_nominal_window(world: World) -> None:
    cr = await world.live()
    deployed_at = when((await world.t.dossier(cr.id))["deployments"][0]["deployed_at"])
    world.telemetry.down()
    await world.step(DAY)

    async def tried() -> bool:
        look = await world.observation(cr)
        return look["attempts"] >= 1 and look["waiting_for"] is not None

    await world.t.until("a first try", tried)
    assert await stage(world, cr) == "observing" and (await world.observation(cr))["outcome"] is None

    async def shown() -> Any:
        return (await world.t.dossier(cr.id))["deployments"][0]["waiting"]["delay"]

    waits = await world.t.until("what it waits for", shown)
    assert (
        when(waits["due_at"]) == deployed_at + DAY and "the source does not answer for 5 of 5 SLIs" in waits["reason"]
    )
    await world.step(50 * MINUTE)
    world.telemetry.up()
    await world.step(6 * MINUTE)  # the longest pause between two tries
    await world.t.until_stage(cr.id, "verified")
    look = await world.observation(cr)
    assert look["overdue_at"] is None and when(look["closed_at"]) > deployed_at + DAY + 50 * MINUTE
    assert (when(look["window"]["start"]), when(look["window"]["end"])) == (deployed_at, deployed_at + DAY)
    assert await said(world, SnapshotOverdue, cr) == []
    reasons = [one.reason for one in await said(world, SnapshotDelayed, cr)]
    assert waits["reason"] in reasons and all(one != next for one, next in pairwise(reasons))  # of a dozen tries
    assert (await world.t.dossier(cr.id))["deployments"][0]["waiting"] is None


async def test_a_source_that_stays_down_beyond_patience_is_overdue_for_all_to_see(world: World) -> None:
    cr = await world.live()
    world.telemetry.down()
    await world.step(DAY)

    async def tried() -> bool:
        return bool((await world.observation(cr))["attempts"])

    await world.t.until("a first try", tried)
    await world.step(125 * MINUTE)
    await world.t.until_stage(cr.id, "needs_person")  # of the silence already, before anything is said of it

    async def answered() -> Any:
        return (await world.t.dossier(cr.id))["deployments"][0]["observations"]

    (look,) = await world.t.until("what is said of it", answered)
    assert look["outcome"] == "no_data"
    (overdue,) = await said(world, SnapshotOverdue, cr)
    assert overdue.overdue_at - overdue.due_at > 2 * HOUR and "SLIs" in overdue.reason
    assert (await world.observation(cr))["overdue_at"] is not None
    one = await world.investigation(cr)
    assert "overdue" in one["because"] and one["severity"] in ("major", "critical")
    items = (await world.get("/incidents/v1/investigations", change_request=cr.id))["items"]
    assert len(items) == 1  # overdue and without an answer is one question, not two


async def test_without_a_benchmark_nothing_is_ever_steady(world: World) -> None:
    cr = await world.register()
    await world.evidence(cr)
    await world.deploy(cr)
    await world.step(10 * MINUTE)
    await world.benchmark(cr, despite={"observed": "It is too late for this deploy in any case."})
    found = await world.t.dossier(cr.id)
    assert found["before"]["benchmark"]["state"] in ("late", "missing")
    await world.step(DAY)
    found = await world.t.until_stage(cr.id, "needs_person")
    assert found["deployments"][0]["observations"][0]["outcome"] == "no_data"
    assert found["before"]["benchmark"]["state"] == "late"  # published after the deploy: shown, and satisfies nothing


# -- corrections and late words ---------------------------------------------------------------------------------------


async def test_a_deploy_time_corrected_before_the_verdict_moves_the_look(world: World) -> None:
    cr = await world.live()
    first = when((await world.t.dossier(cr.id))["deployments"][0]["deployed_at"])
    true = first + 2 * HOUR
    await world.step(3 * HOUR)
    await world.report(cr, "deployed", {"deployed_at": true.isoformat()})
    await world.step_to(first + DAY + 30 * MINUTE)
    await world.quiet()
    assert await said(world, ObservationClosed, cr) == []  # the old time has passed: nothing fires
    await world.step_to(true + DAY + MINUTE)
    found = await world.t.until_stage(cr.id, "verified")
    deployment = found["deployments"][0]
    assert deployment["revision"] == 2 and [when(at) for at in deployment["deploy"]["corrected"]] == [first]
    (closed,) = await said(world, ObservationClosed, cr)
    assert closed.revision == 2
    assert when((await world.observation(cr))["window"]["start"]) == true
    # Said once more, with the same time: nothing new.
    await world.report(cr, "deployed", {"deployed_at": true.isoformat()})
    assert [one.revision for one in await said(world, CRDeployed, cr)] == [1, 2]


async def test_a_deploy_time_corrected_after_the_verdict_withdraws_the_deviation_and_its_debt(world: World) -> None:
    cr = await world.live(change=WORSE)
    other = await world.register(author="eli")
    first = when((await world.t.dossier(cr.id))["deployments"][0]["deployed_at"])
    await world.step(DAY)
    await world.t.until_stage(cr.id, "deviating")
    one = await world.investigation(cr)
    assert len(await world.cases(product="epl")) == 1

    async def owes(wanted: bool) -> bool:
        answer = await world.get(f"/reviewer/v1/gate/{other.id}", "pipeline")
        return ("debt_open" in codes(answer["reasons"])) is wanted

    await world.t.until("the gate to see the debt", lambda: owes(True))
    true = first + HOUR
    await world.report(cr, "deployed", {"deployed_at": true.isoformat()})
    await world.t.until_stage(cr.id, "observing")
    (withdrawn,) = await said(world, DeviationWithdrawn, cr)
    assert withdrawn.deviation_id == f"DEV-{cr.id}-1-1" and "corrected" in withdrawn.reason
    closed = await world.get(f"/incidents/v1/investigations/{one['id']}")
    assert closed["state"] == "closed" and "corrected" in closed["reason"]
    incident = await world.get(f"/incidents/v1/incidents/{one['incident']}")
    assert incident["closed_at"] is not None and not any(case["is_debt"] for case in incident["regression_cases"])
    assert await world.cases(product="epl", is_debt=True) == []
    await world.t.until("the gate to forget the debt", lambda: owes(False))

    await world.step_to(true + DAY + MINUTE)
    found = await world.t.until_stage(cr.id, "deviating")
    looks = found["deployments"][0]["observations"]
    assert [(look["revision"], look["superseded"] is None) for look in looks] == [(1, False), (2, True)]
    assert [one.deviation_id for one in await said(world, DeviationDetected, cr)] == [
        f"DEV-{cr.id}-1-1",
        f"DEV-{cr.id}-1-2",
    ]
    assert len(await world.cases(product="epl", is_debt=True)) == 1


async def test_a_deploy_reported_a_day_late_is_judged_at_once(world: World) -> None:
    cr = await world.ready()
    deployed_at = await world.now()
    world.t.plant.deploy(cr.product, cr.change, deployed_at.timestamp())
    await world.step(25 * HOUR)
    await world.deploy(cr, deployed_at)
    found = await world.t.until_stage(cr.id, "verified")
    look = found["deployments"][0]["observations"][0]
    assert (when(look["window_start"]), when(look["window_end"])) == (deployed_at, deployed_at + DAY)


# -- the clock of the contract ----------------------------------------------------------------------------------------


async def test_the_look_survives_a_restart_over_its_due_time(postgres: Databases) -> None:
    async with begun(postgres) as world:
        cr = await world.live()
        await world.quiet()
        await world.stop()
        await world.step(DAY + 3 * HOUR)  # everything is down when it falls due
        await world.start()
        found = await world.t.until_stage(cr.id, "verified")
        (look,) = found["deployments"][0]["observations"]
        assert when(look["window_end"]) - when(look["window_start"]) == DAY
        assert len(await said(world, ObservationClosed, cr)) == 1


async def test_each_missed_step_of_an_investigation_is_escalated_once(world: World) -> None:
    cr = await world.live(change=WORSE)
    await world.step(DAY)
    await world.t.until_stage(cr.id, "deviating")
    one = await world.investigation(cr)
    await world.step(20 * MINUTE)

    async def missed(*steps: str) -> bool:
        found = await world.get(f"/incidents/v1/investigations/{one['id']}")
        return {clock["step"] for clock in found["clocks"] if clock["was_missed"]} == set(steps)

    await world.t.until("the first clock", lambda: missed("acknowledge"))
    await world.investigate("pia", one["id"], "acknowledge")
    await world.step(4 * HOUR)
    await world.t.until("the other clocks", lambda: missed("acknowledge", "explain", "decide"))
    await world.step(DAY)
    await world.quiet()
    events = [event.data for event in await world.facts() if isinstance(event.data, InvestigationEscalated)]
    # The last two clocks ran out at once: nobody says in which order they are noticed.
    assert sorted((event.step, event.to) for event in events) == [
        (step, ("epl-lead", "head-of-operations")) for step in ("acknowledge", "decide", "explain")
    ]
    assert await stage(world, cr) == "investigating"


@pytest.mark.parametrize("behind", [timedelta(minutes=-6), timedelta(days=-400)])
async def test_a_deploy_time_that_cannot_be_is_refused_and_arms_nothing(world: World, behind: timedelta) -> None:
    cr = await world.ready()
    at = await world.now() - behind if behind > timedelta(days=-1) else await world.now() + 400 * DAY
    await world.report(cr, "deployed", {"deployed_at": at.isoformat()}, expect=422)
    await world.quiet()
    assert (await world.t.dossier(cr.id))["deployments"] == []
