"""The gate and the people in the life of a change: through the public doors of all four services, by a movable clock."""

from __future__ import annotations

import asyncio
from typing import Any

from deploy.local import story
from shared.contracts import (
    ReviewVoided,
)
from tests.flow.asking import codes, said, stage, when
from tests.flow.world import DAY, HOUR, MINUTE, Change, World

# -- with the gate and against it -------------------------------------------------------------------------------------


async def test_a_deploy_against_the_gate_is_recorded_and_flagged_and_observed_all_the_same(world: World) -> None:
    cr = await world.register()
    await world.benchmark(cr)
    await world.gate(cr, "tests_not_run", "code_review_missing", "review_missing", "go_missing", go=False)
    await world.step(MINUTE)
    await world.deploy(cr)
    found = await world.t.until_stage(cr.id, "deployed", "observing")
    (deployment,) = found["deployments"]
    assert not deployment["gate"]["go"]
    assert any("against the gate" in flag for flag in deployment["flags"])
    await world.step(DAY)
    await world.t.until_stage(cr.id, "verified")  # what production says stands beside what the process says
    page = (await world.ask("ada", "GET", f"/change-requests/{cr.id}")).text
    assert "against the gate" in page


async def test_a_deploy_that_never_asked_the_gate_says_so(world: World) -> None:
    cr = await world.register()
    await world.deploy(cr)
    found = await world.t.until_stage(cr.id, "deployed", "observing")
    (deployment,) = found["deployments"]
    assert deployment["gate"] is None and any("never asked" in flag for flag in deployment["flags"])


async def test_a_withdrawn_change_that_is_deployed_is_recorded_and_flagged(world: World) -> None:
    cr = await world.ready()
    await world.report(cr, "withdrawn", {"reason": "Not this month."})
    await world.t.until_stage(cr.id, "withdrawn")
    await world.gate(cr, "withdrawn", go=False)
    await world.step(MINUTE)
    await world.deploy(cr)
    found = await world.t.until_stage(cr.id, "deployed", "observing")
    flags = found["deployments"][0]["flags"]
    assert any("withdrawn" in flag for flag in flags) and any("against the gate" in flag for flag in flags)
    await world.step(DAY)
    await world.t.until_stage(cr.id, "verified")


async def test_an_emergency_goes_without_input_and_owes_its_look_all_the_same(world: World) -> None:
    await world.quiet()  # the policies have been heard
    answer = await world.ask(
        "olga", "POST", "/snapshotter/v1/snapshots", {"product": "epl", "reason": "An ordinary day, for all of EPL."}
    )
    assert answer.status_code == 201, answer.text
    await world.step(HOUR)
    cr = await world.register(kind="emergency")
    await world.t.until_stage(cr.id, "registered")
    found = await world.gate(cr, "tests_not_run", "code_review_missing", "review_missing", "go_missing")
    assert not found["go"]
    await world.step(MINUTE)
    await world.deploy(cr)
    found = await world.t.until_stage(cr.id, "deployed", "observing")
    assert found["cr"]["kind"] == "emergency" and found["deployments"][0]["flags"]
    await world.step(DAY)
    await world.t.until_stage(cr.id, "verified")


async def test_enforcement_is_a_ladder_and_loosening_it_needs_two_release_managers(world: World) -> None:
    cr = await world.register()
    missing = ("tests_not_run", "code_review_missing", "benchmark_missing", "review_missing", "go_missing")
    assert (await world.gate(cr, *missing))["enforcement"] == "enforce"
    document = (await world.get("/intake/v1/products/epl", "rita"))["policy"]
    looser = {**document, "enforcement": "advise"}
    first = await world.ask("rita", "PUT", "/intake/v1/products/epl", looser)
    assert first.status_code == 202 and first.json()["policy"]["enforcement"] == "enforce"
    await world.gate(cr, *missing, go=False)
    for rung in ("advise", "observe"):
        await world.policy(enforcement=rung)
        await world.gate(cr, *missing, go=True, enforcement=rung, is_ready=False)
    await world.policy(enforcement="enforce")
    await world.gate(cr, *missing, go=False)


async def test_the_gate_says_no_when_a_service_has_fallen_silent(world: World) -> None:
    cr = await world.ready()
    (heart,) = [task for task in asyncio.all_tasks() if task.get_name() == "incidents Heart"]
    heart.cancel()
    await asyncio.wait([heart])
    await world.step(2 * MINUTE)
    answer = await world.gate(cr, "stale", go=False)
    assert "s old" in answer["reasons"][0]["sentence"]
    assert when(answer["at"]) - when(answer["as_of"]) > MINUTE


# -- people -----------------------------------------------------------------------------------------------------------


async def test_an_input_is_void_when_evidence_changes_and_both_sides_are_told_what(world: World) -> None:
    cr = await world.ready()
    await world.step(5 * MINUTE)
    await world.evidence(cr, reviewer=None, failing="test_mail")
    await world.gate(cr, "tests_failed", "review_void", "go_void", go=False)
    (voided,) = await said(world, ReviewVoided, cr)
    assert voided.changed == ("tests",)
    (review,) = (await world.t.dossier(cr.id))["before"]["reviews"]
    assert not review["counts"] and "test results changed" in review["why_not"]
    assert await stage(world, cr) == "not_ready"


