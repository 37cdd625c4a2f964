"""What JSON is taken, what is refused before anything runs, and that ordinary bodies pay little for it."""

from __future__ import annotations

import json
import time

import pytest
from fastapi import APIRouter, Body, FastAPI, Form, Query, Request
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from shared.doors.problems import problems
from shared.doors.strict import StrictRoute, refuse_bad_target, strict_loads, words_loads
from shared.errors import Invalid, Malformed

HOSTILE = {
    "empty": b"",
    "blank": b"   ",
    "not JSON": b"hello",
    "a BOM": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "latin-1": b'{"a": "\xe9"}',
    "an overlong UTF-8": b'{"a": "\xc0\x80"}',
    "CESU surrogates": b'{"a": "\xed\xa0\x80\xed\xb0\x80"}',
    "a raw NUL": b'{"a": "x\x00y"}',
    "an escaped NUL": b'{"a": "x\\u0000y"}',
    "an escaped NUL in a key": b'{"x\\u0000y": 1}',
    "an escaped NUL after an escaped backslash": b'{"a": "\\\\\\u0000"}',
    "a high surrogate alone": b'{"a": "\\ud800"}',
    "a low surrogate alone": b'{"a": "\\udc00"}',
    "surrogates the wrong way round": b'{"a": "\\udc00\\ud800"}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "minus Infinity": b'{"a": -Infinity}',
    "a float that overflows": b'{"a": 1e999}',
    "a float that overflows downwards": b'{"a": -1E400}',
    "int64 and one": b'{"a": 9223372036854775808}',
    "below int64": b'{"a": -9223372036854775809}',
    "uint64 and one": b'{"a": 18446744073709551616}',
    "5000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "50 decimals": b'{"a": 0.' + b"1" * 50 + b"}",
    "many short runs of digits": b'{"a": 12345678901234567.12345678901234567e-00000001}',
    "the same key twice": b'{"a": 1, "a": 2}',
    "the same key twice, spelt differently": b'{"a": 1, "\\u0061": 2}',
    "the same key twice, deep down": b'{"x": [{"a": 1, "b": 2, "a": 3}]}',
    "the same key twice, with blanks": b'{"a"\t:1,"a" \n:2}',
    "65 arrays": b"[" * 65 + b"]" * 65,
    "65 objects": b'{"a":' * 65 + b"1" + b"}" * 65,
    "100,000 arrays": b"[" * 100_000,
    "100,001 values": b"[" + b"1," * 100_000 + b"1]",
    "trailing garbage": b"{} x",
    "two documents": b'{"a": 1}\n{"a": 2}',
    "a trailing comma": b"[1,]",
    "single quotes": b"{'a': 1}",
    "a comment": b'{"a": 1} // yes',
    "a leading zero": b"[01]",
    "a plus": b"[+1]",
    "hex": b"[0x10]",
    "a bare control character": b'{"a": "x\ny"}',
    "an unfinished string": b'{"a": "',
}

FINE = [
    b"null",
    b'"2026-11-23T09:00:00Z"',
    b'{"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]}',
    b'{"a": ":x", "b": "\\":", "c": "{\\"a\\":1,\\"a\\":2}"}',
    b'{"a": "\\\\u0000"}',
    b'{"a": "\\ud83d\\ude00"}',
    b"[9223372036854775807, -9223372036854775808]",
    b"[0.1234567890123456789012345678901234567, 1e300, -0, 1e-400]",
    b'{"digest": "sha256:000000000000000000000000000000000000000000000000000000000000e12345678"}',
    b"[" * 64 + b"]" * 64,
    '{"tête": "\ufffe‮🙂"}'.encode(),
]


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_refused_with_one_short_sentence(raw: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        strict_loads(raw)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("raw", FINE)
def test_unusual_and_honest_json_is_read_as_the_standard_library_reads_it(raw: bytes) -> None:
    assert strict_loads(raw) == json.loads(raw)


_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner) | st.dictionaries(_texts, inner),
    max_leaves=30,
)


@given(_values, st.booleans())
def test_whatever_can_be_kept_is_taken_unchanged(value: object, is_ascii: bool) -> None:
    assert strict_loads(json.dumps(value, ensure_ascii=is_ascii).encode()) == value


@given(_values, _texts)
def test_a_key_said_twice_never_passes_wherever_it_is(value: object, key: str) -> None:
    name = json.dumps(key)
    raw = f'[{json.dumps(value)}, {{{name}: 1, "other than {len(key)}": {json.dumps(value)}, {name} : 2}}]'
    with pytest.raises(Malformed, match="twice"):
        strict_loads(raw.encode())


def test_a_kilobyte_costs_little() -> None:
    raw = json.dumps(
        {
            "source": "servicenow",
            "external_id": "CHG0040007",
            "title": "Raise the pool of the checkout service",
            "planned_at": "2026-11-23T09:00:00Z",
            "people": [{"role": "author", "subject": f"person-{n}@example.org"} for n in range(6)],
            "labels": {f"label-{n}": "x" * 20 for n in range(12)},
            "text": "y" * 60,
        }
    ).encode()
    assert 900 < len(raw) < 1200
    best = min(_timed(raw) for _ in range(5))
    assert best < 100e-6  # a busy machine; 15 µs on an idle one


