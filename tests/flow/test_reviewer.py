"""The reviewer on a real database: facts put through its own step, questions and commands through its own doors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi import FastAPI
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from services.reviewer import api, domain, handlers, store
from shared.contracts import CRChanged, Event, from_wire
from shared.db import Appointment, Database, bootstrap, migrations
from shared.doors.problems import problems
from shared.keys import create_key, create_link, grant
from shared.settings import SERVICES
from tests import stories
from tests.servers.postgres import Databases
from tests.stories import Story, policy

PEOPLE = (
    ("edda", "*", "engineer"),
    ("pia", "*", "ptask", "engineer"),
    ("paul", "*", "ptask"),
    ("olga", "*", "operations"),
    ("otto", "*", "operations"),
    ("argo", "*", "integration"),
    ("xenia", "scp", "operations"),
    ("god", "*", "operations", "ptask", "engineer"),
)
KEYS: dict[str, str] = {}


async def _reviewer_alone(url: str) -> None:
    """A database with the reviewer's tables and people."""
    admin = await asyncpg.connect(url)
    try:
        await bootstrap.prepare(admin, movable=True)
        await migrations._as_owner(url, "reviewer", lambda config: command.upgrade(config, "head"))
        await bootstrap.settle(admin, "reviewer")
        for subject, product, *roles in PEOPLE:
            who = await grant(admin, subject, name=subject.title(), roles=roles, product=product)
            _, KEYS[subject] = await create_key(admin, who)
    finally:
        await admin.close()


class House:
    """The reviewer with its doors, its people and its facts."""

    def __init__(self, url: str, db: Database, app: FastAPI, client: httpx2.AsyncClient) -> None:
        self.url, self.db, self.app, self.client = url, db, app, client
        self.keys = dict(KEYS)

    async def person(self, subject: str, *roles: str, product: str = "*") -> None:
        admin = await asyncpg.connect(self.url)
        try:
            who = await grant(admin, subject, name=subject.title(), roles=roles, product=product)
            _, self.keys[subject] = await create_key(admin, who)
        finally:
            await admin.close()

    async def link(self, subject: str, *roles: str) -> str:
        admin = await asyncpg.connect(self.url)
        try:
            return await create_link(admin, await grant(admin, subject, name=subject.title(), roles=roles))
        finally:
            await admin.close()

    async def hear(self, *events: Event[Any]) -> None:
        """In one transaction, as the consumer's batch; what was heard before is passed over."""
        async with self.db.house() as tx:
            for event in events:
                heard = "INSERT INTO inbox (scope, id, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
                if await tx.raw.execute(heard, f"bus:reviewer:{event.source}", event.id, tx.now) == "INSERT 0 1":
                    await handlers.ON[type(event.data)](tx, event)

    async def fresh(self, behind_s: float = 0.0) -> None:
        """Every service was heard up to now."""
        async with self.db.connection() as (_, raw):
            await raw.execute("DELETE FROM heartbeats")
            for service in SERVICES:
                await raw.execute(
                    "INSERT INTO heartbeats VALUES ($1, daymark_now() - make_interval(secs => $2), '{}')",
                    service,
                    behind_s,
                )

    async def run_jobs(self) -> int:
        """Everything on the agenda, as its worker would."""
        done = 0
        while True:
            async with self.db.connection() as (_, raw):
                row = await raw.fetchrow(
                    "UPDATE agenda SET token = gen_random_uuid(), attempts = attempts + 1 WHERE (job, subject) ="
                    " (SELECT job, subject FROM agenda ORDER BY next_at, job, subject LIMIT 1) RETURNING *"
                )
            if row is None:
                return done
            appointment = Appointment(
                row["job"], row["subject"], row["revision"], row["due_at"], {}, row["attempts"], row["token"]
            )
            await handlers.JOBS[row["job"]](handlers.Deps(self.db), appointment)
            done += 1

    def headers(self, who: str, once: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}", **({"Idempotency-Key": once} if once else {})}

    async def get(self, path: str, who: str = "otto") -> httpx2.Response:
        return await self.client.get(path, headers=self.headers(who))

    async def post(self, path: str, body: Any, who: str, once: str | None = None) -> httpx2.Response:
        return await self.client.post(path, json=body, headers=self.headers(who, once))

    async def dossier(self, cr_id: str = "CR-1") -> dict[str, Any]:
        answer = await self.get(f"/reviewer/v1/change-requests/{cr_id}/dossier")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def said(self, kind: str) -> list[Any]:
        async with self.db.connection() as (_, raw):
            rows = await raw.fetch("SELECT key, headers FROM outbox ORDER BY id")
        return [row["key"] for row in rows if kind in str(row["headers"])]

    async def count(self, table: str) -> int:
        async with self.db.connection() as (_, raw):
            found: int = await raw.fetchval(f"SELECT count(*) FROM {table}")
            return found


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[House]:
    db = Database(url, service="reviewer", rights=domain.RIGHTS, role="reviewer", pool_size=6)
    app = FastAPI()
    app.include_router(api.router)
    app.include_router(api.pages)
    problems(app)
    app.state.deps, app.state.db = handlers.Deps(db), db
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://daymark")
    try:
        house = House(url, db, app, client)
        await house.fresh()
        yield house
    finally:
        await client.aclose()
        await db.close()


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    url = await postgres.fresh(await postgres.template("reviewer_alone", _reviewer_alone))
    async with opened(url) as found:
        yield found
    await postgres.drop(url)


