"""The snapshotter on a real database, with a scripted Prometheus behind the real source, and a clock that can be moved."""

from __future__ import annotations

import math
import uuid
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import asyncpg
import httpx2
import numpy as np
import orjson
from alembic import command
from fastapi import FastAPI

from services.snapshotter import api, domain, handlers
from services.snapshotter.sources.prometheus import PrometheusSettings, PrometheusSource
from shared.agenda import Worker
from shared.bus import TP, Batch, Record
from shared.consumer import Consumer
from shared.contracts import (
    SLI,
    CRDeployed,
    CRRegistered,
    CRRolledBack,
    CRWithdrawn,
    Event,
    Fact,
    Policy,
    ProductChanged,
    from_wire,
    to_wire,
)
from shared.contracts.policy import ObservationRules
from shared.db import Database, bootstrap, migrations
from shared.doors.limits import limits
from shared.doors.problems import problems
from shared.keys import create_key, grant
from shared.telemetry import Telemetry
from tests.days import next_tuesday
from tests.record import unaccounted
from tests.servers.postgres import Databases
from tests.servers.tables import every_row

POLICY = Policy(
    id="epl",
    name="EPL",
    enforcement="enforce",
    observation=ObservationRules(step_s=300, history_days=2, recovery_h=4, patience_min=60, calibrate=False),
    slis=(
        SLI(id="latency", title="Latency p95", source="main", query="latency", unit="ms", severity="major"),
        SLI(id="errors", title="Errors", source="main", query="errors", unit="1/s", severity="critical"),
        SLI(id="heap", title="Heap", source="main", query="heap", unit="MB", severity="minor", shadow=True),
    ),
)


