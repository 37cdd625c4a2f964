"""GitHub's deliveries through intake's door, on a real database: one house, whose changes go the way that GitHub tells."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.contracts import CRDeployed, CRRegistered, CRRolledBack
from tests.intaking import HOOK, House, intake
from tests.servers.postgres import Databases
from tests.unit.test_webhooks import deployed, merged

NEW, OLD = HOOK["secrets"]
pytestmark = pytest.mark.xdist_group("webhooks")  # one house for all


@pytest.fixture(scope="module")
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with intake(postgres) as made:
        yield made


def pull(number: int, **differs: Any) -> dict[str, Any]:
    return merged(number=number, title=f"Change {number}", user={"login": "emil"}, **differs)


async def deliver(
    house: House, body: Any, delivery: str, *, event: str = "", secret: str = NEW, hook: str = "github", **differs: str
) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = event or ("pull_request" if b"pull_request" in raw else "deployment_status")
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": kind,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), raw, 'sha256').hexdigest()}",
        **differs,
    }
    return await house.ask(None, "POST", f"/webhooks/{hook}", content=raw, headers=headers)


async def test_a_change_goes_the_way_that_github_tells(house: House) -> None:
    assert (await deliver(house, pull(1), "p1")).status_code == 201
    found = (await house.get("/change-requests?external_id=acme/orders%231"))["items"][0]
    named = {name: found[name] for name in ("product", "source", "author", "ptask", "registered_by", "commit", "title")}
    assert named == {
        "product": "epl", "source": "github", "author": "local|emil", "ptask": "local|pia", "registered_by": "local|ci",
        "commit": "4f2c9d1be0", "title": "Change 1",
    }  # fmt: skip
    at = await house.at(-2)
    said = deployed(at=at.isoformat(), payload={"cr": "acme/orders#1"})
    answer = await deliver(house, said, "d1", secret=OLD)
    assert answer.status_code == 200 and answer.json()["state"] == "deployed", answer.text
    back = deployed(
        at=(await house.at(-1)).isoformat(), payload={"cr": found["id"]}, task="rollback", description="p99 doubled"
    )
    answer = await deliver(house, back, "d2")
    assert answer.json()["state"] == "rolled_back" and answer.json()["rollbacks"][0]["reason"] == "p99 doubled"
    events = [one for one in await house.events() if getattr(one.data, "cr_id", "") == found["id"]]
    assert [type(one.data) for one in events] == [CRRegistered, CRDeployed, CRRolledBack]
    assert [(one.actor, one.cause) for one in events] == [("local|ci", "p1"), ("local|ci", "d1"), ("local|ci", "d2")]
    rows = await house.rows("SELECT actor, action, cause FROM audit WHERE object = $1 ORDER BY id", found["id"])
    assert [tuple(row) for row in rows] == [
        ("local|ci", "register_cr", "p1"), ("local|ci", "report_deployed", "d1"), ("local|ci", "report_rolled_back", "d2"),
    ]  # fmt: skip


async def test_a_delivery_is_taken_once_under_whatever_id(house: House) -> None:
    body = pull(2)
    answers = await asyncio.gather(*(deliver(house, body, "q1") for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {201, 409}  # 409: while its twin was under way
    first = await deliver(house, body, "q1")
    again = await deliver(house, body, "overheard")
    assert first.content == again.content and again.headers["idempotent-replay"] == "true"
    assert len([one for one in await house.said(CRRegistered) if one.external_id == "acme/orders#2"]) == 1
    other = await deliver(house, pull(3), "q1")
    assert other.status_code == 409 and "q1" in other.json()["detail"]


async def test_an_old_deployment_that_is_sent_again_corrects_nothing(house: House) -> None:
    await deliver(house, pull(4), "r1")
    bodies = []
    for hours in (-3, -1):
        said = deployed(at=(await house.at(hours)).isoformat(), payload={"cr": "acme/orders#4"})
        bodies.append(said)
        answer = await deliver(house, said, f"r{hours}")
    assert answer.json()["deployments"][0]["revision"] == 2
    again = await deliver(house, bodies[0], "a-new-id")
    assert again.status_code == 200 and again.headers["idempotent-replay"] == "true"
    (cr,) = (await house.get("/change-requests?external_id=acme/orders%234"))["items"]
    held = (await house.get(f"/change-requests/{cr['id']}"))["deployments"]
    assert held[-1]["revision"] == 2 and held[-1]["deployed_at"] == answer.json()["deployments"][0]["deployed_at"]


async def test_what_is_not_ours_is_heard_and_leaves_nothing(house: House) -> None:
    before = await house.tables()
    kept = await house.value("SELECT count(*) FROM inbox") + await house.value("SELECT count(*) FROM audit")
    for body, event in (({"zen": "x"}, "ping"), ({}, "push"), (pull(5, labels=[]), ""), (deployed("pending"), "")):
        answer = await deliver(house, body, "n", event=event)
        assert answer.status_code == 202 and answer.json()["is_taken"] is False and answer.json()["reason"]
    assert await house.tables() == before
    assert kept == await house.value("SELECT count(*) FROM inbox") + await house.value("SELECT count(*) FROM audit")


HOSTILE: dict[str, tuple[int, dict[str, Any]]] = {
    "a wrong secret": (401, {"secret": "the secret of somebody"}),
    "no signature": (401, {"X-Hub-Signature-256": ""}),
    "another's signature": (401, {"X-Hub-Signature-256": "sha256=" + "0" * 64}),
    "a signature of another kind": (401, {"X-Hub-Signature-256": "sha1=" + "0" * 40}),
    "a webhook that is none": (401, {"hook": "gitlab"}),
    "a webhook by path": (404, {"hook": "..%2f..%2fgithub"}),
    "a wrong secret, and no JSON": (401, {"body": b"{", "secret": "the secret of somebody"}),
    "no body": (400, {"body": b""}),
    "no JSON": (400, {"body": b"{"}),
    "not UTF-8": (400, {"body": b'{"action":"\xff"}'}),
    "NUL": (400, {"body": b'{"action":"\\u0000"}'}),
    "a lone surrogate": (400, {"body": b'{"action":"\\udfff"}'}),
    "NaN": (400, {"body": b'{"number": NaN}'}),
    "a key twice": (400, {"body": b'{"action":"closed","action":"opened"}'}),
    "absurd depth": (400, {"body": b"[" * 3000 + b"]" * 3000}),
    "an array": (422, {"body": b"[]"}),
    "null": (422, {"body": b"null"}),
    "a form": (415, {"Content-Type": "application/x-www-form-urlencoded"}),
    "packed": (415, {"Content-Encoding": "gzip"}),
    "over the limit": (413, {"body": b'{"x": "' + b"x" * 2_000_000 + b'"}'}),
    "no delivery": (422, {"X-GitHub-Delivery": ""}),
    "a filter that is none": (422, {"hook": "github?product=scp"}),
    "a product that is none": (422, {"body": merged(labels=[{"name": "cr:elp"}])}),
    "a product by SQL": (422, {"body": merged(labels=[{"name": "cr:' OR 1=1"}])}),
    "a person of nothing": (422, {"body": merged(user={"login": " "})}),
    "a commit of spaces": (422, {"body": merged(merge_commit_sha="a b")}),
    "a link of script": (422, {"body": merged(html_url="javascript:alert(1)")}),
    "a title of nothing": (422, {"body": merged(title="\u2800")}),
    "no PTASK engineer": (422, {"body": merged(assignees=[])}),
    "a change that is none": (404, {"body": deployed(payload={"cr": "CR-999"})}),
    "a time that is none": (422, {"body": deployed(at="now")}),
    "a time to come": (422, {"body": deployed(at="2199-01-01T00:00:00Z", payload={"cr": "CR-1"})}),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_is_no_delivery_is_refused_and_changes_nothing(house: House, what: str) -> None:
    status, how = HOSTILE[what]
    before, inbox = await house.tables(), await house.value("SELECT count(*) FROM inbox")
    answer = await deliver(house, how.get("body", merged()), "h", **{k: v for k, v in how.items() if k != "body"})
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json" and len(answer.content) <= 2048
    assert HOOK["secrets"][0] not in answer.text
    assert await house.tables() == before and await house.value("SELECT count(*) FROM inbox") == inbox


async def test_the_choke_point_holds_for_a_webhook_and_its_refusal_is_on_the_record(house: House) -> None:
    await house.grants("ci", [("scp", "integration")])
    try:
        answer = await deliver(house, pull(6), "c1")
        assert answer.status_code == 403 and "register_cr" in answer.json()["detail"]
        row = (await house.rows("SELECT actor, action, refused, cause FROM audit ORDER BY id DESC LIMIT 1"))[0]
        assert tuple(row)[:3] == ("local|ci", "register_cr", True)
        await house.grants("ci", [("*", "integration")])
        assert (await deliver(house, pull(6), "c1")).status_code == 201, "a refusal is not kept"
    finally:
        await house.grants("ci", [("*", "integration")])


async def test_a_webhook_whose_integration_is_gone_says_nothing_any_more(house: House) -> None:
    await house.disable("ci", True)
    try:
        for body, event in ((pull(7), ""), ({"zen": "x"}, "ping")):
            answer = await deliver(house, body, "g1", event=event)
            assert answer.status_code == 401 and "local|ci" in answer.json()["detail"]
    finally:
        await house.disable("ci", False)