@pytest.fixture(scope="module")
async def quiet(postgres: Databases) -> AsyncIterator[House]:
    """One for all tests that must not change anything."""
    url = await postgres.fresh(await postgres.template("reviewer_alone", _reviewer_alone))
    async with opened(url) as found:
        await found.hear(*in_review().events)
        yield found
    await postgres.drop(url)


def in_review(hours_ago: float = 3, **more: Any) -> Story:
    """CR-1 of EPL with all its evidence, waiting for operations."""
    story = Story(datetime.now(UTC) - timedelta(hours=hours_ago))
    story.product(policy(**more))
    release = story.release("epl", "26.12", story.now + timedelta(days=2))
    story.register("CR-1", "epl", release, "Tune the settlement queue")
    story.evidence("CR-1", "epl")
    story.benchmark("epl", "epl", "SNAP-1")
    return story


def ready(digest: str, cr_id: str = "CR-1") -> dict[str, Any]:
    return {"cr_id": cr_id, "digest": digest, "verdict": "ready", "comment": "Looks good."}


async def go_for(house: House, cr_id: str = "CR-1") -> None:
    """Operations and the PTASK engineer say yes."""
    digest = (await house.dossier(cr_id))["digest"]
    answer = await house.post("/reviewer/v1/reviews", ready(digest, cr_id), "olga")
    assert answer.status_code == 201, answer.text
    answer = await house.post(f"/reviewer/v1/change-requests/{cr_id}/go", {"decision": "go", "digest": digest}, "pia")
    assert answer.status_code == 200, answer.text


async def test_a_change_with_everything_goes_through_the_gate(house: House) -> None:
    await house.hear(*in_review().events)
    await go_for(house)
    answer = await house.get("/reviewer/v1/gate/CR-1", "argo")
    assert answer.status_code == 200, answer.text
    assert answer.json()["go"] and answer.json()["is_ready"] and answer.json()["reasons"] == []
    assert (await house.dossier())["stage"] == "ready"
    assert await house.said("gate.answered.v1") == ["CR-1"]


# -- the gate ---------------------------------------------------------------------------------------------------------


async def gate(house: House, who: str = "argo", query: str = "") -> dict[str, Any]:
    answer = await house.get(f"/reviewer/v1/gate/CR-1{query}", who)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def codes(answer: dict[str, Any]) -> set[str]:
    return {reason["code"] for reason in answer["reasons"]}


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


# -- bad input --------------------------------------------------------------------------------------------------------

