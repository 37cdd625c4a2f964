"""The reviewer on a real database: facts put through its own step, questions and commands through its own doors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from shared.bus.kept import given_back
from shared.contracts import CRChanged, GateAnswered, from_wire
from tests.reviewing import House, alone, codes, gate, go_for, in_review, ready
from tests.servers.postgres import Databases
from tests.stories import Story, policy


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with alone(postgres) as made:
        yield made


async def test_a_change_with_everything_goes_through_the_gate(house: House) -> None:
    await house.hear(*in_review().events)
    await go_for(house)
    answer = await house.get("/reviewer/v1/gate/CR-1", "argo")
    assert answer.status_code == 200, answer.text
    assert answer.json()["go"] and answer.json()["is_ready"] and answer.json()["reasons"] == []
    assert (await house.dossier())["stage"] == "ready"
    assert await house.said("gate.answered.v1") == ["CR-1"]


# -- the gate ---------------------------------------------------------------------------------------------------------


async def test_a_change_that_nobody_looked_at_is_told_every_reason(house: House) -> None:
    story = Story(datetime.now(UTC) - timedelta(hours=1))
    story.product(policy())
    story.register("CR-1", "epl", None, "Bare")
    await house.hear(*story.events)
    answer = await gate(house)
    assert not answer["go"] and not answer["is_ready"]
    assert codes(answer) == {
        "tests_not_run",
        "code_review_missing",
        "benchmark_missing",
        "review_missing",
        "go_missing",
    }
    assert all(reason["sentence"].endswith(".") for reason in answer["reasons"])


async def test_before_a_policy_was_heard_the_answer_is_no_and_all_that_is_kept_of_it_says_why(house: House) -> None:
    story = Story(datetime.now(UTC) - timedelta(hours=1))
    story.register("CR-1", "epl", None, "Bare")
    await house.hear(*story.events)
    answer = await gate(house)
    assert not answer["go"] and answer["enforcement"] == "enforce" and answer["policy_version"] is None
    (why,) = [reason["sentence"] for reason in answer["reasons"] if reason["code"] == "no_policy"]
    assert why == "No policy of epl has been heard: this answer rests on none, and none is a no."
    async with house.db.connection() as (_, raw):
        (letter,) = await raw.fetch(
            "SELECT value, headers::text AS headers FROM outbox WHERE topic = 'daymark.reviews'"
        )
        (row,) = await raw.fetch("SELECT policy_version, detail FROM audit WHERE action = 'ask_gate'")
    event = from_wire(letter["value"], given_back(orjson.loads(letter["headers"])))
    assert event is not None and isinstance(event.data, GateAnswered)
    assert event.policy_version is None and not event.data.go
    assert "no_policy" in {reason.code for reason in event.data.reasons}
    assert row["policy_version"] is None and "no_policy" in str(row["detail"])


@pytest.mark.parametrize("enforcement", ["observe", "advise"])
async def test_below_enforce_the_gate_says_what_is_missing_and_lets_go(house: House, enforcement: str) -> None:
    story = Story(datetime.now(UTC) - timedelta(hours=1))
    story.product(policy(enforcement=enforcement))
    story.register("CR-1", "epl", None, "Bare")
    await house.hear(*story.events)
    answer = await gate(house)
    assert answer["go"] and not answer["is_ready"] and answer["reasons"] and answer["enforcement"] == enforcement


async def test_old_facts_are_a_no(house: House) -> None:
    await house.hear(*in_review().events)
    await go_for(house)
    await house.fresh(behind_s=300)
    answer = await gate(house)
    assert not answer["go"] and codes(answer) == {"stale"}
    async with house.db.connection() as (_, raw):
        await raw.execute("DELETE FROM heartbeats WHERE service = 'incidents'")
    assert codes(await gate(house)) == {"stale"} and (await gate(house))["as_of"] is None


async def test_a_parked_letter_of_the_change_or_its_product_is_a_no(house: House) -> None:
    await house.hear(*in_review().events)
    await go_for(house)
    async with house.db.connection() as (_, raw):
        await raw.execute("INSERT INTO parked VALUES ('daymark.products', 0, 1, 'epl', 'e', '', '[]', 'waits', now())")
    assert codes(await gate(house)) == {"parked"}


async def test_the_same_question_within_the_freshness_limit_is_the_same_answer(house: House) -> None:
    await house.hear(*in_review().events)
    first, second = await gate(house), await gate(house)
    assert first["answer_id"] == second["answer_id"]
    assert len(await house.said("gate.answered.v1")) == 1
    assert (await gate(house, "otto"))["answer_id"] != first["answer_id"]
    await go_for(house)
    assert (await gate(house))["go"]
    assert [answer["go"] for answer in (await house.dossier())["gate_answers"]] == [False, False, True]


async def test_the_gate_waits_for_the_fact_it_is_asked_about(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    story = in_review()
    await house.hear(*story.events)
    late = story.tests("CR-1", "epl", outcome="failed", failed=2, passed=400, run_at=datetime.now(UTC))

    async def arrives() -> None:
        await asyncio.sleep(0.4)
        await house.hear(late)

    answer, _ = await asyncio.gather(gate(house, query=f"?heard={late.id}"), arrives())
    assert "tests_failed" in codes(answer) and "not_heard" not in codes(answer)
    monkeypatch.setattr("services.reviewer.handlers.seen._WAIT_S", 0.2)
    assert "not_heard" in codes(await gate(house, query="?heard=never-said"))


# -- operations and the PTASK engineer --------------------------------------------------------------------------------


async def test_an_input_on_an_older_dossier_is_refused_and_says_what_changed(house: House) -> None:
    story = in_review()
    await house.hear(*story.events)
    await house.run_jobs()
    digest = (await house.dossier())["digest"]
    await house.hear(story.tests("CR-1", "epl"))
    answer = await house.post("/reviewer/v1/reviews", ready(digest), "olga")
    assert answer.status_code == 409 and answer.json()["type"].endswith("stale")
    assert "test results changed" in answer.json()["detail"]
    assert not await house.said("review.given.v1")


async def test_who_had_a_hand_in_the_change_gives_no_input_and_the_refusal_is_on_the_record(house: House) -> None:
    await house.person("edda", "operations")
    await house.hear(*in_review().events)
    answer = await house.post("/reviewer/v1/reviews", ready((await house.dossier())["digest"]), "edda")
    assert answer.status_code == 403 and "wrote this change" in answer.json()["detail"]
    async with house.db.connection() as (_, raw):
        row = await raw.fetchrow("SELECT * FROM audit WHERE refused")
    assert row["action"] == "give_review" and row["object"] == "CR-1" and row["actor"] == "local|edda"


async def test_roles_decide_who_may_say_what(house: House) -> None:
    await house.hear(*in_review().events)
    digest = (await house.dossier())["digest"]
    go = {"decision": "go", "digest": digest}
    for who, path, body in (
        ("pia", "/reviewer/v1/reviews", ready(digest)),
        ("argo", "/reviewer/v1/reviews", ready(digest)),
        ("xenia", "/reviewer/v1/reviews", ready(digest)),
        ("olga", "/reviewer/v1/change-requests/CR-1/go", go),
        ("edda", "/reviewer/v1/change-requests/CR-1/go", go),
        ("paul", "/reviewer/v1/change-requests/CR-1/go", go),  # PTASK engineer, of other changes
        ("paul", "/reviewer/v1/change-requests/CR-1/acknowledge", {"review_id": "REV-1"}),
    ):
        assert (await house.post(path, body, who)).status_code == 403, (who, path)
    assert (await house.get("/reviewer/v1/change-requests/CR-1/dossier", "xenia")).status_code == 404
    assert (await house.client.get("/reviewer/v1/gate/CR-1")).status_code == 401


async def test_a_go_waits_until_every_item_is_answered(house: House) -> None:
    await house.hear(*in_review().events)
    digest = (await house.dossier())["digest"]
    body = {
        **ready(digest),
        "verdict": "not_ready",
        "items": [{"id": "backout", "text": "How long?"}, {"text": "Who is on call?"}],
    }
    given = await house.post("/reviewer/v1/reviews", body, "olga")
    assert given.status_code == 201 and [item["id"] for item in given.json()["items"]] == ["backout", "2"]
    assert (await house.dossier())["stage"] == "not_ready"
    path = "/reviewer/v1/change-requests/CR-1"
    refused = await house.post(f"{path}/go", {"decision": "go", "digest": digest}, "pia")
    assert refused.status_code == 409 and "REV-1/backout" in refused.json()["detail"]
    review_id = given.json()["review_id"]
    answers = [{"item_id": "backout", "answer": "Four minutes."}]
    acknowledged = await house.post(f"{path}/acknowledge", {"review_id": review_id, "answers": answers}, "pia")
    assert acknowledged.status_code == 200, acknowledged.text
    body = {"decision": "go", "digest": digest, "answers": [{"item_id": "2", "answer": "Emil."}]}
    assert (await house.post(f"{path}/go", body, "pia")).status_code == 200
    found = await house.dossier()
    assert found["stage"] == "ready" and [item["answer"] for item in found["before"]["reviews"][0]["items"]] == [
        "Four minutes.",
        "Emil.",
    ]
    assert await house.said("review.acknowledged.v1") == ["CR-1", "CR-1"]


async def test_a_question_survives_the_change_that_voids_the_input(house: House) -> None:
    story = in_review()
    await house.hear(*story.events)
    digest = (await house.dossier())["digest"]
    body = {**ready(digest), "verdict": "not_ready", "comment": "The dashboards are red."}
    assert (await house.post("/reviewer/v1/reviews", body, "olga")).status_code == 201
    await house.hear(story.tests("CR-1", "epl"))
    digest = (await house.dossier())["digest"]
    assert (await house.post("/reviewer/v1/reviews", ready(digest), "otto")).status_code == 201
    go = {"decision": "go", "digest": digest}
    assert (await house.post("/reviewer/v1/change-requests/CR-1/go", go, "pia")).status_code == 409
    assert (await house.post("/reviewer/v1/reviews", ready(digest), "olga")).status_code == 201
    assert (await house.post("/reviewer/v1/change-requests/CR-1/go", go, "pia")).status_code == 200


async def test_the_same_key_gives_the_first_answer_and_one_fact(house: House) -> None:
    await house.hear(*in_review().events)
    body = ready((await house.dossier())["digest"])
    first = await house.post("/reviewer/v1/reviews", body, "olga", "k1")
    second = await house.post("/reviewer/v1/reviews", body, "olga", "k1")
    assert first.status_code == second.status_code == 201 and first.content == second.content
    other = await house.post("/reviewer/v1/reviews", {**body, "verdict": "need_more"}, "olga", "k1")
    assert other.status_code == 422 and other.json()["type"].endswith("idempotency-key-reused")
    assert await house.said("review.given.v1") == ["CR-1"]


async def test_two_decisions_at_once_are_in_one_order(house: House) -> None:
    await house.hear(*in_review().events)
    digest = (await house.dossier())["digest"]
    answers = await asyncio.gather(
        *(house.post("/reviewer/v1/reviews", ready(digest), who) for who in ("olga", "otto") for _ in range(3))
    )
    assert {answer.status_code for answer in answers} == {201}
    async with house.db.connection() as (_, raw):
        rows = await raw.fetch("SELECT sequence FROM facts WHERE type = 'review.given.v1' ORDER BY sequence")
    assert [row["sequence"] for row in rows] == [1, 2, 3, 4, 5, 6]


async def test_after_the_deploy_nobody_changes_what_was_said_before_it(house: House) -> None:
    story = in_review()
    await house.hear(*story.events)
    await go_for(house)
    await gate(house)
    digest = (await house.dossier())["digest"]
    now = datetime.now(UTC)
    await house.hear(story.deploy("CR-1", "epl", deployed_at=now, reported_at=now))
    found = await house.dossier()
    assert (
        found["digest"] == digest and found["deployments"][0]["gate"]["go"] and found["deployments"][0]["flags"] == []
    )
    for path, body, who in (
        ("/reviewer/v1/reviews", ready(digest), "olga"),
        ("/reviewer/v1/change-requests/CR-1/go", {"decision": "no_go", "reason": "too late", "digest": digest}, "pia"),
    ):
        assert (await house.post(path, body, who)).status_code == 409
    story.now = datetime.now(UTC)
    late = story.tests("CR-1", "epl", outcome="failed", failed=1, run_at=now - timedelta(minutes=5))
    await house.hear(late)
    found = await house.dossier()
    assert found["digest"] == digest and [word["what"] for word in found["deployments"][0]["not_known_then"]] == [
        "tests"
    ]
    assert codes(await gate(house)) == {"deployed"}


async def test_a_deploy_against_the_gate_is_a_visible_fact(house: House) -> None:
    story = in_review()
    await house.hear(*story.events)
    assert not (await gate(house))["go"]
    await house.hear(story.deploy("CR-1", "epl", deployed_at=datetime.now(UTC)))
    flags = (await house.dossier())["deployments"][0]["flags"]
    assert len(flags) == 1 and flags[0].startswith("Deployed against the gate")


# -- what follows by itself -------------------------------------------------------------------------------------------


async def test_an_input_is_asked_for_once_per_digest_and_said_void_once(house: House) -> None:
    story = in_review()
    await house.hear(*story.events)
    await house.run_jobs()
    await house.hear(*story.events)  # everything twice
    await house.run_jobs()
    assert await house.said("review.requested.v1") == ["CR-1"]
    assert (await house.dossier())["stage"] == "in_review"
    await house.post("/reviewer/v1/reviews", ready((await house.dossier())["digest"]), "olga")
    await house.hear(story.benchmark("epl", "epl", "SNAP-2"))
    await house.run_jobs()
    story.product(policy(freshness_s=90))
    await house.hear(story.events[-1])
    await house.run_jobs()
    assert await house.said("review.voided.v1") == ["CR-1"]
    assert await house.said("review.requested.v1") == ["CR-1", "CR-1", "CR-1"]
    last = (await house.dossier())["before"]["reviews"][0]
    assert not last["counts"] and last["changed"] == ["benchmark", "policy"]


async def test_what_we_said_and_then_hear_is_one_fact(house: House) -> None:
    await house.hear(*in_review().events)
    await go_for(house)
    async with house.db.connection() as (_, raw):
        rows = await raw.fetch("SELECT value, headers FROM outbox")
    before = (await house.dossier())["facts"]
    for row in rows:
        event = from_wire(row["value"], [(name, value.encode()) for name, value in row["headers"]])
        assert event is not None
        await house.hear(event)
    assert len(rows) == 2 and (await house.dossier())["facts"] == before


# -- lists ------------------------------------------------------------------------------------------------------------


async def test_releases_show_every_change_scheduled_and_store_no_answer(house: House) -> None:
    story = in_review()
    story.register("CR-10", "epl", "epl-26.12", "Second")
    story.register("CR-2", "epl", None, "Not scheduled")
    await house.hear(*story.events)
    found = (await house.get("/reviewer/v1/releases/epl-26.12")).json()
    assert [line["cr_id"] for line in found["change_requests"]] == ["CR-1", "CR-10"]
    assert found["change_requests"][0]["gate"]["reasons"] and found["as_of"] and found["enforcement"] == "enforce"
    everything = (await house.get("/reviewer/v1/releases")).json()["releases"]
    assert [release["release_id"] for release in everything] == ["epl-26.12"]
    assert (await house.get("/reviewer/v1/releases", "xenia")).json() == {"releases": []}
    assert (await house.get("/reviewer/v1/releases/epl-26.12", "xenia")).status_code == 404
    assert not await house.said("gate.answered.v1")
    story.close("epl", "26.12", story.now)
    await house.hear(story.events[-1])
    assert (await house.get("/reviewer/v1/releases")).json() == {"releases": []}
    closed = (await house.get("/reviewer/v1/releases?closed=true")).json()["releases"]
    assert [release["state"] for release in closed] == ["closed"]


async def test_a_change_that_moves_to_another_release_is_listed_there_alone(house: House) -> None:
    story = in_review()
    story.release("epl", "27.01", story.now + timedelta(days=9))
    moved = story.state("CR-1", "epl", "epl-27.01", "Tune the settlement queue", {})
    story.say(CRChanged(**moved, changed=("release_id",)))
    await house.hear(*reversed(story.events))  # the change before the registration
    assert not (await house.get("/reviewer/v1/releases/epl-26.12")).json()["change_requests"]
    assert len((await house.get("/reviewer/v1/releases/epl-27.01")).json()["change_requests"]) == 1
