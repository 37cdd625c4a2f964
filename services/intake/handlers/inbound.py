"""Events from other systems: the same commands as at the HTTP doors, once for each (caller, source, id).

By HTTP the caller is who holds the bearer key. By the topic `daymark.inbound` it is who signed (Ed25519): judged at first
processing, in the consumer's transaction, by the same choke point. By a webhook it is the integration whose secret signed it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import ValidationError

from services.intake import store
from services.intake.commands import NotTaken
from services.intake.handlers import change_requests as crs
from services.intake.handlers.deps import Deps
from services.intake.webhooks import NotOurs
from shared.access import Call
from shared.answers import Answer, Repeated
from shared.bus import Record
from shared.contracts.cloudevents import STRUCTURED, Inbound, binary
from shared.contracts.inbound import INBOUND, CRNamed
from shared.contracts.signing import KEPT_S, KEY_HEADER, SIGNATURE_HEADER, TOLERANCE_S, is_signed
from shared.db import Tx
from shared.errors import DaymarkError, Invalid, Unauthenticated, Unreadable

_MOST_BYTES = 256 * 1024

_ABOUT_A_CR: dict[str, Callable[[Tx, crs.Which, Any], Awaitable[Answer]]] = {
    "inbound.cr.changed.v1": crs.change,
    "inbound.cr.deployed.v1": crs.deployed,
    "inbound.cr.rolled_back.v1": crs.rolled_back,
    "inbound.cr.withdrawn.v1": crs.withdraw,
}


async def receive(deps: Deps, call: Call, event: Inbound) -> Answer:
    """The answer of the command that the event carries; the first answer again when it comes again.

    Raises Conflict when (source, id) came before with other content, Invalid for data that its type does not allow.
    (source, id) is what makes it once, so an Idempotency-Key beside it says nothing more and is not used.
    """
    command = _command(event)
    async with deps.db.tx(dataclasses.replace(call, once=None)) as tx:
        return await _take(tx, event, command, event.digest())


async def receive_delivery(deps: Deps, name: str, headers: Mapping[str, str], raw: bytes) -> Answer:
    """A webhook's delivery: the answer of the command that it carries, or 202 with the reason why it carries none.

    The delivery's id makes it once, and so do its bytes. Raises Unauthenticated when no secret of that hook signed it,
    Malformed, Invalid, and what the command raises.
    """
    hook = deps.hooks.get(name)
    if hook is None or not hook.is_signed(headers, raw):
        raise Unauthenticated("Its signature is not that of a webhook which is let in here.")
    event = hook.read(headers, raw)
    command = None if isinstance(event, NotOurs) else _command(event)
    async with deps.db.house() as tx:
        who = await store.principal(tx, hook.integration)
        if who is None:
            raise Unauthenticated(f"The webhook speaks for {hook.integration}, who is nobody here, or disabled.")
        tx.act_as(who)
        if isinstance(event, NotOurs):
            return Answer(202, NotTaken(reason=event.reason).model_dump_json().encode())
        digest = hashlib.sha256(raw).digest()
        first = await store.first_delivery(tx, event.source, event.id, digest)
        return await _take(tx, dataclasses.replace(event, id=first), command, digest)


async def on_inbound(tx: Tx, record: Record) -> None:
    """One record of the topic: CloudEvents binary mode, signed. Alone in its own transaction.

    Raises Unreadable for what is unsigned, wrongly signed, out of time or no event of ours; the command's own 4xx
    otherwise. The consumer makes dead letters of both. What was heard before has no effect.
    """
    try:
        event, headers = _event_in(record)
        command = _command(event)
    except DaymarkError as error:
        raise Unreadable(error.detail) from error
    found = await store.signer(tx, headers.get(KEY_HEADER, ""))
    if found is None:
        raise Unreadable("It is not signed by a key that is registered here and still good.")
    principal, public_key = found
    if not is_signed(
        public_key,
        headers.get(SIGNATURE_HEADER, ""),
        source=event.source,
        id=event.id,
        time=event.time_text,
        type=event.type,
        subject=event.subject,
        data=record.value or b"",
    ):
        raise Unreadable("Its signature does not fit.")
    # Once by (source, id) is what stops a replay; the time bounds how long that must be remembered. It is not bound to
    # minutes: what was sent while we were down is heard late, and must not be lost.
    if event.time is None or not -TOLERANCE_S <= (tx.now - event.time).total_seconds() <= KEPT_S:
        raise Unreadable(
            f"Its time lies {TOLERANCE_S / 60:g} minutes in the future, or over {KEPT_S / 86400:g} days back."
        )
    if event.source.startswith("daymark/"):
        raise Unreadable("A source that begins with daymark/ is a service of ours.")
    tx.act_as(principal)
    try:
        await _take(tx, event, command, event.digest())
    except Repeated:
        return


async def _take(tx: Tx, event: Inbound, command: Any, digest: bytes) -> Answer:
    before = await store.first_answer(tx, event.source, event.id, digest)
    if before is not None:
        raise Repeated(before)
    if isinstance(command, CRNamed):
        which = command.cr_id or (command.source or "", command.external_id or "")
        return await _ABOUT_A_CR[event.type](tx, which, command)
    return await crs.register(tx, command)


def _command(event: Inbound) -> Any:
    shape = INBOUND.get(event.type)
    if shape is None:
        raise Invalid(f"Events of type {event.type[:100]} are not read here; known: {', '.join(INBOUND)}.")
    try:
        return shape.model_validate(event.data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        fields = [
            {"path": ".".join(("data", *(str(part)[:60] for part in each["loc"][:10]))), "message": each["msg"]}
            for each in found[:12]
        ]
        first = fields[0]
        raise Invalid(f"The event's data is wrong: {first['path']}: {first['message']}", fields=fields) from None


def _event_in(record: Record) -> tuple[Inbound, dict[str, str]]:
    value = record.value or b""
    if len(value) > _MOST_BYTES:
        raise Invalid(f"An event holds at most {_MOST_BYTES} bytes.")
    headers: dict[str, str] = {}
    for name, raw in record.headers:
        lower = name.lower()
        if not lower.startswith(("ce_", "daymark-")) and lower != "content-type":
            continue  # a broker's or a tracer's own
        if lower in headers:
            raise Invalid(f"The header {lower[:40]} is there twice.")
        try:
            headers[lower] = text = (raw or b"").decode()
        except UnicodeDecodeError:
            raise Invalid(f"The header {lower[:40]} is not UTF-8.") from None
        if not text.isprintable():
            raise Invalid(f"The header {lower[:40]} is not one printable line.")
    media = headers.pop("content-type", "application/json")
    if media.partition(";")[0].strip().lower() == STRUCTURED:
        raise Invalid("On this topic events are in binary mode: the signature covers the exact bytes of the data.")
    attributes = {name[3:]: text for name, text in headers.items() if name.startswith("ce_")}
    return binary({**attributes, "datacontenttype": media}, value), headers