_D = "a" * 64
HOSTILE: list[tuple[str, str, bytes]] = [
    ("POST", "/reviewer/v1/reviews", b""),
    ("POST", "/reviewer/v1/reviews", b"{"),
    ("POST", "/reviewer/v1/reviews", b"[]"),
    ("POST", "/reviewer/v1/reviews", b"\xff\xfe{}"),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-1","digest":"x","verdict":"ready"}'),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-1","digest":"%s","verdict":"maybe"}' % _D.encode()),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-1","cr_id":"CR-2","digest":"%s","verdict":"ready"}' % _D.encode()),
    (
        "POST",
        "/reviewer/v1/reviews",
        b'{"cr_id":"CR-1","digest":"%s","verdict":"ready","by":"local|olga"}' % _D.encode(),
    ),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-1","digest":"%s","verdict":"not_ready"}' % _D.encode()),
    (
        "POST",
        "/reviewer/v1/reviews",
        b'{"cr_id":"CR-1","digest":"%s","verdict":"ready","comment":"a\\u0000b"}' % _D.encode(),
    ),
    (
        "POST",
        "/reviewer/v1/reviews",
        b'{"cr_id":"CR-1","digest":"%s","verdict":"ready","comment":"\\ud800"}' % _D.encode(),
    ),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-1","digest":"%s","verdict":"ready","comment":1e999}' % _D.encode()),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-404","digest":"%s","verdict":"ready"}' % _D.encode()),
    ("POST", "/reviewer/v1/reviews", b'{"items":' + b"[" * 500 + b"]" * 500 + b"}"),
    (
        "POST",
        "/reviewer/v1/reviews",
        b'{"cr_id":"CR-1","digest":"%s","verdict":"not_ready","items":[{"id":"1","text":"a"},{"id":"1","text":"b"}]}'
        % _D.encode(),
    ),
    ("POST", "/reviewer/v1/change-requests/CR-1/go", b'{"decision":"go"}'),
    ("POST", "/reviewer/v1/change-requests/CR-1/go", b'{"decision":"maybe","digest":"%s"}' % _D.encode()),
    ("POST", "/reviewer/v1/change-requests/CR-1/go", b'{"decision":"go","digest":"%s"}' % _D.encode()),
    ("POST", "/reviewer/v1/change-requests/CR-1/acknowledge", b"{}"),
    ("POST", "/reviewer/v1/change-requests/CR-1/acknowledge", b'{"review_id":"REV-404"}'),
    ("POST", "/reviewer/v1/change-requests/CR-1/acknowledge", b'{"answers":[{"item_id":"1","answer":"x"}]}'),
    (
        "POST",
        "/reviewer/v1/change-requests/CR-1/acknowledge",
        b'{"answers":[{"review_id":"R","item_id":"1","answer":"x"}]}',
    ),
    ("POST", "/reviewer/v1/change-requests/%00/go", b'{"decision":"go","digest":"%s"}' % _D.encode()),
    ("GET", "/reviewer/v1/gate/CR-404", b""),
    ("GET", "/reviewer/v1/gate/%00", b""),
    ("GET", "/reviewer/v1/gate/CR-1?heard=a%00b", b""),
    ("GET", "/reviewer/v1/gate/" + "C" * 5000, b""),
    ("GET", "/reviewer/v1/releases/%00%ff", b""),
    ("GET", "/reviewer/v1/releases/no-such", b""),
    ("GET", "/reviewer/v1/change-requests/'%3B%20DROP%20TABLE%20facts/dossier", b""),
]


@pytest.mark.parametrize(("method", "path", "body"), HOSTILE, ids=range(len(HOSTILE)))
async def test_bad_input_is_a_plain_no_without_effect(quiet: House, method: str, path: str, body: bytes) -> None:
    house = quiet
    tables = ("facts", "change_requests", "releases", "desks", "outbox", "agenda")
    before = [await house.count(table) for table in tables]
    for who in ("god", "pia"):
        headers = {**house.headers(who, "key"), "Content-Type": "application/json"}
        answer = await house.client.request(method, path, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) <= 2048
    assert [await house.count(table) for table in tables] == before


async def test_the_migration_makes_the_tables_that_the_store_declares(house: House) -> None:
    engine = create_async_engine(make_url(house.url).set(drivername="postgresql+asyncpg"))
    async with engine.connect() as connection:
        await connection.execute(text("SET search_path TO pg_catalog"))
        differs = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(
                    sync,
                    opts={
                        "include_schemas": True,
                        "include_name": lambda name, kind, _: kind != "schema" or name == "reviewer",
                        "include_object": lambda _o, name, *_: name != "alembic_version",
                    },
                ),
                store.metadata,
            )
        )
    await engine.dispose()
    assert differs == []


# -- the console ------------------------------------------------------------------------------------------------------

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


async def signed_in(house: House, subject: str = "otto", *roles: str) -> None:
    answer = await house.client.get("/sign-in", params={"link": await house.link(subject, *(roles or ("operations",)))})
    assert answer.status_code == 303 and answer.headers["location"] == "/"


async def page(house: House, path: str, status: int = 200) -> str:
    answer = await house.client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script" not in policy
    return answer.text