class Prometheus:
    """Answers `query_range` from plain functions of time. `down`: nobody there; `only`: the queries that work."""

    def __init__(self) -> None:
        self.level: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        self.since = 0.0  #: what is noise is told by the time since: the same in each week that a test runs in
        self.down = False
        self.failing: set[str] = set()
        self.asked: list[str] = []
        self.windows: list[tuple[float, float]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        query = form["query"]
        self.asked.append(query)
        self.windows.append((float(form["start"]), float(form["end"])))
        if self.down:
            raise httpx2.ConnectError("nobody is there")
        if query in self.failing:
            return httpx2.Response(503, json={"status": "error", "error": "overloaded"})
        start, end, step = float(form["start"]), float(form["end"]), float(form["step"])
        at = start + step * np.arange(int((end - start) / step + 1e-6) + 1)
        day = 100 * (1 + 0.2 * np.sin(2 * math.pi * at / 86400))
        rng = np.random.default_rng(zlib.crc32(f"{query} {start - self.since:.0f}".encode()))
        values = self.level.get(query, lambda t: np.ones_like(t))(at) * day * (1 + 0.01 * rng.standard_normal(at.size))
        result = [{"metric": {}, "values": [[t, str(v)] for t, v in zip(at.tolist(), values.tolist(), strict=True)]}]
        document = {"status": "success", "data": {"resultType": "matrix", "result": result if query != "gone" else []}}
        return httpx2.Response(200, content=orjson.dumps(document))


class House:
    """The snapshotter with its doors, its people, its facts and its clock."""

    def __init__(self, url: str, db: Database, client: httpx2.AsyncClient, prometheus: Prometheus, deps: handlers.Deps):
        self.url, self.db, self.client, self.prometheus, self.deps = url, db, client, prometheus, deps
        self.keys: dict[str, str] = {}
        self.app: FastAPI
        telemetry = Telemetry("snapshotter", version="test")
        self.consumer = Consumer(db, None, telemetry, on=handlers.ON, raw={})  # type: ignore[arg-type]
        jobs = {**handlers.JOBS, "drain_parked": self.consumer.drain_parked}
        self.worker = Worker(db, jobs, deps, telemetry)
        self._offset = 0
        self._sequence = 0
        self.policy_version = POLICY.version()

    # -- people and clock ---------------------------------------------------------------------------------------------

    async def admin(self, act: Callable[[asyncpg.Connection], Any]) -> Any:
        connection = await asyncpg.connect(self.url)
        try:
            return await act(connection)
        finally:
            await connection.close()

    async def person(self, subject: str, *roles: str, product: str = "*") -> None:
        async def make(admin: asyncpg.Connection) -> None:
            _, self.keys[subject] = await create_key(
                admin, await grant(admin, subject, name=subject.title(), roles=roles, product=product)
            )

        await self.admin(make)

    async def now(self) -> datetime:
        return await self.db.now()

    async def go_to(self, when: datetime) -> None:
        """Move the clock forward to `when`, and a breath beyond."""
        ahead = (when - datetime.now(UTC)).total_seconds() + 0.5
        await self.admin(lambda admin: bootstrap.move_clock(admin, ahead_s=ahead))

    async def go_on(self, **by: float) -> None:
        await self.go_to(await self.now() + timedelta(**by))

    # -- facts --------------------------------------------------------------------------------------------------------

    async def hear(self, fact: Fact, *, policy_version: str | None = "", id: str | None = None) -> Event[Fact]:
        """One letter through the real consumer: inbox, step, parking."""
        self._sequence += 1
        event = Event(
            id=id or str(uuid.uuid4()),
            source=f"daymark/{fact.owner}",
            type=fact.type,
            time=await self.now(),
            key=fact.key,
            sequence=self._sequence,
            actor="local|pipeline",
            data=fact,
            policy_version=self.policy_version if policy_version == "" else policy_version,
        )
        value, headers = to_wire(event)
        tp = TP(fact.topic, 0)
        claims = await self.consumer.claim({tp})
        self._offset += 1
        record = Record(tp.topic, 0, self._offset, fact.key.encode(), value, headers)
        await self.consumer.hear(Batch([record], {tp: claims[tp].generation}))
        return event

    async def policy(self, policy: Policy = POLICY) -> None:
        self.policy_version = policy.version()
        fact = ProductChanged(
            product_id=policy.id, version=policy.version(), policy=policy, changed_at=await self.now()
        )
        await self.hear(fact)

    async def registered(self, cr_id: str = "CR-1", author: str = "local|erin", revision: int = 1) -> None:
        await self.hear(
            CRRegistered(
                cr_id=cr_id, product_id="epl", release_id="epl-1", source="jira", external_id=cr_id, title="A change",
                kind="normal", author=author, ptask="local|pia", revision=revision, at=await self.now(),
            )
        )  # fmt: skip

    async def deployed(
        self, cr_id: str = "CR-1", *, at: datetime | None = None, revision: int = 1, deployment: int = 1, **more: Any
    ) -> datetime:
        now = await self.now()
        fact = CRDeployed(
            cr_id=cr_id, product_id="epl", release_id="epl-1", deployment=deployment, revision=revision,
            deployed_at=at or now, reported_at=now, deployer=more.pop("deployer", "local|pipeline"),
        )  # fmt: skip
        await self.hear(fact, **more)
        return fact.deployed_at

    async def rolled_back(
        self, cr_id: str = "CR-1", *, at: datetime | None = None, revision: int = 1, deployment: int = 1
    ) -> datetime:
        now = await self.now()
        fact = CRRolledBack(
            cr_id=cr_id, product_id="epl", deployment=deployment, revision=revision, rolled_back_at=at or now,
            reported_at=now, reason="it was worse",
        )  # fmt: skip
        await self.hear(fact)
        return fact.rolled_back_at

    async def withdrawn(self, cr_id: str = "CR-1") -> None:
        await self.hear(CRWithdrawn(cr_id=cr_id, product_id="epl", reason="not now", withdrawn_at=await self.now()))

    # -- what was said ------------------------------------------------------------------------------------------------

    async def said(self, kind: type[Fact] | None = None) -> list[Any]:
        """Facts in the outbox in order, as hearers would read them."""
        rows = await self.rows("SELECT value, headers FROM outbox ORDER BY id")
        events = [
            from_wire(row["value"], [(name, text.encode("latin-1")) for name, text in row["headers"]]) for row in rows
        ]
        return [event.data for event in events if event and (kind is None or type(event.data) is kind)]

    async def rows(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        async with self.db.connection() as (_, raw):
            return list(await raw.fetch(sql, *values))

    async def tables(self) -> dict[str, list[str]]:
        """Every row of every table but inbox, audit and dead: what a refused request must leave as it was."""
        return await every_row(self.rows, "snapshotter", besides=("inbox", "audit", "dead", "unsent", "positions"))

    # -- doors --------------------------------------------------------------------------------------------------------

    def headers(self, who: str, once: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}", **({"Idempotency-Key": once} if once else {})}

    async def get(self, path: str, who: str = "olga") -> httpx2.Response:
        return await self.client.get(f"/snapshotter/v1{path}", headers=self.headers(who))

    async def publish(self, who: str = "olga", once: str | None = None, **body: Any) -> httpx2.Response:
        body = {"reason": "an ordinary day", **(body or {"change_request": "CR-1"})}
        return await self.client.post("/snapshotter/v1/snapshots", json=body, headers=self.headers(who, once))

    async def observation(self, cr_id: str = "CR-1") -> dict[str, Any]:
        answer = await self.get(f"/change-requests/{cr_id}/observation")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def begin(self) -> None:
        """A product, its people, a CR and its benchmark: the evening before the deploy."""
        await self.policy()
        await self.registered()
        answer = await self.publish()
        assert answer.status_code == 201, answer.text


async def _snapshotter_alone(url: str) -> None:
    admin = await asyncpg.connect(url)
    try:
        await bootstrap.prepare(admin, movable=True)
        await migrations._as_owner(url, "snapshotter", lambda config: command.upgrade(config, "head"))
        await bootstrap.settle(admin, "snapshotter")
    finally:
        await admin.close()


@asynccontextmanager
async def snapshotter(postgres: Databases) -> AsyncIterator[House]:
    """A house of its own: olga and omar of operations, erin the engineer, ada who reads, one for another product."""
    url = await postgres.fresh(await postgres.template("snapshotter", _snapshotter_alone))
    db = Database(url, service="snapshotter", rights=domain.RIGHTS, role="snapshotter", pool_size=4)
    prometheus = Prometheus()
    settings = PrometheusSettings.model_validate({"url": "http://metrics.test", "timeout_s": 5})
    source = PrometheusSource(settings, httpx2.MockTransport(prometheus))
    deps = handlers.Deps(db, {"main": source})
    app = FastAPI()
    for router in api.routers:
        app.include_router(router)
    problems(app)
    limits(app)
    app.state.deps, app.state.db = deps, deps.db
    try:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://daymark.test") as client:
            house = House(url, db, client, prometheus, deps)
            house.app = app
            await house.person("olga", "operations")
            await house.person("omar", "operations")
            await house.person("erin", "engineer", "operations")
            await house.person("ada", "auditor")
            await house.person("stranger", "operations", product="scp")
            begin = next_tuesday(datetime.now(UTC))
            prometheus.since = begin.timestamp()
            await house.go_to(begin)
            yield house
            assert (
                await unaccounted(house.rows, "snapshotter") == []
            )  # after every test: whatever it did is on the record
    finally:
        await source.close()
        await db.close()
        await postgres.drop(url)


def worse(query: str, house: House, since: float, by: float = 2.0) -> None:
    """From `since` on this query answers `by` times as much."""
    house.prometheus.level[query] = lambda t: np.where(t >= since, by, 1.0)
