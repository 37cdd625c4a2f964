"""What strangers send to the reviewer's doors, to the console, and onto the bus of all four services.

Intake's, the snapshotter's and incidents' own doors have their sets in their own files. Here as there: never a 5xx, and
every table of every service but audit, inbox and dead letters is afterwards what it was.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
from fastapi import FastAPI

from shared.bus import Letter, open_bus
from shared.bus.kept import given_back
from shared.contracts import CRDeployed, CRWithdrawn, Event, to_wire
from tests.flow.world import Change, World, begun
from tests.servers.postgres import Databases

DIGEST = "0" * 64


@pytest.fixture(scope="module")
async def known(postgres: Databases) -> AsyncIterator[tuple[World, Change]]:
    """One world with one change, which nothing here may change."""
    async with begun(postgres) as world:
        cr = await world.register()
        await world.known(cr)
        await world.quiet()
        yield world, cr


REVIEW = {"cr_id": "CR-1", "digest": DIGEST, "verdict": "ready"}
GO = {"decision": "go", "reason": "x", "digest": DIGEST}
DAY = {"product": "epl", "reason": "an ordinary day"}
PIN = {"product": "epl", "snapshot": "SNAP-1", "reason": "an ordinary day"}
R, C, S = "/reviewer/v1", "/reviewer/v1/change-requests/CR-1", "/snapshotter/v1"

pytestmark = pytest.mark.xdist_group("hostile")  # one world, and what the last tests look at is what the first did

DOORS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "no body": ("olga", "POST", f"{R}/reviews", {"content": b""}),
    "no JSON": ("olga", "POST", f"{R}/reviews", {"content": b"{"}),
    "an array": ("olga", "POST", f"{R}/reviews", {"content": b"[]"}),
    "not UTF-8": ("olga", "POST", f"{R}/reviews", {"content": b'{"cr_id":"\xff"}'}),
    "NUL": ("olga", "POST", f"{R}/reviews", {"json": {**REVIEW, "comment": "a\0b"}}),
    "a lone surrogate": ("olga", "POST", f"{R}/reviews", {"content": b'{"cr_id":"CR-1","comment":"\\udfff"}'}),
    "NaN": ("olga", "POST", f"{R}/reviews", {"content": b'{"cr_id": NaN}'}),
    "a key twice": ("olga", "POST", f"{R}/reviews", {"content": b'{"cr_id":"CR-1","cr_id":"CR-2"}'}),
    "absurd depth": ("olga", "POST", f"{R}/reviews", {"content": b'{"items":' + b"[" * 3000 + b"]" * 3000 + b"}"}),
    "over the limit": ("olga", "POST", f"{R}/reviews", {"content": b'{"comment":"' + b"x" * 2_000_000 + b'"}'}),
    "a digest of nothing": ("olga", "POST", f"{R}/reviews", {"json": {**REVIEW, "digest": ""}}),
    "a digest of words": ("olga", "POST", f"{R}/reviews", {"json": {**REVIEW, "digest": "x" * 64}}),
    "another dossier's digest": ("olga", "POST", f"{R}/reviews", {"json": REVIEW}),
    "an unknown verdict": ("olga", "POST", f"{R}/reviews", {"json": {**REVIEW, "verdict": "verified"}}),
    "a verdict for somebody else": ("olga", "POST", f"{R}/reviews", {"json": {**REVIEW, "by": "local|omar"}}),
    "items without end": ("olga", "POST", f"{R}/reviews", {"json": {**REVIEW, "items": [{"text": "x"}] * 51}}),
    "an item of nothing": ("olga", "POST", f"{R}/reviews", {"json": {**REVIEW, "items": [{"text": " "}]}}),
    "an unknown change": ("olga", "POST", f"{R}/reviews", {"json": {**REVIEW, "cr_id": "CR-999"}}),
    "a change by SQL": ("olga", "POST", f"{R}/reviews", {"json": {**REVIEW, "cr_id": "CR-1' OR '1'='1"}}),
    "input by the PTASK engineer": ("pia", "POST", f"{R}/reviews", {"json": REVIEW}),
    "input by a program": ("pipeline", "POST", f"{R}/reviews", {"json": REVIEW}),
    "go by operations": ("olga", "POST", f"{C}/go", {"json": GO}),
    "go by another PTASK engineer": ("paul", "POST", f"{C}/go", {"json": GO}),
    "go on another dossier": ("pia", "POST", f"{C}/go", {"json": GO}),
    "go or no go": ("pia", "POST", f"{C}/go", {"json": {**GO, "decision": ["go", "no_go"]}}),
    "a stage by hand": ("pia", "PATCH", C, {"json": {"stage": "verified"}}),
    "verified by hand": ("pia", "POST", f"{C}/verified", {"json": {}}),
    "an answer to nothing": ("pia", "POST", f"{C}/acknowledge", {"json": {"answers": [{"item_id": "x", "answer": "y"}]}}),
    "a dossier with NUL": ("ada", "GET", f"{R}/change-requests/CR-%00/dossier", {}),
    "a dossier of no UTF-8": ("ada", "GET", f"{R}/change-requests/%ff/dossier", {}),
    "a dossier that is none": ("ada", "GET", f"{R}/change-requests/CR-99999999999999999999999/dossier", {}),
    "a gate for nobody": ("pipeline", "GET", f"{R}/gate/CR-999", {}),
    "a gate by path": ("pipeline", "GET", f"{R}/gate/..%2F..%2Fetc", {}),
    "a gate that waits for NUL": ("pipeline", "GET", f"{R}/gate/CR-1?heard=%00", {}),
    "a gate that is told": ("pipeline", "POST", f"{R}/gate/CR-1", {"json": {"go": True}}),
    "a release that is none": ("ada", "GET", f"{R}/releases/%27%20OR%201", {}),
    "a page with NUL": ("ada", "GET", "/change-requests/CR-%00", {}),
    "a page that is none": ("ada", "GET", "/change-requests/CR-999", {}),
    "a page of markup": ("ada", "GET", "/releases/%3Cscript%3Ealert(1)%3C%2Fscript%3E", {}),
    "a file above the static ones": ("ada", "GET", "/static/..%2f..%2f..%2fetc%2fpasswd", {}),
    "a static file with NUL": ("ada", "GET", "/static/a%00.css", {}),
    "a service that is none": ("ada", "GET", "/nobody/v1/things", {}),
    "a benchmark of the year 1": ("olga", "POST", f"{S}/snapshots", {"json": {**DAY, "window_end": "0001-01-01T00:00:00Z"}}),
    "a draft before the year 1": ("olga", "POST", f"{S}/drafts", {"json": {**DAY, "window_end": "0001-01-01T00:00:00+23:00"}}),
    "a pin for ever": ("olga", "POST", f"{S}/pins", {"json": {**PIN, "expires_at": "9999-12-31T23:59:59-23:00"}}),
    "an upload of the year 1": ("olga", "POST", f"{S}/uploads?product=epl&reason=day&window_end=0001-01-01T00:00:00Z",
                                {"content": b"{}"}),
}  # fmt: skip


@pytest.mark.parametrize("what", DOORS)
async def test_what_is_no_request_is_refused_and_changes_nothing(known: tuple[World, Change], what: str) -> None:
    world, _ = known
    who, method, path, how = DOORS[what]
    before = await world.tables()
    headers = {"Content-Type": "application/json"} if "content" in how else {}
    more = {"content": how["content"]} if "content" in how else {}
    answer = await world.ask(who, method, path, how.get("json"), headers=headers, **more)
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    assert "<script>" not in answer.text and "Traceback" not in answer.text
    assert await world.tables() == before


@pytest.mark.parametrize(
    "path", ["/", "/releases/x", "/change-requests/CR-1", "/reviewer/v1/releases", "/reviewer/v1/gate/CR-1"]
)
async def test_without_a_key_nothing_is_shown(known: tuple[World, Change], path: str) -> None:
    world, cr = known
    answer = await world.ask(None, "GET", path)
    assert answer.status_code in (303, 401) and cr.id not in answer.text.replace(path, "")
    answer = await world.ask(None, "GET", path, headers={"Authorization": "Bearer dmk_" + "x" * 200})
    assert answer.status_code in (303, 401)


#: What a door that takes a name, a number or a word is asked instead.
NAMES = ("%00", "%ff", "..%2F..%2Fetc%2Fpasswd", "x" * 2000)
WORDS = ("%00", "%ff", "-1e999", "x" * 9000)
VALUES: tuple[bytes, ...] = (b'{"a": [{}]}', b"1" + b"0" * 400, b'"\\u0000"')
EVERYTHING = ("engineer", "ptask", "operations", "release_manager", "integration", "auditor")


def _probes(app: FastAPI) -> Iterator[tuple[str, str, bytes | None]]:
    """(method, path, body) for each way in which a request can break what the service's own document says of it."""
    document = app.openapi()
    for path, methods in document["paths"].items():
        good = re.sub(r"\{\w+\}", "CR-1", path)
        for method, operation in methods.items():
            for name in NAMES if "{" in path else ():
                yield method, re.sub(r"\{\w+\}", name, path), b"{}"
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "query" and parameter["name"] != "heard":  # an answer of the gate is a fact
                    yield from ((method, f"{good}?{parameter['name']}={word}", None) for word in WORDS)
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            schema = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
            for field in schema.get("properties", ()):
                yield from ((method, good, b'{"%b": %b}' % (field.encode(), value)) for value in VALUES)
            if schema:
                yield from (
                    (method, good, body) for body in (b"", b"[]", b"null", b'{"no_such_field": 1}', b"{" * 2000)
                )