async def test_a_link_opens_the_console_once(house: House) -> None:
    link = await house.link("otto", "operations")
    answer = await house.client.get("/sign-in", params={"link": link})
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 303 and "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie
    assert "Otto" in await page(house, "/") and "Demo or test" in await page(house, "/glossary")
    house.client.cookies.clear()
    again = await house.client.get("/sign-in", params={"link": link})
    assert again.status_code == 401 and "used before" in again.text


async def test_who_is_not_signed_in_is_told_how(house: House) -> None:
    for path in ("/", "/releases/epl-26.12", "/change-requests/CR-1", "/glossary"):
        assert "Sign in with a link" in await page(house, path, 401)
    assert "Sign in with a link" in await page(house, "/sign-in")
    assert (await house.client.get("/static/daymark.css")).headers["content-type"].startswith("text/css")


async def test_a_page_asked_for_what_it_does_not_know_says_so_as_the_other_doors_do(house: House) -> None:
    for path in ("/?product=epl", "/glossary?word=CR", "/change-requests/CR-1?revision=1", "/sign-in?lnik=x"):
        answer = await house.client.get(path, headers={"Authorization": f"Bearer {house.keys['olga']}"})
        assert answer.status_code == 422 and answer.headers["content-type"].startswith("text/html")
        assert "There is no query parameter" in answer.text
    assert (await house.client.post("/sign-out?all=true")).status_code == 422
    assert (await house.client.get("/?product=epl")).status_code == 401, "who shows no key is told nothing else"


async def test_what_is_no_link_is_told_so_on_a_page(house: House) -> None:
    assert "used before" in await page(house, f"/sign-in?link={'x' * 300}", 401)


async def test_a_slash_too_many_is_no_redirect_to_whatever_host_was_named(house: House) -> None:
    answer = await house.client.get("/reviewer/v1/releases/", headers={**house.headers("otto"), "Host": "evil.example"})
    assert answer.status_code == 404 and "location" not in answer.headers


async def test_a_release_to_come_says_what_happened_to_the_last_one(house: House) -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl", "epl-26.12")
    story.release("epl", "27.01", story.now)
    story.register("CR-2", "epl", "epl-27.01", "The next one")
    await house.hear(*story.events)
    await signed_in(house)
    shown = await page(house, "/releases/epl-27.01")
    assert "The last one of" in shown and "/change-requests/CR-1" in shown
    assert "The last one of" not in await page(house, "/releases/epl-26.12")


async def test_a_busy_product_pushes_neither_a_quiet_one_nor_its_own_past_off_the_front_page(house: House) -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl", "epl-26.12")
    story.after(25)
    story.observe("CR-1", "epl", "steady")
    story.product(policy("epl-x", "EPL-X"))
    for number in range(2, 80):
        story.after(0.1)
        story.register(f"CR-{number}", "epl-x", None, f"Change {number}")
    story.register("CR-80", "epl", None, "Another one")
    await house.hear(*story.events)
    await signed_in(house)
    front = await page(house, "/")
    assert "/change-requests/CR-1" in front and "verified" in front
    for number in range(81, 120):  # and now it is the busy one itself, long after
        story.after(0.1)
        story.register(f"CR-{number}", "epl", None, f"Change {number}")
    await house.hear(*story.events)
    front = await page(house, "/")
    assert "/change-requests/CR-1" in front and "verified" in front
    admin = await asyncpg.connect(house.url)
    await admin.execute("SET enable_seqscan = off")
    rows = await admin.fetch(
        "EXPLAIN SELECT cr_id FROM reviewer.facts WHERE type = 'cr.deployed.v1' AND product_id = 'epl' ORDER BY time DESC"
    )
    await admin.close()
    assert any("facts_deployed" in row[0] for row in rows)


async def test_a_person_whom_nobody_knows_is_shown_as_a_claim(house: House) -> None:
    story = in_review()
    story.register("CR-2", "epl", "epl-26.12", "Another", author="local|otto", ptask="ldap|otto")
    await house.hear(*story.events)
    await signed_in(house)
    for path in ("/change-requests/CR-2", "/releases/epl-26.12"):
        shown = await page(house, path)
        assert "ldap|otto: nobody of that name is known here" in shown and "(claimed)" in shown
        assert "local|otto: nobody" not in shown


async def test_signing_out_ends_the_session(house: House) -> None:
    await signed_in(house)
    session = house.client.cookies["daymark_session"]
    assert (await house.client.post("/sign-out")).status_code == 303
    house.client.cookies.clear()
    house.client.cookies.set("daymark_session", session)
    await page(house, "/", 401)


