"""Evidence at intake's own doors, on a real database: code reviews and test reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.contracts import (
    CodeReviewRecorded,
    TestsRecorded,
)
from tests.intaking import House, intake, junit
from tests.servers.postgres import Databases


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with intake(postgres) as made:
        yield made


# -- code review ------------------------------------------------------------------------------------------------------


async def test_engineering_records_its_review_once(house: House) -> None:
    cr = await house.cr()
    body: dict[str, Any] = {"reviewed_at": (await house.at(-1)).isoformat(), "where": "merge 812"}
    answer = await house.post(cr, "code-review", "edda", **body)
    assert answer.status_code == 201
    assert (await house.post(cr, "code-review", "edda", **body)).status_code == 200
    (fact,) = await house.said(CodeReviewRecorded)
    assert (fact.reviewer, fact.cr_revision, fact.how) == ("local|edda", 1, "review")
    (seen,) = (await house.get(f"/change-requests/{cr}"))["code_reviews"]
    assert seen["reviewer"] == "local|edda" and seen["where"] == "merge 812"
    await house.patch(cr, commit="c2")
    assert (await house.post(cr, "code-review", "edda", **body)).status_code == 201, "another revision"


@pytest.mark.parametrize(
    ("who", "body"),
    [
        ("emil", {}),  # the author
        ("emil", {"reviewer": "edda"}),  # the author for somebody else
        ("edda", {"reviewer": "Local|EMIL"}),  # somebody else for the author
        ("olga", {}),  # operations
        ("erin", {}),  # operations who is an engineer as well
        ("edda", {"reviewer": "olga"}),  # on behalf of operations
        ("edda", {"reviewer": "edwina"}),  # for somebody whom nobody knows
        ("edda", {"reviewer": "ldap|edda"}),  # nor under that name
        ("ci", {}),  # a program
        ("rita", {}),
        ("pia", {}),
        ("ada", {}),
        ("stranger", {}),  # an engineer of another product
    ],
)
async def test_nobody_else_records_a_code_review(house: House, who: str, body: dict[str, Any]) -> None:
    cr = await house.cr()
    at = (await house.at(-1)).isoformat()
    before = await house.tables()
    answer = await house.post(cr, "code-review", who, reviewed_at=at, **body)
    assert answer.status_code == 403, answer.text
    assert await house.tables() == before
    assert await house.value("SELECT count(*) FROM audit WHERE refused") == 1


async def test_who_was_author_once_or_registered_it_never_reviews_it(house: House) -> None:
    cr = await house.cr(who="edda")
    at = (await house.at(-1)).isoformat()
    assert (await house.post(cr, "code-review", "edda", reviewed_at=at)).status_code == 403
    await house.patch(cr, author="corp|zoe")
    assert (await house.post(cr, "code-review", "emil", reviewed_at=at)).status_code == 403


# -- test results -----------------------------------------------------------------------------------------------------


async def test_a_report_is_counted_kept_and_said(house: House) -> None:
    cr = await house.cr()
    raw = junit(("a", "passed"), ("b", "failed"), ("c", "skipped"), mark={"b": "CASE-1", "a": "CASE-2"})
    answer = await house.upload(cr, raw)
    assert answer.status_code == 201, answer.text
    view = answer.json()
    assert (view["id"], view["outcome"], view["total"], view["passed"], view["failed"], view["skipped"]) == (
        "RES-1", "failed", 3, 1, 1, 1,
    )  # fmt: skip
    (fact,) = await house.said(TestsRecorded)
    assert [(case.case_id, case.outcome) for case in fact.marked] == [("CASE-1", "failed"), ("CASE-2", "passed")]
    assert fact.digest == view["digest"] and fact.commit == "c1" and fact.result_id == "RES-1"
    rows = await house.rows("SELECT name, outcome FROM test_cases WHERE result = 1 ORDER BY position")
    assert [tuple(row) for row in rows] == [("a", "passed"), ("b", "failed"), ("c", "skipped")]
    assert (await house.get(f"/change-requests/{cr}"))["test_results"] == [view]
    events = [event for event in await house.events() if event.key == cr]
    assert [event.sequence for event in events] == [1, 2]


async def test_the_same_report_of_the_same_run_is_recorded_once(house: House) -> None:
    cr = await house.cr()
    raw, at = junit(("a", "passed")), (await house.at(-1)).isoformat()
    assert (await house.upload(cr, raw, run_at=at)).status_code == 201
    assert (await house.upload(cr, raw, run_at=at)).status_code == 200
    assert (await house.upload(cr, raw, run_at=at, commit=None, artifact="app:1")).status_code == 201
    assert (await house.upload(cr, raw, run_at=at, suite_kind="integration")).status_code == 201
    assert len(await house.said(TestsRecorded)) == 3


async def test_cases_that_the_last_report_had_are_lost(house: House) -> None:
    one, other = await house.cr(), await house.cr()
    await house.upload(one, junit(("a", "passed"), ("b", "passed"), ("c", "passed")))
    assert (await house.upload(other, junit(("a", "passed")), suite_kind="integration")).json()["lost"] == 0
    assert (await house.upload(other, junit(("a", "passed"), ("d", "passed")))).json()["lost"] == 2
    assert (await house.upload(other, junit())).json() | {"lost": 2, "outcome": "empty"} == (
        await house.get(f"/change-requests/{other}")
    )["test_results"][-1]
    assert (await house.upload(one, junit(("a", "passed")))).json()["lost"] == 1, "an empty report hides no loss"


async def test_a_report_may_come_as_a_form(house: House) -> None:
    cr = await house.cr()
    said = {"suite_kind": "regression", "artifact": "app:1", "run_at": (await house.at(-1)).isoformat()}
    path = f"/change-requests/{cr}/test-results"
    for media in ("text/xml", "application/octet-stream"):
        files = {"file": ("report.xml", junit(("a", "passed"), (media, "passed")), media)}
        headers = {"Idempotency-Key": media}
        answers = [await house.ask("emil", "POST", path, data=said, files=files, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
        assert answers[0].content == answers[1].content
    assert len(await house.said(TestsRecorded)) == 2


async def test_a_report_in_doubt_proves_no_case(house: House) -> None:
    cr = await house.cr()
    raw = junit(("a", "passed"), ("b", "passed"), ("b", "skipped"), mark={"a": "CASE-1"})
    answer = await house.upload(cr, raw)
    assert answer.json()["outcome"] == "inconsistent" and answer.json()["problems"]
    (fact,) = await house.said(TestsRecorded)
    assert fact.marked[0].outcome == "skipped"


async def test_a_hundred_thousand_cases_are_kept_by_one_statement(house: House) -> None:
    from services.intake import domain, store
    from services.intake.reports import Case, Report
    from shared.contracts.inbound import Uploaded

    cr_id = await house.cr()
    report = Report.of(Case("s", "c", f"case {n}", "passed", 0.1) for n in range(100_000))
    said = Uploaded(suite_kind="regression", commit="c1", run_at=await house.at(-1))
    for lost in (0, 99_999):
        async with house.db.house() as tx:
            cr, _ = await store.load(tx, cr_id)
            result = await store.save_report(tx, cr, 1, said, report, f"d{lost}", ())
            assert result.lost == lost
        report = Report.of(report.cases[:1])
    assert await house.value("SELECT count(*) FROM test_cases") == 100_001
    assert domain.CR is type(cr)


async def test_operations_and_auditors_attach_no_report(house: House) -> None:
    cr = await house.cr()
    for who in ("olga", "ada", "rita", "stranger"):
        assert (await house.upload(cr, b"not even read", who)).status_code == 403
    assert await house.value("SELECT count(*) FROM audit WHERE refused AND action = 'record_tests'") == 4
