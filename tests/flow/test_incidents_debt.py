"""What an incident leaves behind: regression cases, which release owes them, and what proves them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.contracts import (
    MarkedCase,
    RegressionCaseGreen,
    RegressionCaseOwed,
    RegressionCaseRed,
    ReleaseClosed,
    ReleaseFrozen,
)
from tests.investigating import House, TestsMarked, opened
from tests.servers.postgres import Databases


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with opened(postgres) as made:
        yield made


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