async def test_a_cookie_reads_and_never_acts(house: House) -> None:
    await house.hear(*in_review().events)
    digest = (await house.dossier())["digest"]
    await signed_in(house, "olga")
    assert (await house.client.post("/reviewer/v1/reviews", json=ready(digest))).status_code == 401


async def test_every_page_shows_a_fortnight_of_three_products(house: House) -> None:
    await house.hear(*stories.whole(datetime.now(UTC)).events)
    await signed_in(house)
    front = await page(house, "/")
    for word in ("EPL-X", "SCP", "investigating", "rolled back and recovered", "CASE-1", "observe", "26.12"):
        assert word in front, word
    release = await page(house, "/releases/epl-x-26.11.2")
    for word in ("CR-2", "CR-3", "CR-4", "verified", "181", "264", "+46%", "INV-1", "back at the benchmark", "CASE-1"):
        assert word in release, word
    for cr_id in [f"CR-{number}" for number in range(1, 10)]:
        assert cr_id in await page(house, f"/change-requests/{cr_id}")
    await page(house, "/releases/none", 404)
    await page(house, "/change-requests/CR-99", 404)
    await page(house, "/change-requests/%00", 404)
    await page(house, f"/releases/{'x' * 3000}", 404)


async def test_nobody_sees_a_product_that_is_not_theirs(house: House) -> None:
    await house.hear(*stories.whole(datetime.now(UTC)).events)
    admin = await asyncpg.connect(house.url)
    link = await create_link(admin, await grant(admin, "xenia", name="Xenia", roles=("operations",), product="scp"))
    await admin.close()
    await house.client.get("/sign-in", params={"link": link})
    front = await page(house, "/")
    assert "SCP" in front and "EPL" not in front
    await page(house, "/releases/epl-26.12", 404)
    await page(house, "/change-requests/CR-1", 404)


async def test_hostile_text_is_shown_and_does_nothing(house: House) -> None:
    story = Story(datetime.now(UTC) - timedelta(hours=30))
    story.product(policy("epl", EVIL[:100], description="What it is, <b>in</b> words."))
    story.release("epl", EVIL, story.now + timedelta(days=1))
    more = {
        "link": "javascript:alert(3)",
        "description": EVIL,
        "backout_plan": EVIL,
        "source": EVIL,
        "external_id": EVIL,
    }
    story.register("CR-1", "epl", f"epl-{EVIL}", EVIL, author=f"local|{EVIL}", **more)
    story.evidence("CR-1", "epl")
    story.tests("CR-1", "epl", commit=EVIL)
    story.benchmark("epl", "epl", "SNAP-1", published_by=f"local|{EVIL}", missing=({"sli": EVIL, "reason": EVIL},))
    item = stories.ReviewItem(id=EVIL[:50], text=EVIL)
    story.review("CR-1", "epl", "not_ready", EVIL, items=(item,))
    story.go("CR-1", "epl", "no_go", EVIL)
    story.deploy("CR-1", "epl", deployer=f"local|{EVIL}", commit=EVIL, against_process=(EVIL,))
    story.after(24)
    compared = stories.compared(EVIL, EVIL, EVIL[:20], 1, 2, 0.5, "moved", sentence=EVIL)
    story.observe("CR-1", "epl", "moved", comparisons=(compared,), sentence=EVIL)
    story.deviate("CR-1", "epl", None, EVIL, EVIL, EVIL)
    story.owe("epl", EVIL, "CASE-9", EVIL, story.now)
    story.investigate(EVIL, "CR-1", "epl", "keep", EVIL)
    await house.hear(*story.events)
    await signed_in(house)
    assert "What it is, &lt;b&gt;in&lt;/b&gt; words." in await page(house, "/")
    for path in ("/", "/change-requests/CR-1"):
        shown = await page(house, path)
        assert "<script" not in shown and "<img src=x" not in shown and "javascript:" not in shown
        assert "&lt;script&gt;" in shown and "{{ 7*7 }}" in shown and ' style="' not in shown


async def test_no_page_has_inline_style_or_script(house: House) -> None:
    await house.hear(*stories.whole(datetime.now(UTC)).events)
    await signed_in(house)
    for path in ("/", "/releases/epl-x-26.11.2", "/change-requests/CR-3", "/glossary", "/sign-in"):
        shown = await page(house, path)
        assert " style=" not in shown and "<style" not in shown and "<script" not in shown and " onclick" not in shown
