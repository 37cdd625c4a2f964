"""The incidents service on a real database: what it makes of what it hears, and who comes too late."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from shared.contracts import (
    DeviationWithdrawn,
    IncidentOpened,
    InvestigationEscalated,
    InvestigationOpened,
    ObservationSuperseded,
    RegressionCaseOwed,
    RollbackRequested,
)
from tests.flow.test_orders import back
from tests.flow.world import HOUR, MINUTE
from tests.investigating import PTASK, House, TestsMarked, opened, overdue, verdict
from tests.servers.postgres import Databases
from tests.stories import policy


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with opened(postgres) as made:
        yield made


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
