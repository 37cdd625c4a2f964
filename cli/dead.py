"""Dead letters, for those who look after them: read as admin, put back through the bus."""

from __future__ import annotations

import base64
from typing import Any

import asyncpg
import orjson

from shared.bus import Letter, SendUnknown, open_bus
from shared.bus.kept import given_back
from shared.bus.partitioner import key_of
from shared.contracts import Headers
from shared.errors import Conflict, NotFound, Unavailable
from shared.settings import SERVICES, Settings


async def listed(admin_url: str, service: str | None) -> list[dict[str, Any]]:
    """Newest first, of one service or all. Raises NotFound for a service there is not."""
    admin = await asyncpg.connect(admin_url)
    try:
        found: list[dict[str, Any]] = []
        for name in _services(service):
            rows = await admin.fetch(
                f'SELECT id, topic, partition, position, key, reason, at FROM "{name}".dead'  # noqa: S608 (our own names)
                " WHERE replayed_at IS NULL ORDER BY at DESC LIMIT 1000"
            )
            found += [{"service": name, **row, "key": _text(row["key"])} for row in map(dict, rows)]
        return found
    finally:
        await admin.close()


async def shown(admin_url: str, service: str, id: int) -> dict[str, Any]:
    """Everything about one: bytes as text, and where text does not hold them, `base64` beside it. Raises NotFound."""
    admin = await asyncpg.connect(admin_url)
    try:
        row = await _one(admin, service, id)
    finally:
        await admin.close()
    headers = given_back(orjson.loads(row["headers"]))
    told = {name: _text(value) for name, value in headers}
    letter = {**dict(row), "key": _text(row["key"]), "value": _text(row["value"]), "headers": told}
    if len(told) < len(headers) or not all(
        _is_text(raw) for raw in (row["key"], row["value"], *dict(headers).values())
    ):
        letter["base64"] = _exactly(row["key"], row["value"], headers)
    return letter


async def replayed(admin_url: str, settings: Settings, service: str, id: int) -> None:
    """Send it again to where it lay. Raises Conflict when that was done already, Unavailable when the bus did not take it.

    Marked only after the bus took it: killed in between, it is sent twice, which the inbox makes harmless.
    """
    admin = await asyncpg.connect(admin_url)
    try:
        row = await _one(admin, service, id)
        if row["replayed_at"] is not None:
            raise Conflict(f"Letter {id} of {service} was replayed at {row['replayed_at']:%Y-%m-%d %H:%M:%S} UTC.")
        headers = given_back(orjson.loads(row["headers"]))
        async with open_bus(settings.bus_at(admin_url), access=settings.kafka_access()) as bus:
            publisher = await bus.publisher()
            try:
                await publisher.publish([Letter(row["topic"], key_of(row["key"]), row["value"] or b"", headers)])
            except SendUnknown as error:
                raise Unavailable(f"The bus did not take letter {id}: {error}") from error
            finally:
                await publisher.abandon()
        await admin.execute(f'UPDATE "{service}".dead SET replayed_at = daymark_now() WHERE id = $1', id)  # noqa: S608
    finally:
        await admin.close()


async def _one(admin: asyncpg.Connection, service: str, id: int) -> Any:
    (name,) = _services(service)
    row = await admin.fetchrow(f'SELECT * FROM "{name}".dead WHERE id = $1', id)  # noqa: S608
    if row is None:
        raise NotFound(f"{service} has no dead letter {id}.")
    return row


def _services(given: str | None) -> tuple[str, ...]:
    if given is None:
        return SERVICES
    if given not in SERVICES:
        raise NotFound(f"There is no service {given}; there are {', '.join(SERVICES)}.")
    return (given,)


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")


def _is_text(raw: bytes | None) -> bool:
    return raw is not None and _text(raw).encode() == raw


def _exactly(key: bytes | None, value: bytes | None, headers: Headers) -> dict[str, Any]:
    """The bytes themselves; null where there were none."""

    def coded(raw: bytes | None) -> str | None:
        return None if raw is None else base64.b64encode(raw).decode()

    return {"key": coded(key), "value": coded(value), "headers": [[name, coded(raw)] for name, raw in headers]}