async def test_no_door_of_any_service_takes_what_its_own_document_forbids(known: tuple[World, Change]) -> None:
    world, _ = known
    who = await world.key_for("everything", *EVERYTHING)  # so that no missing role hides what a door does
    before, asked = await world.tables(), 0
    for app in world.app.services.values():
        for method, path, body in _probes(app):
            answer = await world.ask(
                who, method.upper(), path, content=body, headers={"Content-Type": "application/json"}
            )
            told = (method, path[:120], body[:120] if body else body, answer.status_code, answer.text[:300])
            assert answer.status_code < 500 or path.endswith("/readyz"), told
            assert method == "get" or answer.status_code >= 400, told
            assert "Traceback" not in answer.text, told
            asked += 1
    assert asked > 400 and await world.tables() == before


def _event(
    sequence: int = 1, source: str = "daymark/intake", key: str = "CR-1"
) -> tuple[bytes, list[tuple[str, bytes]]]:
    from datetime import UTC, datetime

    at = datetime(2026, 11, 20, tzinfo=UTC)
    fact = CRWithdrawn(cr_id="CR-1", product_id="epl", reason="x", withdrawn_at=at)
    value, headers = to_wire(Event(f"hostile-{sequence}", source, fact.type, at, key, sequence, "local|x", fact))
    return value, list(headers)


