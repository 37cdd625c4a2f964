"""The same commands as events: CloudEvents over HTTP, and signed records of the topic `daymark.inbound`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from cloudevents.core.bindings import http as sdk_http
from cloudevents.core.bindings import kafka as sdk_kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.contracts import CRChanged, CRDeployed, CRRegistered, CRRolledBack, CRWithdrawn
from shared.contracts.cloudevents import Inbound, binary, from_http, structured
from shared.contracts.signing import KEY_HEADER, SIGNATURE_HEADER, signed_headers
from shared.keys import revoke
from tests.intaking import House, intake, registration
from tests.servers.postgres import Databases

TYPE = "inbound.cr.registered.v1"


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with intake(postgres) as made:
        yield made


def envelope(data: Any, type: str = TYPE, **differs: Any) -> dict[str, Any]:
    event = {"specversion": "1.0", "id": "e1", "source": "https://ci.test", "type": type, "data": data, **differs}
    return {name: value for name, value in event.items() if value is not ...}


async def send(house: House, event: dict[str, Any], who: str = "ci", **headers: str) -> Any:
    headers = {"Content-Type": "application/cloudevents+json"} | headers
    return await house.ask(who, "POST", "/events", content=json.dumps(event), headers=headers)


# -- conformance with the SDK -----------------------------------------------------------------------------------------


def sdk_event(**differs: Any) -> CloudEvent:
    attributes = {
        "id": "ünï/1 %",
        "source": "https://ci.test/a b",
        "type": TYPE,
        "subject": "CHG1 – ß",
        "time": datetime(2026, 11, 23, 9, 0, 0, 123456, tzinfo=UTC),
        "datacontenttype": "application/json",
        "partitionkey": "k",
        **differs,
    }
    return CloudEvent(attributes, {"title": "Zwölf", "n": [1, 2.5, None]})


def same(ours: Inbound, theirs: CloudEvent) -> bool:
    mine = (ours.id, ours.source, ours.type, ours.subject, ours.time, ours.data)
    said = (
        theirs.get_id(), theirs.get_source(), theirs.get_type(), theirs.get_subject(), theirs.get_time(),
        theirs.get_data(),
    )  # fmt: skip
    return mine == said


def test_what_the_sdk_writes_over_http_we_read_alike_in_both_modes() -> None:
    event = sdk_event()
    one = sdk_http.to_structured(event, JSONFormat())
    two = sdk_http.to_binary(event, JSONFormat())
    assert one.headers["content-type"].startswith("application/cloudevents+json")
    first, second = structured(json.loads(one.body)), binary(from_http(two.headers), two.body)
    assert same(first, event) and same(second, event)
    assert first.digest() == second.digest(), "one event by two modes is one event"


def test_what_the_sdk_writes_for_kafka_we_read_alike() -> None:
    event = sdk_event()
    message = sdk_kafka.to_binary(event, JSONFormat())
    attributes = {name[3:]: raw.decode() for name, raw in message.headers.items() if name.startswith("ce_")}
    assert same(binary(attributes, message.value), event)


def test_what_we_sign_for_kafka_the_sdk_reads() -> None:
    key = Ed25519PrivateKey.generate()
    data = b'{"a": 1}'
    headers = signed_headers(key, "k1", source="s", id="1", time="2026-11-23T09:00:00Z", type=TYPE, data=data)
    event = sdk_kafka.from_kafka(sdk_kafka.KafkaMessage(dict(headers), None, data), JSONFormat())
    assert event.get_id() == "1" and event.get_type() == TYPE and event.get_data() == {"a": 1}


# -- HTTP -----------------------------------------------------------------------------------------------------------


async def test_every_command_goes_by_event_as_by_path(house: House) -> None:
    answer = await send(house, envelope(registration(external_id="A")))
    assert answer.status_code == 201 and answer.json()["id"] == "CR-1"
    named = {"source": "servicenow", "external_id": "A"}
    at, back = (await house.at(-2)).isoformat(), (await house.at(-1)).isoformat()
    for number, (kind, data) in enumerate(
        (
            ("changed", {"cr_id": "CR-1", "title": "Better words"}),
            ("deployed", {**named, "deployed_at": at}),
            ("rolled_back", {"cr_id": "CR-1", "rolled_back_at": back, "reason": "p99 doubled"}),
        )
    ):
        answer = await send(house, envelope(data, f"inbound.cr.{kind}.v1", id=f"n{number}"))
        assert answer.status_code == 200, answer.text
    await send(house, envelope(registration(external_id="B"), id="b"))
    data = {"source": "servicenow", "external_id": "B", "reason": "no"}
    assert (await send(house, envelope(data, "inbound.cr.withdrawn.v1", id="w"))).json()["state"] == "withdrawn"
    events = (await house.events())[1:]
    assert [type(event.data) for event in events] == [
        CRRegistered, CRChanged, CRDeployed, CRRolledBack, CRRegistered, CRWithdrawn,
    ]  # fmt: skip
    assert [event.cause for event in events] == ["e1", "n0", "n1", "n2", "b", "w"]
    assert {event.actor for event in events} == {"local|ci"}


async def test_an_event_is_taken_once_in_either_mode(house: House) -> None:
    data = registration(external_id="A")
    first = await send(house, envelope(data))
    again = await send(house, envelope(data))
    headers = {"ce-specversion": "1.0", "ce-id": "e1", "ce-source": "https://ci.test", "ce-type": TYPE}
    third = await house.ask("ci", "POST", "/events", json=data, headers=headers)
    assert [a.status_code for a in (first, again, third)] == [201] * 3
    assert first.content == again.content == third.content
    assert again.headers["idempotent-replay"] == "true"
    assert first.headers["daymark-events"] == third.headers["daymark-events"]
    assert len(await house.said(CRRegistered)) == 1


async def test_the_same_id_with_other_content_is_refused_and_the_first_stays(house: House) -> None:
    await send(house, envelope(registration(external_id="A")))
    before = await house.tables()
    answer = await send(house, envelope(registration(external_id="B")))
    assert answer.status_code == 409
    assert await house.tables() == before
    assert (await send(house, envelope(registration(external_id="B"), source="https://other.test"))).status_code == 201


async def test_nobody_takes_anothers_ids_by_using_its_source(house: House) -> None:
    assert (await send(house, envelope(registration(external_id="TAKEN")), who="emil")).status_code == 201
    assert (await send(house, envelope(registration(external_id="A")))).status_code == 201
    assert (await send(house, envelope(registration(external_id="A")))).headers["idempotent-replay"] == "true"
    assert await house.hear(await house.signed(registration(external_id="B"), TYPE, id="e2")) is None
    assert (await send(house, envelope(registration(external_id="C"), id="e2"), who="emil")).status_code == 201
    assert len(await house.said(CRRegistered)) == 4


async def test_twins_of_one_event_at_once_are_one(house: House) -> None:
    answers = await asyncio.gather(*(send(house, envelope(registration(external_id="A"))) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(await house.said(CRRegistered)) == 1


async def test_a_cr_by_event_and_by_path_is_one_cr(house: House) -> None:
    await house.register(external_id="A")
    assert (await send(house, envelope(registration(external_id="A")))).status_code == 200
    assert len(await house.said(CRRegistered)) == 1


async def test_a_refused_event_may_be_sent_again_once_it_is_right(house: House) -> None:
    event = envelope(registration(external_id="A"))
    assert (await send(house, event, who="ada")).status_code == 403
    assert await house.value("SELECT count(*) FROM audit WHERE refused AND actor = 'local|ada'") == 1
    assert (await send(house, event)).status_code == 201


# -- the topic --------------------------------------------------------------------------------------------------------


async def test_a_signed_record_is_a_command_of_its_signer(house: House) -> None:
    assert await house.hear(await house.signed(registration(external_id="A"), TYPE, id="r1")) is None
    at = (await house.at(-1)).isoformat()
    deployed = {"source": "servicenow", "external_id": "A", "deployed_at": at}
    assert await house.hear(await house.signed(deployed, "inbound.cr.deployed.v1", subject="A")) is None
    first, second = (await house.events())[1:]
    assert isinstance(first.data, CRRegistered) and isinstance(second.data, CRDeployed)
    assert first.actor == "local|ci" and second.data.deployer == "local|ci" and first.cause == "r1"
    assert await house.value("SELECT count(*) FROM audit WHERE actor = 'local|ci' AND NOT refused") == 2


async def test_a_record_heard_again_has_no_effect_and_is_no_dead_letter(house: House) -> None:
    record = await house.signed(registration(external_id="A"), TYPE)
    assert await house.hear(record) is None
    before = await house.tables()
    assert await house.hear(house.record(record.value, record.headers)) is None
    assert await house.tables() == before


async def test_one_event_by_topic_and_by_http_is_once(house: House) -> None:
    record = await house.signed(registration(external_id="A"), TYPE, id="both")
    assert await house.hear(record) is None
    time = dict(record.headers)["ce_time"].decode()
    answer = await send(house, envelope(registration(external_id="A"), id="both", time=time))
    assert answer.status_code == 201 and answer.headers["idempotent-replay"] == "true"
    assert len(await house.said(CRRegistered)) == 1


async def test_a_revoked_key_signs_nothing_any_more(house: House) -> None:
    admin = await asyncpg.connect(house.url)
    try:
        await revoke(admin, house.signing_id)
    finally:
        await admin.close()
    reason = await house.hear(await house.signed(registration(), TYPE))
    assert reason is not None and "still good" in reason


@pytest.mark.parametrize("part", ["source", "id", "time", "type", "subject", "data", "signature", "key"])
async def test_a_signature_covers_every_part(house: House, part: str) -> None:
    record = await house.signed(registration(), TYPE, subject="s")
    headers, value = dict(record.headers), record.value or b""
    if part == "data":
        value = value.replace(b"CHG1", b"CHG2")
    elif part == "signature":
        headers[SIGNATURE_HEADER] = headers[SIGNATURE_HEADER][:-4] + b"AAA="
    elif part == "key":
        headers[KEY_HEADER] = b"sig_unknown"
    elif part == "time":
        headers["ce_time"] = headers["ce_time"].replace(b"Z", b"+00:00")
    elif part == "type":
        headers["ce_type"] = b"inbound.cr.registered.v1 "
    else:
        headers[f"ce_{part}"] += b"x"
    before = await house.tables()
    reason = await house.hear(house.record(value, tuple(headers.items())))
    assert reason is not None
    assert await house.tables() == before


async def test_a_record_that_waited_while_we_were_down_is_taken(house: House) -> None:
    time = (await house.at(-26)).isoformat().replace("+00:00", "Z")
    assert await house.hear(await house.signed(registration(), TYPE, time=time)) is None


async def test_a_source_of_ours_is_nobody_elses(house: House) -> None:
    reason = await house.hear(await house.signed(registration(), TYPE, source="daymark/snapshotter"))
    assert reason is not None and "service of ours" in reason


@pytest.mark.parametrize("minutes", [-(7 * 24 * 60 + 5), 6])
async def test_a_record_out_of_time_is_a_dead_letter(house: House, minutes: float) -> None:
    time = (await house.at(minutes / 60)).isoformat().replace("+00:00", "Z")
    reason = await house.hear(await house.signed(registration(), TYPE, time=time))
    assert reason is not None and "5 minutes" in reason


async def test_a_command_that_is_refused_is_a_dead_letter_with_the_reason(house: House) -> None:
    at = (await house.at(-1)).isoformat()
    record = await house.signed({"cr_id": "CR-99", "deployed_at": at}, "inbound.cr.deployed.v1")
    assert "not-found" in str(await house.hear(record))
    assert await house.hear(await house.signed(registration(external_id="A"), TYPE)) is None
    record = await house.signed(registration(external_id="A", title="Other"), TYPE)
    assert "conflict" in str(await house.hear(record))
