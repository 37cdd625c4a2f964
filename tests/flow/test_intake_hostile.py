"""What strangers send to intake's four doors: always a clear no (never a 5xx, never a yes), and nothing is changed by it.

Compared before and after: every table but inbox, audit and dead letters.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.contracts.signing import KEY_HEADER, SIGNATURE_HEADER
from tests.intaking import POLICY, House, intake, junit, registration
from tests.servers.postgres import Databases

FINE = registration(external_id="FINE")
LONG_AGO = "2026-01-01T00:00:00Z"
ENDLESS = json.dumps(POLICY | {"freshness_s": 1}).replace("1}", "1e999}").encode()
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b"<testsuite><testcase name='&b;'/></testsuite>"
)
EXTERNAL = (
    b'<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite><testcase name="a">&x;</testcase></testsuite>'
)


@pytest.fixture(scope="module")
async def house(postgres: Databases) -> AsyncIterator[House]:
    """One for all: nothing here may change anything. CR-1 is deployed; release r is frozen."""
    async with intake(postgres) as made:
        await made.cr(external_id="FIRST")
        await made.post("CR-1", "deployed", deployed_at=(await made.at(-2)).isoformat())
        await made.release("r")
        await made.ask("rita", "POST", "/releases/epl-r/freeze")
        yield made


async def refused(house: House, method: str, path: str, who: str | None = "emil", **how: Any) -> None:
    before = await house.tables()
    answer = await house.ask(who, method, path, **how)
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    assert answer.headers["content-type"] == "application/problem+json" and len(answer.content) <= 2048
    assert await house.tables() == before


# -- HTTP -----------------------------------------------------------------------------------------------------------

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "an array": b"[]",
    "a string": b'"CR"',
    "null": b"null",
    "NaN": b'{"title": NaN}',
    "not UTF-8": b'{"title": "\xff\xfe"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a lone surrogate": json.dumps(FINE).replace("Cache", "\\ud800").encode(),
    "NUL": json.dumps(FINE).replace("Cache", "\\u0000").encode(),
    "the same key twice": json.dumps(FINE)[:-1].encode() + b', "title": "Other"}',
    "absurd depth": b'{"title": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "too many values": b'{"title": [' + b"1," * 150_000 + b"1]}",
    "an absurd number": b'{"title": ' + b"9" * 5000 + b"}",
    "over the limit": json.dumps(FINE | {"description": "x" * 2_000_000}).encode(),
    "an unknown word": json.dumps(FINE | {"is_approved": True}).encode(),
}
FIELDS: dict[str, dict[str, Any]] = {
    "no title": {"title": ...},
    "a blank title": {"title": " \t "},
    "a long title": {"title": "x" * 201},
    "two lines of title": {"title": "a\nb"},
    "text that turns around": {"title": "abc\u202edef"},
    "an escape sequence": {"description": "\u001b[2J"},
    "a script as link": {"link": "javascript:alert(1)"},
    "a link with a line end": {"link": "https://a.test/\r\nSet-Cookie: a=b"},
    "a commit with spaces": {"commit": "a b"},
    "an author without a name": {"author": "corp|"},
    "an author of nothing": {"author": "|"},
    "an author as a list": {"author": ["emil"]},
    "a PTASK engineer whom nobody knows": {"ptask": "local|nobody"},
    "a PTASK engineer who is none": {"ptask": "olga"},
    "a PTASK engineer under another issuer": {"ptask": "ldap|pia"},
    "an unknown kind": {"kind": "harmless"},
    "an unknown product": {"product": "nothing"},
    "a product as a path": {"product": "../../etc/passwd"},
    "SQL as a product": {"product": "epl'; DROP TABLE products; --"},
    "a frozen release": {"release": "epl-r"},
    "a time without a zone": {"planned_start": "2026-12-01T08:00:00"},
    "year 1 in the east": {"planned_start": "0001-01-01T00:00:00+14:00"},
    "year 9999 in the west": {"planned_start": "9999-12-31T23:59:59-14:00"},
    "a month 13": {"planned_start": "2026-13-01T08:00:00Z"},
    "a time as an absurd number": {"planned_start": 1e300},
    "an end before its start": {"planned_start": "2026-12-01T08:00:00Z", "planned_end": "2026-12-01T07:00:00Z"},
    "a CR that is there with other content": {"external_id": "FIRST", "title": "Mine now"},
}


@pytest.mark.parametrize("what", BODIES)
async def test_a_body_nobody_could_read_registers_nothing(house: House, what: str) -> None:
    headers = {"Content-Type": "application/json"}
    await refused(house, "POST", "/change-requests", content=BODIES[what], headers=headers)


@pytest.mark.parametrize("what", FIELDS)
async def test_a_field_that_cannot_be_registers_nothing(house: House, what: str) -> None:
    await refused(house, "POST", "/change-requests", json=registration(**{"external_id": "FINE", **FIELDS[what]}))


REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "another content type": ("POST", "/change-requests", {"content": b"a=b", "headers": {"Content-Type": "text/plain"}}),
    "a compressed body": ("POST", "/change-requests", {"json": FINE, "headers": {"Content-Encoding": "gzip"}}),
    "an impossible Idempotency-Key": ("POST", "/change-requests", {"json": FINE, "headers": {"Idempotency-Key": b"\xe4 b"}}),
    "NUL in the path": ("GET", "/change-requests/CR-%00", {}),
    "a surrogate in the query": ("GET", "/change-requests?author=%ED%A0%80", {}),
    "a huge number in an id": ("GET", "/change-requests/CR-99999999999999999999999", {}),
    "a cursor of somebody else's": ("GET", "/change-requests?cursor=bjk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", {}),
    "a method that is not there": ("DELETE", "/change-requests/CR-1", {}),
    "a deployment tomorrow": ("POST", "/change-requests/CR-1/deployed", {"json": {"deployed_at": "2190-01-01T00:00:00Z"}}),
    "deployment 0": ("POST", "/change-requests/CR-1/deployed", {"json": {"deployed_at": LONG_AGO, "deployment": 0}}),
    "deployment 9": ("POST", "/change-requests/CR-1/deployed", {"json": {"deployed_at": LONG_AGO, "deployment": 9}}),
    "a rollback for nothing": ("POST", "/change-requests/CR-1/rolled-back", {"json": {"rolled_back_at": LONG_AGO, "reason": ""}}),
    "a withdrawal of what runs": ("POST", "/change-requests/CR-1/withdrawn", {"json": {"reason": "no"}}),
    "a commit put under a deployment": ("PATCH", "/change-requests/CR-1", {"json": {"commit": "other"}}),
    "a revision of words": ("PATCH", "/change-requests/CR-1", {"json": {"title": "x"}, "headers": {"If-Match": '"1; DROP"'}}),
    "a review by the author": ("POST", "/change-requests/CR-1/code-review", {"json": {"reviewed_at": LONG_AGO}}),
    "a policy that names itself otherwise": ("PUT", "/products/other", {"json": POLICY}),
    "a policy of infinities": ("PUT", "/products/epl", {"content": ENDLESS, "headers": {"Content-Type": "application/json"}}),
}  # fmt: skip


@pytest.mark.parametrize("what", REQUESTS)
async def test_a_request_that_makes_no_sense_changes_nothing(house: House, what: str) -> None:
    method, path, how = REQUESTS[what]
    await refused(house, method, path, "rita" if "products" in path else "emil", **how)


@pytest.mark.parametrize("credential", ["", "Bearer", "Bearer x", "Basic cml0YTpyaXRh", "Bearer dmk_" + "x" * 5000])
async def test_a_key_that_is_none_opens_nothing(house: House, credential: str) -> None:
    await refused(house, "POST", "/change-requests", None, json=FINE, headers={"Authorization": credential})


# -- JUnit ----------------------------------------------------------------------------------------------------------

REPORTS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "nothing": (b"", {}),
    "no XML": (b"PASSED", {}),
    "a web page": (b"<!doctype html><html><body>log in</body></html>", {}),
    "half a report": (junit(("a", "passed"))[:-20], {}),
    "a billion laughs": (LAUGHS, {}),
    "a file of ours": (EXTERNAL, {}),
    "an inclusion": (b'<testsuite xmlns:xi="http://www.w3.org/2001/XInclude"><testcase name="a"/></testsuite>', {}),
    "a processing instruction": (b"<testsuite><?php system('id') ?><testcase name='a'/></testsuite>", {}),
    "an encoding of tricks": (b'<?xml version="1.0" encoding="utf-7"?><testsuite/>', {}),
    "control characters": (b"<testsuite><testcase name='a\x00b'/></testsuite>", {}),
    "absurd depth": (b"<testsuite>" * 5000 + b"</testsuite>" * 5000, {}),
    "absurdly many attributes": (b"<testsuite " + b" ".join(b'a%d="1"' % n for n in range(5000)) + b"/>", {}),
    "a compressed report": (b"\x1f\x8b\x08\x00" + b"\x00" * 100, {}),
    "over the limit": (junit(("a" * 6_000_000, "passed")), {}),
    "JSON": (b'{"results": {}}', {}),
    "an unknown kind": (junit(("a", "passed")), {"suite_kind": "smoke"}),
    "neither commit nor artifact": (junit(("a", "passed")), {"commit": None}),
    "a run tomorrow": (junit(("a", "passed")), {"run_at": "2190-01-01T00:00:00Z"}),
    "a run at no time": (junit(("a", "passed")), {"run_at": None}),
    "a commit of control characters": (junit(("a", "passed")), {"commit": "a\x1bb"}),
    "an unknown word": (junit(("a", "passed")), {"outcome": "passed"}),
}


@pytest.mark.parametrize("what", REPORTS)
async def test_a_report_nobody_should_believe_is_no_evidence(house: House, what: str) -> None:
    raw, differs = REPORTS[what]
    said = {"suite_kind": "regression", "commit": "c1", "run_at": (await house.at(-1)).isoformat(), **differs}
    said = {name: value for name, value in said.items() if value is not None}
    headers = {"Content-Type": "application/xml"}
    await refused(house, "POST", "/change-requests/CR-1/test-results", params=said, content=raw, headers=headers)


@pytest.mark.parametrize(
    "how",
    [
        {"data": {"suite_kind": "regression"}},
        {"files": {"report": ("r.xml", b"<testsuite/>", "application/xml")}},
        {"files": [("file", ("a.xml", b"<testsuite/>", "text/xml")), ("file", ("b.xml", b"<testsuite/>", "text/xml"))]},
        {"content": b"--x\r\nno form", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        {"files": {"file": ("../../r.exe", b"MZ\x90", "application/x-msdownload")}},
    ],
    ids=["urlencoded", "another name", "two files", "half a form", "no boundary", "a program"],
)
async def test_a_form_that_holds_no_report_is_no_evidence(house: House, how: dict[str, Any]) -> None:
    said = {"suite_kind": "regression", "commit": "c1", "run_at": (await house.at(-1)).isoformat()}
    await refused(house, "POST", "/change-requests/CR-1/test-results", params=said, **how)


# -- CloudEvents ------------------------------------------------------------------------------------------------------

EVENTS: dict[str, Any] = {
    "an array": [],
    "no specversion": {"specversion": ...},
    "another specversion": {"specversion": "0.3"},
    "no id": {"id": ...},
    "a blank source": {"source": ""},
    "an id that is a number": {"id": 7},
    "a huge id": {"id": "x" * 100_000},
    "control characters in the source": {"source": "a\u0007"},
    "an unknown type": {"type": "cr.deployed.v1"},
    "year 0": {"time": "0000-01-01T00:00:00Z"},
    "an impossible offset": {"time": "2026-11-23T09:00:00+99:99"},
    "a time of a million years": {"time": "1000000-01-01T00:00:00Z"},
    "no data": {"data": ...},
    "data as text": {"data": "registered"},
    "data of another type": {"datacontenttype": "text/xml"},
    "data twice": {"data_base64": "e30="},
    "data in no base64": {"data": ..., "data_base64": "%%%"},
    "NUL inside base64": {"data": ..., "data_base64": "eyJ0aXRsZSI6ICJcdTAwMDAifQ=="},
    "an unknown word in the data": {"data": FINE | {"is_approved": True}},
    "a CR by two names": {
        "type": "inbound.cr.withdrawn.v1",
        "data": {"cr_id": "CR-1", "source": "s", "external_id": "e", "reason": "no"},
    },
    "a CR by half a name": {"type": "inbound.cr.withdrawn.v1", "data": {"source": "servicenow", "reason": "no"}},
    "a CR that is not there": {"type": "inbound.cr.withdrawn.v1", "data": {"cr_id": "CR-99", "reason": "no"}},
}


def event(what: str) -> Any:
    differs = EVENTS[what]
    if not isinstance(differs, dict):
        return differs
    base = {
        "specversion": "1.0",
        "id": what,
        "source": "https://ci.test",
        "type": "inbound.cr.registered.v1",
        "data": FINE,
    }
    return {name: value for name, value in (base | differs).items() if value is not ...}


@pytest.mark.parametrize("what", EVENTS)
async def test_an_event_that_is_none_says_nothing(house: House, what: str) -> None:
    headers = {"Content-Type": "application/cloudevents+json"}
    await refused(house, "POST", "/events", content=json.dumps(event(what)), headers=headers)


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"[]", {"Content-Type": "application/cloudevents-batch+json"}),
        (b"{}", {"Content-Type": "text/plain"}),
        (b"{}", {"Content-Type": "application/json"}),
        (b"\xff", {"Content-Type": "application/cloudevents+json"}),
        (json.dumps(FINE).encode(), {"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "%FF"}),
        (
            b'{"a": 1, "a": 2}',
            {
                "Content-Type": "application/json",
                "ce-specversion": "1.0",
                "ce-id": "1",
                "ce-source": "s",
                "ce-type": "t",
            },
        ),
    ],
    ids=["a batch", "text", "no attributes", "not UTF-8", "an attribute not UTF-8", "the same key twice"],
)
async def test_bytes_that_are_no_event_say_nothing(house: House, content: bytes, headers: dict[str, str]) -> None:
    await refused(house, "POST", "/events", content=content, headers=headers)


# -- Kafka ----------------------------------------------------------------------------------------------------------

RECORDS: dict[str, dict[str, Any]] = {
    "nothing": {"value": None, "headers": ()},
    "no headers": {"headers": ()},
    "unsigned": {"less": (KEY_HEADER, SIGNATURE_HEADER)},
    "a signature of nothing": {"more": {SIGNATURE_HEADER: b""}},
    "a signature not base64": {"more": {SIGNATURE_HEADER: "é".encode()}},
    "a header not UTF-8": {"more": {"ce_id": b"\xff"}},
    "no id": {"less": ("ce_id",)},
    "no time": {"less": ("ce_time",)},
    "structured": {"more": {"content-type": b"application/cloudevents+json"}},
    "another key's id with an escape": {"more": {KEY_HEADER: b"sig_\x1b"}},
    "a header twice": {"twice": "ce_id"},
    "signed, no JSON": {"raw": b"\x00\x01\x02"},
    "signed, the same key twice": {"raw": b'{"title": "a", "title": "b"}'},
    "signed, absurd depth": {"raw": b"[" * 100_000},
    "signed, huge": {"raw": b'"' + b"x" * 300_000 + b'"'},
    "signed, an unknown word": {"data": FINE | {"x": 1}},
    "signed, an unknown type": {"type": "inbound.cr.approved.v1"},
    "signed, year 1": {"time": "0001-01-01T00:00:00+14:00"},
    "signed, yesterday": {"time": "2020-01-01T00:00:00Z"},
    "signed, an unknown product": {"data": FINE | {"product": "nothing"}},
    "signed, NUL in the text": {"raw": json.dumps(FINE).replace("Cache", "\\u0000").encode()},
    "signed, for a program not to do": {"type": "inbound.cr.changed.v1", "data": {"cr_id": "CR-1", "commit": "x"}},
}


@pytest.mark.parametrize("what", RECORDS)
async def test_a_record_nobody_should_believe_is_a_dead_letter(house: House, what: str) -> None:
    how = RECORDS[what]
    differs = {name: how[name] for name in ("raw", "time") if name in how}
    record = await house.signed(how.get("data", FINE), how.get("type", "inbound.cr.registered.v1"), **differs)
    headers = [(name, value) for name, value in record.headers if name not in how.get("less", ())]
    headers = [(name, how.get("more", {}).get(name, value)) for name, value in headers]
    headers += [(name, value) for name, value in headers if name == how.get("twice")]
    record = house.record(how.get("value", record.value), tuple(how.get("headers", headers)))
    before = await house.tables()
    reason = await house.hear(record)
    assert reason and "keeps failing" not in reason, reason
    assert await house.tables() == before


async def test_a_record_with_nul_in_a_header_is_a_dead_letter(house: House) -> None:
    record = await house.signed(FINE, "inbound.cr.registered.v1")
    headers = tuple((name, b"sig_\x00" if name == KEY_HEADER else value) for name, value in record.headers)
    before = await house.tables()
    assert await house.hear(house.record(record.value, headers))
    assert await house.tables() == before


# -- strangers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "dmk_nobodys"])
@pytest.mark.parametrize(
    ("method", "path", "how"),
    [
        ("POST", "/change-requests", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        ("POST", "/change-requests", {"content": b"x", "headers": {"Content-Type": "text/plain"}}),
        ("POST", "/change-requests", {"json": {}}),
        ("POST", "/change-requests/CR-1/test-results?suite_kind=no", {"content": b"<x", "headers": {"Content-Type": "a/b"}}),
        ("POST", "/events", {"content": b"{", "headers": {"Content-Type": "application/cloudevents+json"}}),
        ("PUT", "/products/epl", {"json": []}),
        ("GET", "/change-requests?stat=open", {}),
        ("GET", "/change-requests?limit=0", {}),
    ],
)  # fmt: skip
async def test_a_stranger_is_told_of_the_key_and_of_nothing_else(
    house: House, key: str | None, method: str, path: str, how: dict[str, Any]
) -> None:
    headers = how.get("headers", {}) | ({"Authorization": f"Bearer {key}"} if key else {})
    await refused(house, method, path, None, **how | {"headers": headers})
    answer = await house.ask(None, method, path, **how | {"headers": headers})
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:daymark:problem:unauthenticated")
