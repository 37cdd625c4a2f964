"""Looks of which nothing is heard: the clock that ticks while whoever takes them is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from services.incidents.domain import GRACE
from shared.contracts import InvestigationOpened
from tests.investigating import House, opened, overdue, verdict
from tests.servers.postgres import Databases
from tests.stories import H


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with opened(postgres) as made:
        yield made


async def awaited(house: House) -> list[tuple[str, int]]:
    rows = await house.hearer.rows("SELECT subject, revision FROM agenda WHERE job = 'miss_look' ORDER BY subject")
    return [tuple(row) for row in rows]


async def deployed(house: House, **more: Any) -> None:
    house.story.deploy("CR-1", "epl", **more)
    await house.tell()


async def silence(house: House, hours: float) -> None:
    """So long nobody says anything, and then as long again as is given after an outage."""
    for by in ({"hours": hours}, {"minutes": 16}):
        await house.hearer.go_on(**by)
        await house.hearer.drain()


async def test_the_silence_of_a_look_opens_what_overdue_would_have_opened_and_nothing_twice(house: House) -> None:
    await deployed(house)
    assert await awaited(house) == [("CR-1/1/after", 1)]
    await house.hearer.go_on(hours=26)
    assert await house.hearer.drain("miss_look") == 0  # the policy's patience, and whoever takes it a little more
    await house.hearer.go_on(hours=1)
    assert await house.hearer.drain() == 1
    assert await house.investigations() == []  # the clock was noticed late: perhaps everybody was away
    await house.hearer.go_on(minutes=16)
    assert await house.hearer.drain() == 1
    (one,) = await house.investigations()
    assert "The after snapshot was due" in one["because"] and "Nothing has been heard of it" in one["because"]
    assert (one["severity"], one["owner"], one["state"]) == ("critical", "local|pia", "opened")
    assert await house.agenda() == {f"INV-1/{step}" for step in ("acknowledge", "explain", "decide")}
    assert await awaited(house) == []

    # The snapshotter is back, and says the same by itself; and a letter comes once more.
    await house.say(overdue(house))
    await house.say(verdict(house, "no_data"))
    await house.hearer.hear(*[event for event in house.story.events if type(event.data) in house.hearer.on])
    await house.hearer.drain("miss_look")
    assert [each["id"] for each in await house.investigations()] == ["INV-1"]
    assert len(await house.hearer.said(InvestigationOpened)) == 1 and await awaited(house) == []


async def test_a_verdict_that_comes_after_the_silence_ends_the_search_for_it(house: House) -> None:
    await deployed(house)
    await silence(house, 27)
    await house.say(verdict(house, "steady"))
    (one,) = await house.investigations()
    assert one["state"] == "closed" and "the verdict came" in one["reason"]
    await house.hearer.go_on(days=2)
    await house.hearer.drain()
    assert len(await house.investigations()) == 1


@pytest.mark.parametrize("how", ["answered", "answered first", "cut short"])
async def test_no_clock_ticks_for_a_look_that_was_answered_or_has_lost_its_object(house: House, how: str) -> None:
    if how == "answered first":  # the look's topic is ahead of the change request's
        await house.say(verdict(house, "steady"))
    await deployed(house)
    if how == "answered":
        await house.say(verdict(house, "steady"))
    if how == "cut short":
        house.story.roll_back("CR-1", "epl", rolled_back_at=house.story.now + H)
        await house.tell()
        assert await awaited(house) == [("CR-1/1/recovery", 1)]
        await house.say(verdict(house, "steady", kind="recovery"))
    assert await awaited(house) == []


async def test_a_correction_moves_the_clock_and_a_recovery_has_one_of_its_own(house: House) -> None:
    await deployed(house)
    await silence(house, 27)
    await deployed(house, revision=2, deployed_at=house.story.now - H)
    (one,) = await house.investigations()
    assert (one["state"], one["reason"]) == ("closed", "the deploy time was corrected")
    assert await awaited(house) == [("CR-1/1/after", 2)]
    assert await house.hearer.drain("miss_look") == 0  # its day is over, but nobody was told before
    house.story.roll_back("CR-1", "epl", rolled_back_at=house.story.now + 30 * H)  # when its day was over
    await house.tell()
    assert await awaited(house) == [("CR-1/1/after", 2), ("CR-1/1/recovery", 1)]
    (row,) = await house.hearer.rows("SELECT * FROM expected WHERE look = 'recovery'")
    now = await house.hearer.db.now()
    assert timedelta(0) < row["answer_by"] - now - GRACE < timedelta(hours=12)
    await silence(house, 12)
    assert sorted((each["because"][:12], each["state"]) for each in await house.investigations()) == [
        ("The after sn", "closed"),  # of the wrong deploy time
        ("The after sn", "closed"),  # of the right one: rolled back before anybody decided
        ("The recovery", "opened"),
    ]