def _timed(raw: bytes) -> float:
    started = time.perf_counter()
    for _ in range(200):
        strict_loads(raw)
    return (time.perf_counter() - started) / 200


@pytest.mark.parametrize("path", [b"/x%00", b"/%ed%a0%80", b"/%ff", b"/%C0%80"])
def test_an_address_no_column_could_hold_is_refused(path: bytes) -> None:
    with pytest.raises(Malformed):
        refuse_bad_target({"raw_path": path, "query_string": b""})
    with pytest.raises(Malformed):
        refuse_bad_target({"raw_path": b"/", "query_string": b"q=" + path})


def test_an_address_in_any_script_is_taken() -> None:
    refuse_bad_target({"raw_path": b"/t%C3%AAte%20x", "query_string": b"q=%F0%9F%99%82&r=a+b%2500"})


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI(openapi_url=None)
    problems(app)
    router = APIRouter(route_class=StrictRoute)
    app.state.ran = 0

    @router.post("/things")
    async def things(thing: Thing) -> Thing:
        app.state.ran += 1
        return thing

    @router.post("/maybe")
    async def maybe(thing: Thing | None = None) -> str:
        return "nothing" if thing is None else thing.name

    @router.post("/form")
    async def form(name: str = Form()) -> str:
        return name

    @router.post("/xml")
    async def xml(body: bytes = Body(media_type="application/xml")) -> int:
        return len(body)

    @router.get("/plain")
    async def plain(state: str | None = None, limit: int = Query(50, alias="most")) -> str:
        return "plain"

    @router.get(
        "/itself", openapi_extra={"parameters": [{"name": "kind", "in": "query", "schema": {"type": "string"}}]}
    )
    async def itself(request: Request) -> str:
        return request.query_params["kind"]

    app.include_router(router, prefix="/v1")
    return TestClient(app)


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_route_refuses_hostile_json_before_it_runs(client: TestClient, raw: bytes) -> None:
    before = client.app.state.ran  # type: ignore[attr-defined]
    answer = client.post("/v1/things", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:daymark:problem:malformed"
    assert client.app.state.ran == before  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "", "json", "application/json; charset=utf-16"]
)
def test_json_under_another_content_type_is_415(client: TestClient, media: str) -> None:
    answer = client.post("/v1/things", content=b'{"name": "a"}', headers={"Content-Type": media} if media else {})
    assert answer.status_code == 415
    assert answer.json()["type"] == "urn:daymark:problem:unsupported-media-type"


def test_a_compressed_body_is_415(client: TestClient) -> None:
    for path in ("/v1/things", "/v1/xml"):
        answer = client.post(
            path, content=b"\x1f\x8b", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
        )
        assert answer.status_code == 415


@pytest.mark.parametrize(
    "media", ["application/json", "application/cloudevents+json", "Application/JSON; charset=UTF-8"]
)
def test_json_by_any_of_its_names_is_taken(client: TestClient, media: str) -> None:
    answer = client.post("/v1/things", content=b'{"name": "a"}', headers={"Content-Type": media})
    assert (answer.status_code, answer.json()) == (200, {"name": "a"})


def test_forms_other_media_and_absent_bodies_go_their_own_way(client: TestClient) -> None:
    assert client.post("/v1/maybe").json() == "nothing"
    assert client.post("/v1/maybe", json={"name": "b"}).json() == "b"
    assert client.post("/v1/form", data={"name": "c"}).json() == "c"
    assert client.post("/v1/xml", content=b"<a/>", headers={"Content-Type": "application/xml"}).json() == 4
    assert client.get("/v1/plain").json() == "plain"


def test_a_misspelt_filter_is_refused_by_name(client: TestClient) -> None:
    assert client.get("/v1/plain?state=open&most=5").status_code == 200
    for query in ("stat=open", "limit=5", "state=open&stat=open"):
        answer = client.get(f"/v1/plain?{query}")
        assert answer.status_code == 422 and answer.json()["fields"][0]["path"] in ("query.stat", "query.limit")
    assert client.get("/v1/itself?kind=x").json() == "x"
    assert client.get("/v1/itself?kind=x&king=y").status_code == 422
    assert client.post("/v1/things?dry_run=1", json={"name": "a"}).status_code == 422


@pytest.mark.parametrize(
    "text", ["\u200b", "\u200d\ufeff", " \u2060 ", "\u3164", "\u2800\u2800", "\u202e", "\u0301", "\ufe0f", "\u00ad"]
)
@pytest.mark.parametrize("is_ascii", [False, True])
def test_a_text_in_which_nothing_can_be_seen_is_refused_wherever_it_is(text: str, is_ascii: bool) -> None:
    raw = json.dumps({"reason": "why", "items": [{"text": "one"}, {"text": text}]}, ensure_ascii=is_ascii).encode()
    with pytest.raises(Invalid, match="nothing that can be seen") as refused:
        words_loads(raw)
    assert refused.value.fields[0]["path"] == "body.items.1.text"


@pytest.mark.parametrize("text", ["", " ", "é", "e\u0301", "👩\u200d🚀", "می\u200cخواهم", "変更"])
def test_words_in_any_script_are_taken(text: str) -> None:
    assert words_loads(json.dumps({"a": text}, ensure_ascii=False).encode()) == {"a": text}
