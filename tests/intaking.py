"""Intake on a real database behind its own doors: HTTP, and records of `daymark.inbound` through the real consumer."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
from alembic import command
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI

from services.intake import api, domain, handlers
from services.intake.app import UPLOAD_BYTES
from services.intake.webhooks import open_hook
from shared.bus import TP, Batch, Record
from shared.consumer import Consumer
from shared.contracts import Event, Fact, from_wire
from shared.contracts.inbound import TOPIC
from shared.contracts.signing import signed_headers
from shared.db import Database, bootstrap, migrations
from shared.doors.limits import limits
from shared.doors.problems import problems
from shared.keys import create_key, grant, register_signing_key
from shared.telemetry import Telemetry
from tests.servers.postgres import Databases
from tests.servers.tables import every_row

POLICY: dict[str, Any] = {
    "id": "epl",
    "name": "EPL",
    "enforcement": "enforce",
    "slis": [
        {"id": "latency", "title": "Latency p95", "source": "main", "query": "latency", "unit": "ms"},
        {"id": "errors", "title": "Errors", "source": "main", "query": "errors", "unit": "1/s"},
    ],
}
#: subject -> roles on all products, unless said otherwise below.
PEOPLE = {
    "emil": ("engineer",),
    "edda": ("engineer",),
    "erin": ("engineer", "operations"),
    "pia": ("ptask",),
    "paul": ("ptask",),
    "olga": ("operations",),
    "rita": ("release_manager",),
    "rolf": ("release_manager",),
    "ci": ("integration",),
    "ada": ("auditor",),
}

#: A webhook of GitHub, whose secret is being changed; `ci` is the integration that it speaks for.
HOOK = {
    "kind": "github",
    "secrets": ["the secret to come", "the secret so far"],
    "integration": "ci",
    "issuer": "local",
}


def junit(*cases: tuple[str, str], mark: dict[str, str] | None = None) -> bytes:
    """A report with these (name, outcome) cases; `mark`: case name -> regression case it proves."""
    inner = {"passed": "", "failed": '<failure message="no"/>', "skipped": "<skipped/>"}
    lines = []
    for name, outcome in cases:
        said = (mark or {}).get(name)
        properties = f'<properties><property name="daymark.case" value="{said}"/></properties>' if said else ""
        lines.append(f'<testcase classname="t" name="{name}" time="0.1">{properties}{inner[outcome]}</testcase>')
    return f'<testsuite name="all">{"".join(lines)}</testsuite>'.encode()


class House:
    """Intake with its doors, its people and what it said."""

    def __init__(self, url: str, db: Database, client: httpx2.AsyncClient, deps: handlers.Deps) -> None:
        self.url, self.db, self.client, self.deps = url, db, client, deps
        self.keys: dict[str, str] = {}
        self.signing = Ed25519PrivateKey.generate()
        self.signing_id = ""
        self.consumer = Consumer(db, None, Telemetry("intake", version="test"), on=handlers.ON, raw=handlers.RAW)  # type: ignore[arg-type]
        self._offset = 0
        self._made = 0

    async def people(self) -> None:
        admin = await asyncpg.connect(self.url)
        try:
            for subject, roles in PEOPLE.items():
                principal = await grant(admin, subject, name=subject.title(), roles=roles)
                _, self.keys[subject] = await create_key(admin, principal)
                if subject == "ci":
                    public = self.signing.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
                    self.signing_id = await register_signing_key(admin, principal, public)
                    _, self.keys["ci, registers only"] = await create_key(admin, principal, scopes=["register_cr"])
            stranger = await grant(admin, "stranger", name="S", roles=["engineer", "release_manager"], product="scp")
            _, self.keys["stranger"] = await create_key(admin, stranger)
        finally:
            await admin.close()

    async def grants(self, subject: str, wanted: list[tuple[str, str]]) -> None:
        """From now on these (product, role), and no others."""
        admin = await asyncpg.connect(self.url)
        try:
            n = await admin.fetchval("SELECT id FROM access.principals WHERE subject = $1", subject)
            await admin.execute("DELETE FROM access.grants WHERE principal_id = $1", n)
            for product, role in wanted:
                await grant(admin, subject, name=subject.title(), roles=[role], product=product)
        finally:
            await admin.close()

    async def disable(self, subject: str, is_disabled: bool) -> None:
        admin = await asyncpg.connect(self.url)
        try:
            await admin.execute(
                "UPDATE access.principals SET is_disabled = $2 WHERE subject = $1", subject, is_disabled
            )
        finally:
            await admin.close()

    # -- doors --------------------------------------------------------------------------------------------------------

    async def ask(self, who: str | None, method: str, path: str, **how: Any) -> httpx2.Response:
        headers = {**({"Authorization": f"Bearer {self.keys[who]}"} if who else {}), **how.pop("headers", {})}
        return await self.client.request(method, f"/intake/v1{path}", headers=headers, **how)

    async def get(self, path: str, who: str = "ada") -> Any:
        answer = await self.ask(who, "GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def product(self, who: str = "rita", **differs: Any) -> httpx2.Response:
        document = {**POLICY, **differs}
        return await self.ask(who, "PUT", f"/products/{document['id']}", json=document)

    async def release(self, name: str = "2026.12", who: str = "rita", **differs: Any) -> httpx2.Response:
        body = {"product": "epl", "name": name, "planned_at": "2026-12-01T08:00:00Z", **differs}
        return await self.ask(who, "POST", "/releases", json=body)

    async def register(self, who: str = "ci", once: str | None = None, **differs: Any) -> httpx2.Response:
        self._made += 1
        body = {"external_id": f"CHG{self._made}"} | differs
        headers = {"Idempotency-Key": once} if once else {}
        return await self.ask(who, "POST", "/change-requests", json=registration(**body), headers=headers)

    async def cr(self, **differs: Any) -> str:
        answer = await self.register(**differs)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def post(self, cr_id: str, what: str, who: str = "ci", **body: Any) -> httpx2.Response:
        return await self.ask(who, "POST", f"/change-requests/{cr_id}/{what}", json=body)

    async def patch(self, cr_id: str, who: str = "ci", headers: dict[str, str] | None = None, **body: Any) -> Any:
        return await self.ask(who, "PATCH", f"/change-requests/{cr_id}", json=body, headers=headers or {})

    async def upload(self, cr_id: str, raw: bytes, who: str = "ci", **differs: Any) -> httpx2.Response:
        said = {"suite_kind": "regression", "commit": "c1", "run_at": (await self.at(-1)).isoformat(), **differs}
        said = {name: value for name, value in said.items() if value is not None}
        path = f"/change-requests/{cr_id}/test-results"
        return await self.ask(who, "POST", path, params=said, content=raw, headers={"Content-Type": "application/xml"})

    async def at(self, hours: float) -> datetime:
        """That many hours from the database's now."""
        return await self.db.now() + timedelta(hours=hours)

    # -- the topic ----------------------------------------------------------------------------------------------------

    async def signed(self, data: Any, type: str, **differs: Any) -> Record:
        """A record as an integration would put it on the topic. `raw`: the value itself; `time`: RFC 3339."""
        raw = differs.pop("raw", None) or json.dumps(data).encode()
        time = differs.pop("time", None) or (await self.db.now()).isoformat().replace("+00:00", "Z")
        named = {"source": "https://ci.test", "id": str(uuid.uuid4()), "time": time, "type": type, "subject": ""}
        named |= differs
        headers = signed_headers(self.signing, self.signing_id, data=raw, **named)
        return self.record(raw, headers)

    def record(self, value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> Record:
        self._offset += 1
        return Record(TOPIC, 0, self._offset, b"k", value, headers)

    async def hear(self, record: Record) -> str | None:
        """Through the real consumer; why it became a dead letter, or None."""
        claims = await self.consumer.claim({record.tp})
        await self.consumer.hear(Batch([record], {TP(TOPIC, 0): claims[record.tp].generation}))
        return await self.value("SELECT reason FROM dead WHERE position = $1", record.offset)

    # -- what was said and kept -----------------------------------------------------------------------------------------

    async def events(self) -> list[Event[Fact]]:
        """Letters in the outbox in order, as hearers would read them."""
        rows = await self.rows("SELECT topic, value, headers FROM outbox WHERE topic NOT LIKE '%dead%' ORDER BY id")
        found = []
        for row in rows:
            headers = json.loads(row["headers"]) if isinstance(row["headers"], str) else row["headers"]
            event = from_wire(row["value"], [(name, text.encode("latin-1")) for name, text in headers])
            assert event is not None and event.data.topic == row["topic"]
            found.append(event)
        return found

    async def said(self, kind: type[Fact] | None = None) -> list[Any]:
        return [event.data for event in await self.events() if kind is None or type(event.data) is kind]

    async def rows(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        async with self.db.connection() as (_, raw):
            return list(await raw.fetch(sql, *values))

    async def value(self, sql: str, *values: Any) -> Any:
        async with self.db.connection() as (_, raw):
            return await raw.fetchval(sql, *values)

    async def tables(self) -> dict[str, list[str]]:
        """Every row of every table but inbox, audit and dead (and its letters): what a refusal leaves as it was."""
        return await every_row(self.rows, "intake", besides=("inbox", "audit", "dead", "unsent", "positions"))


def registration(**differs: Any) -> dict[str, Any]:
    body = {
        "product": "epl",
        "source": "servicenow",
        "external_id": "CHG1",
        "title": "Cache the rate tables",
        "author": "emil",
        "ptask": "local|pia",
        **differs,
    }
    return {name: value for name, value in body.items() if value is not ...}


async def _intake_alone(url: str) -> None:
    admin = await asyncpg.connect(url)
    try:
        await bootstrap.prepare(admin, movable=True)
        await migrations._as_owner(url, "intake", lambda config: command.upgrade(config, "head"))
        await bootstrap.settle(admin, "intake")
    finally:
        await admin.close()


@asynccontextmanager
async def intake(postgres: Databases) -> AsyncIterator[House]:
    """A house of its own with people and the product `epl`."""
    url = await postgres.fresh(await postgres.template("intake", _intake_alone))
    db = Database(url, service="intake", rights=domain.RIGHTS, role="intake", pool_size=6)
    deps = handlers.Deps(db, {"github": open_hook("github", HOOK)})
    app = FastAPI()
    for router in api.routers:
        app.include_router(router)
    problems(app)
    limits(app, larger={api.UPLOADS: UPLOAD_BYTES})
    app.state.deps, app.state.db = deps, deps.db
    try:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://daymark.test") as client:
            house = House(url, db, client, deps)
            await house.people()
            answer = await house.product()
            assert answer.status_code == 201, answer.text
            yield house
    finally:
        await db.close()
        await postgres.drop(url)


def policy_file(folder: Path, **differs: Any) -> Path:
    path = folder / f"{differs.get('id', 'epl')}.yaml"
    path.write_text(json.dumps({**POLICY, **differs}))  # JSON is YAML
    return path