async def test_operations_gives_no_input_on_what_it_wrote_or_deployed(world: World) -> None:
    await world.key_for("otto", "operations", "engineer")
    mine = await world.register(author="otto")
    await world.evidence(mine)
    await world.benchmark(mine)

    async def input_by(who: str, cr: Change) -> Any:
        digest = (await world.t.dossier(cr.id))["digest"]
        return await world.ask(
            who, "POST", "/reviewer/v1/reviews", {"cr_id": cr.id, "digest": digest, "verdict": "ready"}
        )

    await world.quiet()
    refused = await input_by("otto", mine)
    assert refused.status_code == 403 and "wrote this change" in refused.json()["detail"]
    again = await world.ready()
    await world.deploy(again, deployer="otto")
    await world.step(HOUR)
    await world.roll_back(again)
    await world.t.until_stage(again.id, "recovering")
    await world.quiet()
    refused = await input_by("otto", again)
    assert refused.status_code == 403 and "deployed this change" in refused.json()["detail"]
    assert (await input_by("omar", again)).status_code == 201  # who had no hand in it may, on the next attempt
    refusals = await world.admin.fetch("SELECT object, actor FROM reviewer.audit WHERE refused ORDER BY id")
    assert [tuple(row) for row in refusals] == [(mine.id, "local|otto"), (again.id, "local|otto")]


async def test_go_is_refused_while_an_item_of_operations_is_unanswered(world: World) -> None:
    cr = await world.register()
    await world.evidence(cr)
    await world.benchmark(cr)
    item = {"id": "backout", "text": "How long does the backout take at peak?"}
    given = await world.reviewed(cr, "not_ready", items=[item])
    await world.t.until_stage(cr.id, "not_ready")
    go = {"decision": "go", "reason": "It is fine.", "digest": (await world.t.dossier(cr.id))["digest"]}
    path = f"/reviewer/v1/change-requests/{cr.id}"
    refused = await world.ask("pia", "POST", f"{path}/go", go)
    assert refused.status_code == 409 and "backout" in refused.json()["detail"]
    await world.gate(cr, "review_not_ready", "go_missing", go=False)
    answers = [{"item_id": "backout", "answer": "Four minutes, rehearsed on Tuesday."}]
    answer = await world.ask(
        "pia", "POST", f"{path}/acknowledge", {"review_id": given["review_id"], "answers": answers}
    )
    assert answer.status_code == 200, answer.text
    answer = await world.ask("pia", "POST", f"{path}/go", go)
    assert answer.status_code == 200, answer.text
    await world.gate(cr, go=True)


async def test_debt_of_the_product_blocks_every_change_of_it_and_of_no_other(world: World) -> None:
    cr = await world.ready()
    elsewhere = await world.register(product="epl-x", ptask="paul")
    body = {"product": "epl", "title": "Orders time out at noon", "severity": "major"}
    opened = await world.ask("olga", "POST", "/incidents/v1/incidents", body)
    assert opened.status_code == 201, opened.text
    await world.gate(cr, "debt_open", "review_void", "go_void", go=False)
    others = await world.get(f"/reviewer/v1/gate/{elsewhere.id}", "pipeline")
    assert "debt_open" not in codes(others["reasons"])
    incident = opened.json()["id"]
    closed = await world.ask("olga", "POST", f"/incidents/v1/incidents/{incident}/close", {"reason": "Over."})
    assert closed.status_code == 200
    await world.quiet()
    await world.gate(cr, "debt_open", "review_void", "go_void", go=False)  # closing pays nothing


async def test_an_incident_opened_after_the_freeze_is_the_next_releases_debt(world: World) -> None:
    now = await world.release(ahead=DAY)
    later = await world.release(ahead=4 * DAY)
    cr = await world.ready(release=now)
    after = await world.register(release=later)
    await story.plan(world.t, "epl", "far", world.t.at + 9 * DAY)
    frozen = await world.ask("rita", "POST", f"/intake/v1/releases/{now}/freeze")
    assert frozen.status_code == 200, frozen.text
    await world.quiet()
    await world.step(MINUTE)
    body = {"product": "epl", "title": "Orders time out at noon"}
    opened = (await world.ask("olga", "POST", "/incidents/v1/incidents", body)).json()
    assert [case["release"] for case in opened["regression_cases"]] == [later]

    async def seen() -> bool:
        return "debt_open" in codes((await world.get(f"/reviewer/v1/gate/{after.id}", "pipeline"))["reasons"])

    await world.t.until("the debt to be seen", seen)
    mine = await world.get(f"/reviewer/v1/gate/{cr.id}", "pipeline")
    assert "debt_open" not in codes(mine["reasons"])


async def test_a_second_attempt_is_reviewed_anew_and_observed_as_its_own_deployment(world: World) -> None:
    cr = await world.live()
    await world.step(HOUR)
    await world.roll_back(cr)
    await world.t.until_stage(cr.id, "recovering")
    await world.step(5 * HOUR)
    await world.t.until_stage(cr.id, "recovered")
    await world.gate(cr, "review_void", "go_void", go=False)
    await world.evidence(cr, reviewer=None)
    await world.quiet()  # the first attempt's evidence is complete too: operations is to look at the second's
    await world.reviewed(cr)
    await story.go(world.t, cr.id, "pia")
    await world.gate(cr, go=True)
    await world.step(MINUTE)
    await world.deploy(cr)
    await world.t.until_stage(cr.id, "deployed", "observing")
    await world.step(DAY)
    found = await world.t.until_stage(cr.id, "verified")
    assert [one["deployment"] for one in found["deployments"]] == [1, 2]
    assert [one["gate"]["go"] for one in found["deployments"]] == [True, True]
