"""The incidents service on a real database: what it makes of what it hears, what people may do, and who comes too late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi import FastAPI
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from services.incidents import api, store
from shared.contracts import (
    CRChanged,
    CRRegistered,
    DeviationWithdrawn,
    IncidentOpened,
    InvestigationDecided,
    InvestigationEscalated,
    InvestigationOpened,
    MarkedCase,
    ObservationClosed,
    ObservationSuperseded,
    RegressionCaseGreen,
    RegressionCaseOwed,
    RegressionCaseRed,
    ReleaseClosed,
    ReleaseFrozen,
    ReleasePlanned,
    RollbackRequested,
    SnapshotOverdue,
)
from shared.doors.limits import limits
from shared.doors.problems import problems
from shared.keys import create_key, grant
from tests.flow.hearing import Hearer
from tests.flow.test_orders import back, deviation
from tests.flow.world import HOUR, MINUTE, _prepared
from tests.servers.postgres import Databases
from tests.servers.tables import every_row
from tests.stories import Story, policy

PTASK = "local|pia"
PEOPLE = (
    ("erin", "engineer"),
    ("eli", "engineer"),
    ("pia", "ptask", "engineer"),
    ("paul", "ptask", "engineer"),
    ("olga", "operations"),
    ("ada", "auditor"),
    ("pipeline", "integration"),
    ("rita", "release_manager"),
)


class House:
    """The service behind its doors, with a story that is told to it as it goes."""

    def __init__(self, hearer: Hearer, client: httpx2.AsyncClient, now: datetime) -> None:
        self.hearer, self.client = hearer, client
        self.keys: dict[str, str] = {}
        self.story = Story(now)
        self._heard = 0

    async def tell(self) -> None:
        """What the story said since the last time."""
        events = self.story.events[self._heard :]
        self._heard = len(self.story.events)
        await self.hearer.hear(*[event for event in events if type(event.data) in self.hearer.on])

    async def say(self, fact: Any) -> None:
        self.story.say(fact)
        await self.tell()

    async def release(self, name: str, days: float, kind: type[Any] = ReleasePlanned) -> str:
        made = self.story.release("epl", name, self.story.now + timedelta(days=days), kind=kind)
        await self.tell()
        return made

    async def moved(self, cr: str = "CR-1", revision: int = 1) -> None:
        await self.say(deviation(self.story, cr, "epl", revision))

    async def ask(self, who: str | None, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.keys[who]}"} if who else {}
        return await self.client.request(
            method, f"/incidents/v1{path}", json=body, headers={**headers, **more.pop("headers", {})}, **more
        )

    async def get(self, path: str, who: str = "ada", **params: Any) -> Any:
        answer = await self.ask(who, "GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def step(self, who: str, what: str, id: str = "INV-1", **body: Any) -> httpx2.Response:
        return await self.ask(who, "POST", f"/investigations/{id}/{what}", body or None)

    async def investigations(self, cr: str = "CR-1") -> list[dict[str, Any]]:
        return list((await self.get("/investigations", change_request=cr))["items"])

    async def cases(self, **wanted: Any) -> list[dict[str, Any]]:
        return list((await self.get("/regression-cases", **wanted))["items"])

    async def agenda(self) -> set[str]:
        return {row["subject"] for row in await self.hearer.rows("SELECT subject FROM agenda WHERE job = 'escalate'")}

    async def person(self, subject: str, *roles: str, product: str = "*") -> None:
        admin = await asyncpg.connect(self.hearer.url)
        try:
            who = await grant(admin, subject, name=subject.title(), roles=roles, product=product)
            _, self.keys[subject] = await create_key(admin, who)
        finally:
            await admin.close()


@asynccontextmanager
async def opened(postgres: Databases) -> AsyncIterator[House]:
    url = await postgres.fresh(await postgres.template("world", _prepared))
    hearer = Hearer(url, "incidents")
    app = FastAPI()
    app.include_router(api.router)
    problems(app)
    limits(app)
    app.state.deps, app.state.db = hearer.deps, hearer.deps.db
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://daymark.test") as client:
        house = House(hearer, client, datetime.now(UTC) - timedelta(days=7))
        for subject, *roles in PEOPLE:
            await house.person(subject, *roles)
        await house.person("stranger", "ptask", "engineer", product="scp")
        house.story.product(policy())
        house.story.register("CR-1", "epl", None, "Tune the settlement queue")
        await house.tell()
        yield house
    await hearer.close()
    await postgres.drop(url)


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with opened(postgres) as made:
        yield made


@pytest.fixture(scope="module")
async def quiet(postgres: Databases) -> AsyncIterator[House]:
    """One for all tests of what is refused: nothing may change it."""
    async with opened(postgres) as made:
        await made.release("1", 1)
        await made.moved()
        await made.say(overdue(made, "CR-1", deployment=2))
        yield made


def overdue(house: House, cr: str = "CR-1", **differs: Any) -> SnapshotOverdue:
    now = house.story.now
    said = {
        "deployment": 1,
        "revision": 1,
        "kind": "after",
        "due_at": now,
        "overdue_at": now,
        "reason": "1 of 3",
        **differs,
    }
    return SnapshotOverdue(cr_id=cr, product_id="epl", **said)


def verdict(house: House, outcome: str, cr: str = "CR-1", **differs: Any) -> ObservationClosed:
    said: dict[str, Any] = {
        "deployment": 1, "revision": 1, "kind": "after", "outcome": outcome, "sentence": f"It is {outcome}.",
        "comparisons": (), "benchmark_id": "SNAP-1", "benchmark_hash": "ab", "snapshot_id": "SNAP-2",
        "snapshot_hash": "cd", "judge_version": "1", "closed_at": house.story.now, **differs,
    }  # fmt: skip
    return ObservationClosed(cr_id=cr, product_id="epl", **said)


# -- a deviation ----------------------------------------------------------------------------------------------------


async def test_a_deviation_is_an_incident_with_debt_and_an_investigation_with_three_clocks(house: House) -> None:
    release = await house.release("1", 1)
    await house.moved()
    (one,) = await house.investigations()
    assert one["owner"] == PTASK and one["severity"] == "critical" and one["deviation"] == "DEV-CR-1-1-1"
    opened_at = datetime.fromisoformat(one["opened_at"])
    wanted = [15 * MINUTE, 2 * HOUR, 4 * HOUR]
    assert [datetime.fromisoformat(clock["due_at"]) - opened_at for clock in one["clocks"]] == wanted
    incident = await house.get(f"/incidents/{one['incident']}")
    assert incident["origin"] == "deviation" and incident["change_request"] == "CR-1"
    (case,) = incident["regression_cases"]
    assert case["release"] == release and case["state"] == "owed" and case["is_debt"]
    assert await house.agenda() == {"INV-1/acknowledge", "INV-1/explain", "INV-1/decide"}
    kinds = [type(fact) for fact in await house.hearer.said()]
    assert kinds == [IncidentOpened, RegressionCaseOwed, InvestigationOpened]


async def test_a_deviation_heard_twice_is_one_incident_even_under_another_event_id(house: House) -> None:
    await house.moved()
    await house.moved()  # another letter of the same deviation
    assert len(await house.investigations()) == 1 and len(await house.cases()) == 1
    assert len((await house.get("/incidents"))["items"]) == 1


async def test_a_deviation_of_a_change_not_heard_of_waits_for_it_and_loses_nothing(house: House) -> None:
    await house.moved("CR-2")
    assert [row["key"] for row in await house.hearer.rows("SELECT key FROM parked")] == ["CR-2"]
    assert await house.investigations("CR-2") == [] and (await house.get("/incidents"))["items"] == []
    house.story.register("CR-2", "epl", None, "Another")
    await house.tell()
    await house.hearer.settle()
    assert len(await house.investigations("CR-2")) == 1
    assert await house.hearer.rows("SELECT 1 FROM parked") == []


async def test_a_withdrawn_deviation_closes_its_investigation_and_owes_nothing(house: House) -> None:
    await house.moved()
    said = {
        "cr_id": "CR-1",
        "product_id": "epl",
        "deployment": 1,
        "revision": 1,
        "reason": "the deploy time was corrected",
    }
    await house.say(DeviationWithdrawn(**said, deviation_id="DEV-CR-1-1-1", at=house.story.now))
    (one,) = await house.investigations()
    assert one["state"] == "closed" and one["reason"] == said["reason"]
    assert await house.cases(is_debt=True) == [] and await house.agenda() == set()
    incident = await house.get("/incidents/INC-1")
    assert incident["closed_at"] and incident["closed_reason"] == said["reason"]
    for what in ("acknowledge", "explain", "decide"):
        body = (
            {"explanation": "x"}
            if what == "explain"
            else {"decision": "rollback", "reason": "x"}
            if what == "decide"
            else {}
        )
        assert (await house.step("pia", what, **body)).status_code == 409
    await house.say(TestsMarked(house, "CASE-1", "failed", "bad"))  # nothing to prove any more
    assert (await house.get("/incidents/INC-1"))["regression_cases"][0]["state"] == "owed"


async def test_a_rollback_ends_what_nobody_decided_and_leaves_what_somebody_did(house: House) -> None:
    house.story.register("CR-2", "epl", None, "Another")
    await house.tell()
    await house.moved("CR-1")
    await house.moved("CR-2")
    assert (await house.step("pia", "decide", "INV-2", decision="rollback", reason="worse")).status_code == 200
    for cr in ("CR-1", "CR-2"):
        await house.say(back(cr, "epl", house.story.now))
    assert [one["state"] for one in await house.investigations("CR-1")] == ["closed"]
    assert [one["state"] for one in await house.investigations("CR-2")] == ["decided"]
    assert await house.agenda() == set() and len(await house.cases(is_debt=True)) == 2  # the debt stays


async def test_a_deviation_heard_after_its_rollback_owes_its_case_and_asks_nobody(house: House) -> None:
    await house.say(back("CR-1", "epl", house.story.now))
    await house.moved()
    (one,) = await house.investigations()
    assert one["state"] == "closed" and "rolled back" in one["reason"]
    assert await house.agenda() == set() and len(await house.cases(is_debt=True)) == 1


# -- absence ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["no_data", "inconclusive"])
async def test_no_answer_is_investigated_without_an_incident(house: House, outcome: str) -> None:
    await house.say(verdict(house, outcome))
    (one,) = await house.investigations()
    assert one["incident"] is None and one["deviation"] is None and outcome in one["because"]
    assert await house.cases() == [] and len(await house.agenda()) == 3
    assert (await house.step("pia", "decide", decision="rollback", reason="better safe")).status_code == 200
    assert len(await house.hearer.said(RollbackRequested)) == 1


@pytest.mark.parametrize("outcome", ["steady", "moved"])
async def test_an_answer_is_no_absence(house: House, outcome: str) -> None:
    await house.say(verdict(house, outcome))
    assert await house.investigations() == []


async def test_overdue_and_then_no_data_is_one_investigation(house: House) -> None:
    await house.say(overdue(house))
    await house.say(overdue(house))
    await house.say(verdict(house, "no_data"))
    (one,) = await house.investigations()
    assert "overdue" in one["because"]


async def test_a_verdict_that_comes_ends_the_search_for_one(house: House) -> None:
    await house.say(overdue(house))
    await house.say(verdict(house, "steady"))
    (one,) = await house.investigations()
    assert one["state"] == "closed" and "verdict" in one["reason"] and await house.agenda() == set()


async def test_a_deviation_takes_over_from_the_search_for_an_answer(house: House) -> None:
    await house.say(overdue(house))
    await house.moved()
    states = {one["id"]: one["state"] for one in await house.investigations()}
    assert states == {"INV-1": "closed", "INV-2": "opened"}
    assert await house.agenda() == {"INV-2/acknowledge", "INV-2/explain", "INV-2/decide"}


async def test_a_recovery_without_an_answer_is_investigated_beside_the_deviation_it_follows(house: House) -> None:
    await house.moved()
    await house.say(back("CR-1", "epl", house.story.now))
    await house.say(overdue(house, kind="recovery", severity="critical"))
    await house.say(verdict(house, "no_data", kind="recovery"))
    first, second = sorted(await house.investigations(), key=lambda one: one["id"])
    assert (first["look"], first["state"]) == ("after", "closed")
    assert (second["look"], second["state"], second["severity"]) == ("recovery", "opened", "critical")
    assert second["incident"] is None and "recovery snapshot is overdue" in second["because"]
    assert await house.agenda() == {"INV-2/acknowledge", "INV-2/explain", "INV-2/decide"}
    again = await house.step("pia", "decide", "INV-2", decision="rollback", reason="again")
    assert again.status_code == 409 and "rolled back already" in again.json()["detail"]
    # A rollback that is heard again, or corrected, ends the search for an answer only when its look is superseded.
    await house.say(back("CR-1", "epl", house.story.now).model_copy(update={"revision": 2}))
    assert len(await house.agenda()) == 3
    said = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "revision": 1, "kind": "recovery"}
    await house.say(ObservationSuperseded(**said, reason="the rollback time was corrected", at=house.story.now))
    assert await house.agenda() == set()


async def test_a_recovery_that_is_none_needs_somebody_and_owes_nothing_more(house: House) -> None:
    await house.moved()
    await house.say(back("CR-1", "epl", house.story.now))
    await house.say(verdict(house, "moved", kind="recovery"))
    found = {one["id"]: one for one in await house.investigations()}
    assert found["INV-2"]["look"] == "recovery" and found["INV-2"]["state"] == "opened"
    assert len((await house.get("/incidents"))["items"]) == 1 and len(await house.cases()) == 1
    assert (await house.step("pia", "explain", "INV-2", explanation="The cache is cold.")).status_code == 200
    kept = await house.step("pia", "decide", "INV-2", decision="keep", reason="It fills within the day.")
    assert kept.status_code == 200 and await house.agenda() == set()


async def test_a_superseded_look_closes_the_question_it_raised(house: House) -> None:
    await house.say(verdict(house, "no_data"))
    said = {
        "cr_id": "CR-1",
        "product_id": "epl",
        "deployment": 1,
        "revision": 1,
        "kind": "after",
        "at": house.story.now,
    }
    await house.say(ObservationSuperseded(**said, reason="the deploy time was corrected"))
    (one,) = await house.investigations()
    assert one["state"] == "closed" and "corrected" in one["reason"]
    await house.say(verdict(house, "no_data", revision=2))
    assert [one["state"] for one in await house.investigations()] == ["opened", "closed"]


# -- clocks ---------------------------------------------------------------------------------------------------------


async def test_a_missed_step_is_escalated_once_and_a_done_one_never(house: House) -> None:
    await house.moved()
    await house.hearer.go_on(minutes=16)
    await house.hearer.drain()
    await house.hearer.drain()
    (first,) = await house.hearer.said(InvestigationEscalated)
    assert first.step == "acknowledge" and first.to == policy().clocks.critical.escalate_to
    assert (await house.step("pia", "acknowledge")).status_code == 200  # late, and still right
    assert (await house.step("eli", "explain", explanation="A pool was too small.")).status_code == 200
    await house.hearer.go_on(hours=5)
    await house.hearer.drain()
    assert [fact.step for fact in await house.hearer.said(InvestigationEscalated)] == ["acknowledge", "decide"]
    (one,) = await house.investigations()
    assert {clock["step"]: clock["was_missed"] for clock in one["clocks"]} == {
        "acknowledge": True,
        "explain": False,
        "decide": True,
    }
    assert (await house.step("pia", "decide", decision="keep", reason="known")).status_code == 200
    await house.hearer.go_on(hours=50)
    assert await house.hearer.drain() == 0 and await house.agenda() == set()


async def test_all_clocks_missed_while_everything_was_down_are_escalated_when_it_is_back(house: House) -> None:
    await house.moved()
    await house.hearer.go_on(hours=30)
    await house.hearer.drain()
    assert {fact.step for fact in await house.hearer.said(InvestigationEscalated)} == {
        "acknowledge",
        "explain",
        "decide",
    }


# -- debt -----------------------------------------------------------------------------------------------------------


def TestsMarked(house: House, case: str, outcome: str, commit: str | None, cr: str = "CR-1", **differs: Any) -> Any:
    """A report in which one case speaks of a regression case."""
    from shared.contracts import TestsRecorded

    now = house.story.now
    said: dict[str, Any] = {
        "cr_id": cr, "product_id": "epl", "result_id": f"RES-{len(house.story.events)}", "suite_kind": "regression",
        "commit": commit, "artifact": None, "run_at": now, "recorded_at": now, "digest": "ab" * 32, "outcome": outcome,
        "total": 1, "passed": int(outcome == "passed"), "failed": int(outcome == "failed"), "skipped": 0, "lost": 0,
        "marked": (MarkedCase(case_id=case, outcome=outcome),), **differs,
    }  # fmt: skip
    return TestsRecorded(**said)


async def test_a_case_is_proven_by_red_on_one_commit_and_green_on_another_and_by_nothing_less(house: House) -> None:
    await house.moved()

    async def state() -> tuple[str, bool]:
        (case,) = (await house.get("/incidents/INC-1"))["regression_cases"]
        return case["state"], case["is_debt"]

    for report, wanted in (
        (("passed", "good"), "owed"),  # green without red
        (("failed", None), "owed"),  # of nobody knows what
        (("skipped", "bad"), "owed"),
        (("failed", "bad"), "red"),
        (("failed", "worse"), "red"),  # red once is enough
        (("passed", "bad"), "red"),  # flaky
        (("passed", None), "red"),
        (("passed", "good"), "green"),
        (("failed", "bad"), "green"),  # proven stays proven
    ):
        outcome, commit = report
        whole = outcome if outcome != "skipped" else "passed"
        await house.say(
            TestsMarked(
                house, "CASE-1", whole, commit,
                artifact=None, marked=(MarkedCase(case_id="CASE-1", outcome=outcome),),
            )
        )  # fmt: skip
        assert await state() == (wanted, wanted != "green"), report
    assert len(await house.hearer.said(RegressionCaseRed)) == 1
    (green,) = await house.hearer.said(RegressionCaseGreen)
    assert (green.red_commit, green.commit) == ("bad", "good")
    assert await house.cases(is_debt=True) == [] and len(await house.cases(is_debt=False)) == 1


async def test_a_report_that_contradicts_itself_or_is_another_products_proves_nothing(house: House) -> None:
    await house.moved()
    await house.say(TestsMarked(house, "CASE-1", "failed", "bad").model_copy(update={"outcome": "inconsistent"}))
    await house.say(TestsMarked(house, "CASE-1", "failed", "bad", product_id="scp"))
    await house.say(TestsMarked(house, "CASE-999", "failed", "bad"))
    assert await house.hearer.said(RegressionCaseRed) == []


async def test_debt_without_a_release_is_owed_by_the_first_that_is_planned(house: House) -> None:
    await house.moved()
    assert [case["release"] for case in await house.cases()] == [None]
    release = await house.release("1", 1)
    await house.release("0", 0.5)  # nearer, but the debt has its release
    assert [case["release"] for case in await house.cases()] == [release]
    assert [fact.revision for fact in await house.hearer.said(RegressionCaseOwed)] == [1, 2]


async def test_what_a_closed_release_leaves_unproven_moves_to_the_next_and_what_is_proven_stays(house: House) -> None:
    first = await house.release("1", 1)
    await house.moved()
    house.story.register("CR-2", "epl", None, "Another")
    await house.tell()
    await house.moved("CR-2")
    await house.say(TestsMarked(house, "CASE-1", "failed", "bad"))
    await house.say(TestsMarked(house, "CASE-1", "passed", "good"))
    await house.release("1", 1, ReleaseFrozen)
    assert {case["release"] for case in await house.cases()} == {first}  # frozen owes what it owed
    await house.release("1", 1, ReleaseClosed)
    assert {case["id"]: case["release"] for case in await house.cases()} == {"CASE-1": first, "CASE-2": None}
    second = await house.release("2", 2)
    assert {case["id"]: case["release"] for case in await house.cases()} == {"CASE-1": first, "CASE-2": second}


async def test_new_debt_passes_over_a_frozen_release(house: House) -> None:
    await house.release("1", 1)
    await house.release("1", 1, ReleaseFrozen)
    second = await house.release("2", 2)
    await house.moved()
    assert [case["release"] for case in await house.cases()] == [second]


# -- people ---------------------------------------------------------------------------------------------------------

INCIDENT = {"product": "epl", "title": "Orders time out at noon"}


async def test_an_incident_opened_by_a_person_owes_a_case_even_when_none_is_named(house: House) -> None:
    answer = await house.ask("olga", "POST", "/incidents", INCIDENT)
    assert answer.status_code == 201 and answer.headers["location"] == "/incidents/v1/incidents/INC-1"
    assert answer.json()["origin"] == "person"
    assert [case["title"] for case in answer.json()["regression_cases"]] == [
        f"{INCIDENT['title']}: does not happen again"
    ]
    named = {**INCIDENT, "change_request": "CR-1", "severity": "critical", "regression_cases": ["One", "Two"]}
    answer = await house.ask("pipeline", "POST", "/incidents", named)
    assert answer.status_code == 201 and answer.json()["origin"] == "system"
    assert [case["title"] for case in answer.json()["regression_cases"]] == ["One", "Two"]


async def test_the_same_request_twice_is_one_incident_and_another_under_its_key_is_refused(house: House) -> None:
    once = {"Idempotency-Key": "k1"}
    first, second = await asyncio.gather(
        *(house.ask("olga", "POST", "/incidents", INCIDENT, headers=once) for _ in range(2))
    )
    assert first.json() == second.json() and {first.status_code, second.status_code} == {201}
    other = await house.ask("olga", "POST", "/incidents", {**INCIDENT, "title": "Other"}, headers=once)
    assert other.status_code == 422
    assert len((await house.get("/incidents"))["items"]) == 1


async def test_closing_an_incident_is_done_once_and_pays_nothing(house: House) -> None:
    await house.ask("olga", "POST", "/incidents", INCIDENT)
    assert (await house.ask("olga", "POST", "/incidents/INC-1/close", {"reason": "Over."})).status_code == 200
    assert (await house.ask("olga", "POST", "/incidents/INC-1/close", {"reason": "Over."})).status_code == 409
    assert len(await house.cases(is_debt=True)) == 1
    assert (await house.get("/incidents", is_open=True))["items"] == []


async def test_pages_of_incidents_are_newest_first_and_complete(house: House) -> None:
    for number in range(5):
        await house.ask("olga", "POST", "/incidents", {**INCIDENT, "title": f"Number {number}"})
    seen: list[str] = []
    cursor = None
    for _ in range(4):
        page = await house.get("/incidents", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [item["title"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [f"Number {number}" for number in (4, 3, 2, 1, 0)]


async def test_only_the_ptask_engineer_of_the_change_decides_and_refusals_are_on_the_record(house: House) -> None:
    await house.moved()
    body = {"decision": "rollback", "reason": "worse"}
    for who in ("paul", "erin", "olga", "pipeline", "rita", "ada", "stranger"):
        assert (await house.step(who, "decide", **body)).status_code == 403, who
    refused = await house.hearer.rows("SELECT actor FROM audit WHERE refused AND object = 'INV-1'")
    assert len(refused) == 7
    assert (await house.step("olga", "acknowledge")).status_code == 403
    assert (await house.step("pia", "decide", **body)).status_code == 200
    assert len(await house.hearer.said(InvestigationDecided)) == 1


async def test_a_new_ptask_engineer_owns_the_investigations_that_open_after_that(house: House) -> None:
    state = house.story.state("CR-1", "epl", None, "Tune the settlement queue", {"ptask": "local|paul"})
    await house.say(CRChanged(**state, changed=("ptask",)))
    await house.moved()
    (one,) = await house.investigations()
    assert one["owner"] == "local|paul"
    assert (await house.step("pia", "decide", decision="rollback", reason="x")).status_code == 403


async def test_of_two_deciders_at_once_one_decides(house: House) -> None:
    await house.moved()
    assert (await house.step("eli", "explain", explanation="A pool was too small.")).status_code == 200
    answers = await asyncio.gather(
        house.step("pia", "decide", decision="rollback", reason="worse"),
        house.step("pia", "decide", decision="keep", reason="known"),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    (decided,) = await house.hearer.said(InvestigationDecided)
    (one,) = await house.investigations()
    assert one["decision"] == decided.decision
    assert len(await house.hearer.said(RollbackRequested)) == int(decided.decision == "rollback")


async def test_an_older_word_on_a_change_does_not_overwrite_a_newer_one(house: House) -> None:
    first = next(event for event in house.story.events if isinstance(event.data, CRRegistered))
    state = house.story.state("CR-1", "epl", None, "Tune the settlement queue", {"ptask": "local|paul"})
    await house.say(CRChanged(**state, changed=("ptask",)))
    from dataclasses import replace

    await house.hearer.hear(replace(first, id="another"))
    await house.moved()
    assert [one["owner"] for one in await house.investigations()] == ["local|paul"]


async def test_nobody_reads_what_belongs_to_another_product(house: House) -> None:
    await house.moved()
    assert (await house.ask("stranger", "GET", "/incidents/INC-1")).status_code == 404
    assert (await house.ask("stranger", "GET", "/investigations/INV-1")).status_code == 404
    for path in ("/incidents", "/investigations", "/regression-cases"):
        assert (await house.get(path, "stranger"))["items"] == []


# -- what is no request -----------------------------------------------------------------------------------------------


async def kept(house: House) -> dict[str, list[str]]:
    return await every_row(house.hearer.rows, "incidents", besides=("inbox", "audit", "dead"))


BAD: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no body": ("POST", "/incidents", {"content": b""}),
    "no JSON": ("POST", "/incidents", {"content": b"{"}),
    "a list": ("POST", "/incidents", {"content": b"[]"}),
    "not UTF-8": ("POST", "/incidents", {"content": b'{"product":"epl","title":"\xff"}'}),
    "NUL": ("POST", "/incidents", {"content": b'{"product":"epl","title":"a\\u0000b"}'}),
    "a lone surrogate": ("POST", "/incidents", {"content": b'{"product":"epl","title":"a\\ud800"}'}),
    "a key twice": ("POST", "/incidents", {"content": b'{"product":"epl","product":"scp","title":"a"}'}),
    "too deep": ("POST", "/incidents", {"content": b'{"title":' + b"[" * 500 + b"]" * 500 + b"}"}),
    "no title": ("POST", "/incidents", {"json": {"product": "epl"}}),
    "a blank title": ("POST", "/incidents", {"json": {"product": "epl", "title": "  "}}),
    "a long title": ("POST", "/incidents", {"json": {"product": "epl", "title": "x" * 5001}}),
    "an unknown word": ("POST", "/incidents", {"json": {**INCIDENT, "is_closed": True}}),
    "an unknown product": ("POST", "/incidents", {"json": {**INCIDENT, "product": "nothing"}}),
    "SQL as a product": ("POST", "/incidents", {"json": {**INCIDENT, "product": "epl'; DROP TABLE incidents; --"}}),
    "an unknown severity": ("POST", "/incidents", {"json": {**INCIDENT, "severity": "apocalyptic"}}),
    "a CR that is none": ("POST", "/incidents", {"json": {**INCIDENT, "change_request": "CR-1; x"}}),
    "a CR not heard of": ("POST", "/incidents", {"json": {**INCIDENT, "change_request": "CR-999"}}),
    "a CR of absurd number": ("POST", "/incidents", {"json": {**INCIDENT, "change_request": "CR-" + "9" * 30}}),
    "too many cases": ("POST", "/incidents", {"json": {**INCIDENT, "regression_cases": ["x"] * 51}}),
    "a case of nothing": ("POST", "/incidents", {"json": {**INCIDENT, "regression_cases": [""]}}),
    "an id with NUL": ("GET", "/incidents/INC-%00", {}),
    "an id that is no UTF-8": ("GET", "/investigations/INV-%ff", {}),
    "a cursor of nothing": ("GET", "/incidents?cursor=", {}),
    "a cursor of words": ("GET", "/incidents?cursor=hello", {}),
    "a cursor with no time": ("GET", "/incidents?cursor=WyJub3QgYSB0aW1lIiwgIklOQy0xIl0", {}),
    "a cursor with a time without zone": ("GET", "/incidents?cursor=WyIyMDI2LTExLTIzVDA5OjAwOjAwIiwgIklOQy0xIl0", {}),
    "a limit of 0": ("GET", "/incidents?limit=0", {}),
    "a limit beyond reason": ("GET", "/incidents?limit=99999999999999999999", {}),
    "a product with NUL": ("GET", "/incidents?product=%00", {}),
    "perhaps open": ("GET", "/incidents?is_open=perhaps", {}),
    "an incident that is none": ("POST", "/incidents/INC-999/close", {"json": {"reason": "x"}}),
    "closing without a reason": ("POST", "/incidents/INC-1/close", {"json": {"reason": "  "}}),
    "an investigation that is none": ("POST", "/investigations/INV-999/acknowledge", {}),
    "an id as a path": ("POST", "/investigations/..%2f..%2fetc/acknowledge", {}),
    "explaining nothing": ("POST", "/investigations/INV-1/explain", {"json": {"explanation": ""}}),
    "explaining at length": ("POST", "/investigations/INV-1/explain", {"json": {"explanation": "x" * 5001}}),
    "deciding neither": ("POST", "/investigations/INV-1/decide", {"json": {"decision": "wait", "reason": "x"}}),
    "deciding both": ("POST", "/investigations/INV-1/decide", {"json": {"decision": ["keep", "rollback"], "reason": "x"}}),
    "keeping for no reason": ("POST", "/investigations/INV-1/decide", {"json": {"decision": "keep", "reason": " "}}),
    "keeping unexplained": ("POST", "/investigations/INV-1/decide", {"json": {"decision": "keep", "reason": "x"}}),
    "deciding by query": ("POST", "/investigations/INV-1/decide?decision=rollback&reason=x", {}),
    "deleting debt": ("DELETE", "/regression-cases/CASE-1", {}),
    "verifying by hand": ("PUT", "/investigations/INV-1", {"json": {"state": "decided"}}),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
async def test_what_is_no_request_is_refused_and_leaves_every_table_as_it_was(quiet: House, what: str) -> None:
    method, path, how = BAD[what]
    before = await kept(quiet)
    headers = {"Content-Type": "application/json"} if "content" in how else {}
    body = how.get("json")
    more = {"content": how["content"]} if "content" in how else {}
    answer = await quiet.ask("pia", method, path, body, headers=headers, **more)
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert await kept(quiet) == before


@pytest.mark.parametrize("who", [None, "ada", "stranger", "rita"])
async def test_who_may_not_changes_nothing(quiet: House, who: str | None) -> None:
    before = await kept(quiet)
    for path, body in (
        ("/incidents", INCIDENT),
        ("/incidents/INC-1/close", {"reason": "x"}),
        ("/investigations/INV-1/acknowledge", None),
        ("/investigations/INV-1/explain", {"explanation": "x"}),
        ("/investigations/INV-1/decide", {"decision": "rollback", "reason": "x"}),
    ):
        answer = await quiet.ask(who, "POST", path, body)
        assert answer.status_code == (401 if who is None else 403), (path, answer.text)
    assert await kept(quiet) == before


async def test_the_migrations_make_exactly_the_tables_of_the_store(quiet: House) -> None:
    engine = create_async_engine(make_url(quiet.hearer.url).set(drivername="postgresql+asyncpg"))

    def compared(connection: Any) -> list[Any]:
        options = {
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == "incidents",
        }
        context = MigrationContext.configure(connection, opts=options)
        return [one for one in compare_metadata(context, store.metadata) if "alembic_version" not in str(one)]

    try:
        async with engine.connect() as connection:
            assert await connection.run_sync(compared) == []
    finally:
        await engine.dispose()