def _letters() -> dict[str, tuple[bytes, list[tuple[str, bytes]]]]:
    value, headers = _event()
    plain = dict(headers)

    def but(**differs: bytes | None) -> list[tuple[str, bytes]]:
        found = {**plain, **differs}
        return [(name, raw) for name, raw in found.items() if raw is not None]

    return {
        "nothing at all": (b"", []),
        "bytes of nobody": (b"\x00\xff\xfe", [("x", b"\xff")]),
        "no id": (value, but(ce_id=None)),
        "no sequence": (value, but(ce_sequence=None)),
        "a sequence of words": (value, but(ce_sequence=b"first")),
        "no zone": (value, but(ce_time=b"2026-11-20T00:00:00")),
        "another specversion": (value, but(ce_specversion=b"0.3")),
        "a header that is no UTF-8": (value, but(ce_actor=b"\xff\xfe")),
        "said by another service": (value, but(ce_source=b"daymark/snapshotter")),
        "another's key": (value, but(ce_partitionkey=b"CR-2")),
        "half a payload": (value[:-5], headers),
        "a payload of NaN": (b'{"cr_id": NaN}', headers),
        "a payload of null": (b"null", headers),
        "a payload without its fields": (b"{}", headers),
        "another topic's fact": (value, but(ce_type=CRDeployed.type.encode())),
    }


async def test_letters_that_nobody_can_read_are_dead_at_every_hearer_and_change_nothing(
    known: tuple[World, Change],
) -> None:
    world, _ = known
    letters = _letters()
    await world.quiet()
    # The gauge of what was heard moves with every letter; the letter itself lies on the topic: both are no effect.
    before = {name: rows for name, rows in (await world.tables()).items() if name != f"bus.{CRWithdrawn.topic}"}
    dead = {name: await world.admin.fetchval(f"SELECT count(*) FROM {name}.dead") for name in HEARERS}
    async with open_bus(world.url) as bus:
        publisher = await bus.publisher()
        for what, (value, headers) in letters.items():
            await publisher.publish([Letter(CRWithdrawn.topic, "CR-1", value, (*headers, ("what", what.encode())))])
        await publisher.abandon()
    await world.quiet()
    after = {name: rows for name, rows in (await world.tables()).items() if name != f"bus.{CRWithdrawn.topic}"}
    assert after == before
    for name in HEARERS:
        rows = await world.admin.fetch(f"SELECT headers FROM {name}.dead ORDER BY id OFFSET $1", dead[name])
        found = [given_back(orjson.loads(row["headers"]))[-1][1].decode() for row in rows]
        assert found == list(letters), name


HEARERS = ("snapshotter", "incidents", "reviewer")


async def test_after_all_that_the_change_can_still_be_walked_to_production(known: tuple[World, Change]) -> None:
    world, cr = known
    answer = await world.get(f"/reviewer/v1/gate/{cr.id}", "pipeline")
    assert not answer["go"] and "parked" in {reason["code"] for reason in answer["reasons"]}  # dead letters of its key
    assert "stale" not in {reason["code"] for reason in answer["reasons"]}  # all consumers still run
