"""Incidents as people open, close and decide on them, and what is no request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from services.incidents import store
from shared.contracts import (
    CRChanged,
    CRRegistered,
    InvestigationDecided,
    RollbackRequested,
)
from tests.investigating import INCIDENT, House, kept, opened, overdue
from tests.servers.postgres import Databases


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
