"""Intake on a real database and through its own doors: products, releases, CRs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from services.intake import handlers
from services.intake.store import metadata
from shared.contracts import (
    CRChanged,
    CRDeployed,
    CRRegistered,
    CRRolledBack,
    CRWithdrawn,
    Policy,
    ProductChanged,
    ReleaseClosed,
    ReleaseFrozen,
    ReleasePlanned,
)
from shared.errors import Invalid
from tests.intaking import POLICY, House, intake, policy_file, registration
from tests.servers.postgres import Databases


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with intake(postgres) as made:
        yield made


# -- products -------------------------------------------------------------------------------------------------------


async def test_a_product_is_its_policy_and_its_version_is_the_content(house: House) -> None:
    view = await house.get("/products/epl")
    assert view["version"] == Policy.model_validate(POLICY).version()
    assert view["proposal"] is None and view["changed_by"] == "local|rita"
    (event,) = await house.events()
    assert isinstance(event.data, ProductChanged) and event.data.version == event.policy_version == view["version"]
    assert (await house.get("/products"))["items"] == [view]


async def test_the_same_policy_again_says_nothing(house: House) -> None:
    assert (await house.product()).status_code == 200
    assert len(await house.said(ProductChanged)) == 1


async def test_a_stricter_policy_needs_one_release_manager(house: House) -> None:
    answer = await house.product(benchmark={"max_age_h": 24})
    assert answer.status_code == 200 and answer.json()["policy"]["benchmark"]["max_age_h"] == 24
    first, second = await house.events()
    assert (first.sequence, second.sequence) == (1, 2)


async def test_a_looser_policy_needs_two_release_managers(house: House) -> None:
    looser = {"enforcement": "advise"}
    answer = await house.product(**looser)
    assert answer.status_code == 202
    assert answer.json()["proposal"]["loosens"] == ["enforcement goes from enforce to advise"]
    assert answer.json()["policy"]["enforcement"] == "enforce"
    assert (await house.product(**looser)).status_code == 202, "the same person twice is one person"
    assert (await house.get("/products/epl"))["policy"]["enforcement"] == "enforce"
    assert len(await house.said(ProductChanged)) == 1
    answer = await house.product("rolf", **looser)
    assert answer.status_code == 200 and answer.json()["policy"]["enforcement"] == "advise"
    assert answer.json()["proposal"] is None
    assert [fact.policy.enforcement for fact in await house.said(ProductChanged)] == ["enforce", "advise"]


async def test_another_document_of_the_second_person_confirms_nothing(house: House) -> None:
    assert (await house.product(enforcement="advise")).status_code == 202
    assert (await house.product("rolf", enforcement="observe")).status_code == 202
    assert (await house.get("/products/epl"))["proposal"]["proposed_by"] == "local|rolf"
    assert len(await house.said(ProductChanged)) == 1


async def test_an_applied_change_and_the_policy_in_force_end_a_proposal(house: House) -> None:
    assert (await house.product(enforcement="advise")).status_code == 202
    assert (await house.product()).json()["proposal"] is None
    assert (await house.product(enforcement="advise")).status_code == 202
    assert (await house.product(freshness_s=30)).json()["proposal"] is None
    assert (await house.product("rolf", enforcement="advise")).status_code == 202, "it was made against another policy"


async def test_two_release_managers_at_once_make_one_product(house: House) -> None:
    answers = await asyncio.gather(*(house.product(who, id="scp") for who in ("rita", "rolf")))
    assert sorted(answer.status_code for answer in answers) in ([200, 201], [201, 409])
    assert len([fact for fact in await house.said(ProductChanged) if fact.product_id == "scp"]) == 1


async def test_only_a_release_manager_of_the_product_changes_it(house: House) -> None:
    for who in ("emil", "olga", "ci", "ada", "pia", "stranger"):
        assert (await house.product(who, freshness_s=30)).status_code == 403
    assert await house.value("SELECT count(*) FROM audit WHERE refused AND action = 'put_product'") == 6
    assert (await house.product("stranger", id="scp")).status_code == 201


async def test_unknown_words_in_a_policy_are_refused_with_their_place(house: House) -> None:
    answer = await house.product(slis=[{**POLICY["slis"][0], "min_relativ": 0.5}])
    assert answer.status_code == 422
    assert answer.json()["fields"][0]["path"] == "body.slis.0.min_relativ"
    assert (await house.ask("rita", "PUT", "/products/other", json=POLICY)).status_code == 422


async def test_the_files_of_the_first_start_make_products_once_and_never_change_one(
    house: House, tmp_path: Path
) -> None:
    paths = [policy_file(tmp_path, enforcement="observe"), policy_file(tmp_path, id="scp", enforcement="observe")]
    assert await handlers.load_products(house.deps, paths) == ["scp"]
    assert await handlers.load_products(house.deps, paths) == []
    assert (await house.get("/products/epl"))["policy"]["enforcement"] == "enforce"
    events = await house.events()
    assert [event.data.key for event in events] == ["epl", "scp"] and events[1].actor == "daymark|intake"
    paths[0].write_text("id: [")
    with pytest.raises(Invalid, match=r"epl\.yaml"):
        await handlers.load_products(house.deps, paths)


# -- releases -------------------------------------------------------------------------------------------------------


async def test_a_release_is_planned_frozen_and_closed(house: House) -> None:
    answer = await house.release("Winter 2026")
    assert answer.status_code == 201 and answer.headers["location"] == "/intake/v1/releases/epl-winter-2026"
    assert (await house.release("Winter 2026")).status_code == 200
    assert (await house.release("Winter 2026", planned_at="2026-12-02T08:00:00Z")).status_code == 409
    path = "/releases/epl-winter-2026"
    for _ in range(2):
        assert (await house.ask("rita", "POST", f"{path}/freeze")).json()["state"] == "frozen"
    for _ in range(2):
        assert (await house.ask("rita", "POST", f"{path}/close")).json()["state"] == "closed"
    assert (await house.ask("rita", "POST", f"{path}/freeze")).status_code == 409
    events = (await house.events())[1:]
    assert [type(event.data) for event in events] == [ReleasePlanned, ReleaseFrozen, ReleaseClosed]
    assert [event.sequence for event in events] == [1, 2, 3]
    assert {event.policy_version for event in events} == {Policy.model_validate(POLICY).version()}


async def test_releases_are_listed_in_pages_of_those_one_may_read(house: House) -> None:
    assert (await house.product(id="scp")).status_code == 201
    for number in range(3):
        await house.release(f"r{number}")
    await house.release("s", product="scp")
    first = await house.get("/releases?limit=3")
    rest = await house.get(f"/releases?limit=3&cursor={first['next']}")
    assert [one["id"] for one in first["items"] + rest["items"]] == ["scp-s", "epl-r2", "epl-r1", "epl-r0"]
    assert rest["next"] is None
    assert [one["id"] for one in (await house.get("/releases", "stranger"))["items"]] == ["scp-s"]
    assert [one["id"] for one in (await house.get("/releases?product=scp"))["items"]] == ["scp-s"]
    assert (await house.ask("stranger", "GET", "/releases/epl-r0")).status_code == 404


async def test_engineers_and_programs_plan_no_release(house: House) -> None:
    for who in ("emil", "ci", "olga", "ada"):
        assert (await house.release(who=who)).status_code == 403


# -- registering ------------------------------------------------------------------------------------------------------


async def test_registering_answers_with_the_cr_its_place_and_its_event(house: House) -> None:
    await house.release()
    answer = await house.register(release="epl-2026.12", external_id="CHG7", author="Corp|ADA", commit="4f2c9d1")
    assert answer.status_code == 201 and answer.headers["location"] == "/intake/v1/change-requests/CR-1"
    view = answer.json()
    assert view["author"] == "corp|ada" and view["ptask"] == "local|pia" and view["state"] == "registered"
    assert (await house.get("/change-requests/CR-1")).items() >= view.items()
    event = (await house.events())[-1]
    assert isinstance(event.data, CRRegistered) and answer.headers["daymark-events"] == event.id
    assert event.data.release_id == "epl-2026.12" and event.data.commit == "4f2c9d1" and event.data.revision == 1
    assert event.actor == "local|ci" and event.policy_version and event.sequence == 1
    assert CRRegistered.model_validate_json(event.data.model_dump_json()) == event.data


async def test_the_same_registration_again_is_the_same_cr_and_says_nothing(house: House) -> None:
    first = await house.register(external_id="A")
    again = await house.register("emil", external_id="A")
    assert again.status_code == 200 and again.json() == first.json()
    other = await house.register(external_id="A", title="Something else")
    assert other.status_code == 409 and "CR-1" in other.json()["detail"]
    assert len(await house.said(CRRegistered)) == 1


async def test_the_same_registration_is_known_after_a_change_and_a_freeze(house: House) -> None:
    await house.release()
    cr = await house.cr(external_id="A", release="epl-2026.12")
    await house.patch(cr, title="Put right")
    await house.ask("rita", "POST", "/releases/epl-2026.12/freeze")
    assert (await house.register(external_id="A", release="epl-2026.12")).status_code == 200
    assert (await house.register(external_id="B", release="epl-2026.12")).status_code == 409
    assert (await house.register("rita", external_id="B", release="epl-2026.12")).status_code == 201


async def test_twins_that_race_register_one_cr(house: House) -> None:
    answers = await asyncio.gather(*(house.register(external_id="A") for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len(await house.said(CRRegistered)) == 1


async def test_a_repeated_key_gets_the_first_answer_and_its_event(house: House) -> None:
    first = await house.register(once="k1", external_id="A")
    again = await house.register(once="k1", external_id="A")
    assert again.status_code == 201 and again.content == first.content
    assert again.headers["daymark-events"] == first.headers["daymark-events"]
    assert (await house.register(once="k1", external_id="B")).status_code == 422


async def test_what_a_cr_stands_on_must_be_there(house: House) -> None:
    assert (await house.product(id="scp")).status_code == 201
    await house.release("s", product="scp")
    assert (await house.register(product="nothing")).status_code == 422
    assert (await house.register(release="epl-nothing")).status_code == 422
    assert (await house.register(release="scp-s")).status_code == 422
    assert await house.said(CRRegistered) == []


async def test_who_may_register_is_judged_by_role_product_and_scope(house: House) -> None:
    for who in ("olga", "ada", "pia", "stranger"):
        assert (await house.register(who)).status_code == 403
    assert (await house.register("ci, registers only", external_id="A")).status_code == 201
    answer = await house.post("CR-1", "withdrawn", "ci, registers only", reason="x")
    assert answer.status_code == 403 and "scoped" in answer.json()["detail"]
    assert (await house.ask(None, "POST", "/change-requests", json=registration())).status_code == 401


# -- reading --------------------------------------------------------------------------------------------------------


async def test_crs_are_listed_in_pages_and_by_what_they_are(house: House) -> None:
    await house.release()
    for number in range(4):
        await house.cr(external_id=f"X{number}", author="emil" if number % 2 else "edda")
    await house.cr(external_id="Y", source="jira", release="epl-2026.12", ptask="paul")
    seen: list[str] = []
    cursor = ""
    while True:
        page = await house.get(f"/change-requests?limit=2{cursor}")
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == ["CR-5", "CR-4", "CR-3", "CR-2", "CR-1"]

    async def ids(query: str, who: str = "ada") -> list[str]:
        return [one["id"] for one in (await house.get(f"/change-requests?{query}", who))["items"]]

    assert await ids("author=EMIL") == ["CR-5", "CR-4", "CR-2"]
    assert await ids("release=epl-2026.12") == await ids("ptask=local|paul") == ["CR-5"]
    assert await ids("source=servicenow&external_id=X2") == ["CR-3"]
    assert await ids("state=deployed") == await ids("product=scp") == await ids("", "stranger") == []
    for wrong in ("cursor=nonsense", "limit=0", "limit=1000", "state=verified"):
        assert (await house.ask("ada", "GET", f"/change-requests?{wrong}")).status_code == 422
    assert (await house.ask("stranger", "GET", "/change-requests/CR-1")).status_code == 404
    for nobody in ("CR-99", "CR-0", "cr-1", "CR-1x", "CR-99999999999999999999"):
        assert (await house.ask("ada", "GET", f"/change-requests/{nobody}")).status_code == 404


# -- changing -------------------------------------------------------------------------------------------------------


async def test_a_change_says_what_differs_and_nothing_when_nothing_does(house: House) -> None:
    cr = await house.cr(planned_start="2026-12-01T08:00:00Z")
    answer = await house.patch(cr, title="Better words", planned_start=None, ptask="pia")
    assert answer.status_code == 200 and answer.json()["revision"] == 2 and answer.headers["etag"] == '"2"'
    assert (await house.patch(cr, title="Better words")).json()["revision"] == 2
    (fact,) = await house.said(CRChanged)
    assert fact.changed == ("planned_start", "title") and fact.revision == 2 and fact.planned_start is None
    assert (await house.patch(cr, title=None)).status_code == 422
    (event,) = [one for one in await house.events() if one.data == fact]
    assert event.cause == answer.headers["x-request-id"]  # without an Idempotency-Key: what the caller can quote


async def test_a_change_on_an_older_revision_is_refused(house: House) -> None:
    cr = await house.cr()
    await house.patch(cr, title="B")
    assert (await house.patch(cr, headers={"If-Match": '"1"'}, title="C")).json()["type"].endswith("stale")
    assert (await house.patch(cr, title="C", revision=1)).status_code == 409
    assert (await house.patch(cr, headers={"If-Match": '"2"'}, title="C")).status_code == 200
    assert (await house.patch(cr, headers={"If-Match": "abc"}, title="C")).status_code == 422


async def test_what_a_frozen_release_holds_only_a_release_manager_changes(house: House) -> None:
    await house.release()
    await house.release("2027.01")
    cr = await house.cr(release="epl-2026.12")
    await house.ask("rita", "POST", "/releases/epl-2026.12/freeze")
    for differs in ({"commit": "c2"}, {"release": None}, {"release": "epl-2027.01"}, {"kind": "emergency"}):
        assert (await house.patch(cr, **differs)).status_code == 409, differs
    assert (await house.patch(cr, ptask="paul", title="Words may be put right")).status_code == 200
    assert (await house.patch(cr, "rita", release="epl-2027.01")).status_code == 200
    assert (await house.patch(cr, release="epl-2026.12")).status_code == 409, "nothing enters it either"
    await house.ask("rita", "POST", "/releases/epl-2026.12/close")
    assert (await house.patch(cr, "rita", release="epl-2026.12")).status_code == 409, "closed is closed"


async def test_changes_that_race_are_all_kept_one_after_the_other(house: House) -> None:
    cr = await house.cr()
    answers = await asyncio.gather(*(house.patch(cr, title=f"Title {n}") for n in range(5)))
    assert sorted(answer.json()["revision"] for answer in answers) == [2, 3, 4, 5, 6]
    assert [event.sequence for event in await house.events() if event.key == cr] == [1, 2, 3, 4, 5, 6]


# -- deployed, rolled back, withdrawn -----------------------------------------------------------------------------------


async def test_a_deployment_is_said_once_and_corrected_by_another_time(house: House) -> None:
    cr = await house.cr(commit="c1")
    first, second = (await house.at(-2)).isoformat(), (await house.at(-1)).isoformat()
    answer = await house.post(cr, "deployed", deployed_at=first)
    assert answer.status_code == 200 and answer.json()["state"] == "deployed"
    assert (await house.post(cr, "deployed", deployed_at=first)).json() == answer.json()
    corrected = await house.post(cr, "deployed", deployed_at=second)
    assert corrected.json()["deployments"][0]["revision"] == 2
    facts = await house.said(CRDeployed)
    assert [(fact.deployment, fact.revision) for fact in facts] == [(1, 1), (1, 2)]
    assert facts[0].commit == "c1" and facts[0].deployer == "local|ci" and facts[0].against_process == ()
    seen = await house.get(f"/change-requests/{cr}")
    assert [one["revision"] for one in seen["deployments"]] == [1, 2], "what was corrected stays readable"
    assert (await house.patch(cr, commit="c2")).status_code == 409
    assert (await house.patch(cr, ptask="paul")).status_code == 200
    refused = await house.patch(cr, ptask="ldap|Pia")
    assert refused.status_code == 422 and refused.json()["fields"][0]["path"] == "body.ptask"
    assert refused.json()["detail"].endswith("whom Daymark knows. Is it local|pia?")


async def test_a_rollback_and_the_deployment_after_it_have_their_numbers(house: House) -> None:
    cr = await house.cr()
    times = [(await house.at(hours)).isoformat() for hours in (-5, -4, -3, -2)]
    assert (await house.post(cr, "rolled-back", rolled_back_at=times[0], reason="x")).status_code == 409
    await house.post(cr, "deployed", deployed_at=times[0])
    assert (
        await house.post(cr, "rolled-back", rolled_back_at=(await house.at(-6)).isoformat(), reason="x")
    ).status_code == 422
    answer = await house.post(cr, "rolled-back", rolled_back_at=times[1], reason="p99 doubled")
    assert answer.json()["state"] == "rolled_back"
    assert (await house.post(cr, "deployed", deployed_at=times[0])).json()["state"] == "rolled_back", "a late repeat"
    answer = await house.post(cr, "deployed", deployed_at=times[2])
    assert answer.json()["state"] == "deployed" and answer.json()["deployments"][-1]["deployment"] == 2
    again = await house.post(cr, "rolled-back", rolled_back_at=times[2], reason="p99 doubled", deployment=1)
    assert again.json()["rollbacks"][0]["revision"] == 2 and again.json()["state"] == "deployed"
    assert [(fact.deployment, fact.revision) for fact in await house.said(CRRolledBack)] == [(1, 1), (1, 2)]
    for wrong in (
        {"deployment": 4},
        {"deployed_at": (await house.at(1)).isoformat()},
        {"deployed_at": "1999-01-01T00:00:00Z"},
    ):
        assert (await house.post(cr, "deployed", **({"deployed_at": times[3]} | wrong))).status_code == 422, wrong


async def test_a_deployment_after_withdrawal_is_recorded_and_flagged(house: House) -> None:
    cr = await house.cr()
    assert (await house.post(cr, "withdrawn", reason="not needed")).json()["state"] == "withdrawn"
    assert (await house.post(cr, "withdrawn", reason="still not")).status_code == 200
    assert (await house.patch(cr, title="x")).status_code == 409
    answer = await house.post(cr, "deployed", deployed_at=(await house.at(-1)).isoformat())
    assert answer.status_code == 200 and answer.json()["deployments"][0]["against_process"] == []  # it still stood then
    answer = await house.post(cr, "deployed", deployed_at=(await house.at(0)).isoformat())
    assert answer.status_code == 200 and answer.json()["deployments"][0]["against_process"] == ["withdrawn"]
    assert (await house.post(cr, "withdrawn", reason="too late")).status_code == 409
    assert len(await house.said(CRWithdrawn)) == 1


async def test_two_reports_of_one_deployment_at_once_are_one(house: House) -> None:
    cr = await house.cr()
    at = (await house.at(-1)).isoformat()
    answers = await asyncio.gather(*(house.post(cr, "deployed", deployed_at=at) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(await house.said(CRDeployed)) == 1


# -- tables -----------------------------------------------------------------------------------------------------------


async def test_the_migrations_make_exactly_the_tables_of_the_store(house: House) -> None:
    engine = create_async_engine(make_url(house.url).set(drivername="postgresql+asyncpg"))
    options = {
        "include_schemas": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == "intake",
        "include_object": lambda _o, name, *_: name != "alembic_version",
    }
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(
                lambda sync: compare_metadata(MigrationContext.configure(sync, opts=options), metadata)
            )
    finally:
        await engine.dispose()
    assert found == []
