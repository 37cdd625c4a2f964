"""The reviewer on a real database behind its own doors: its people, and facts put through its own step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
from alembic import command
from fastapi import FastAPI

from services.reviewer import api, domain, handlers
from shared.contracts import Event
from shared.db import Appointment, Database, bootstrap, migrations
from shared.doors.problems import problems
from shared.keys import create_key, create_link, grant
from shared.settings import SERVICES
from tests.servers.postgres import Databases
from tests.stories import Story, policy

PEOPLE = (
    ("edda", "*", "engineer"),
    ("pia", "*", "ptask", "engineer"),
    ("paul", "*", "ptask"),
    ("olga", "*", "operations"),
    ("otto", "*", "operations"),
    ("argo", "*", "integration"),
    ("xenia", "scp", "operations"),
    ("god", "*", "operations", "ptask", "engineer"),
)
KEYS: dict[str, str] = {}


async def _reviewer_alone(url: str) -> None:
    """A database with the reviewer's tables and people."""
    admin = await asyncpg.connect(url)
    try:
        await bootstrap.prepare(admin, movable=True)
        await migrations._as_owner(url, "reviewer", lambda config: command.upgrade(config, "head"))
        await bootstrap.settle(admin, "reviewer")
        for subject, product, *roles in PEOPLE:
            who = await grant(admin, subject, name=subject.title(), roles=roles, product=product)
            _, KEYS[subject] = await create_key(admin, who)
    finally:
        await admin.close()


class House:
    """The reviewer with its doors, its people and its facts."""

    def __init__(self, url: str, db: Database, app: FastAPI, client: httpx2.AsyncClient) -> None:
        self.url, self.db, self.app, self.client = url, db, app, client
        self.keys = dict(KEYS)

    async def person(self, subject: str, *roles: str, product: str = "*") -> None:
        admin = await asyncpg.connect(self.url)
        try:
            who = await grant(admin, subject, name=subject.title(), roles=roles, product=product)
            _, self.keys[subject] = await create_key(admin, who)
        finally:
            await admin.close()

    async def link(self, subject: str, *roles: str) -> str:
        admin = await asyncpg.connect(self.url)
        try:
            return await create_link(admin, await grant(admin, subject, name=subject.title(), roles=roles))
        finally:
            await admin.close()

    async def hear(self, *events: Event[Any]) -> None:
        """In one transaction, as the consumer's batch; what was heard before is passed over."""
        async with self.db.house() as tx:
            for event in events:
                heard = "INSERT INTO inbox (scope, id, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
                if await tx.raw.execute(heard, f"bus:reviewer:{event.source}", event.id, tx.now) == "INSERT 0 1":
                    await handlers.ON[type(event.data)](tx, event)

    async def fresh(self, behind_s: float = 0.0) -> None:
        """Every service was heard up to now."""
        async with self.db.connection() as (_, raw):
            await raw.execute("DELETE FROM heartbeats")
            for service in SERVICES:
                await raw.execute(
                    "INSERT INTO heartbeats VALUES ($1, daymark_now() - make_interval(secs => $2), '{}')",
                    service,
                    behind_s,
                )

    async def run_jobs(self) -> int:
        """Everything on the agenda, as its worker would."""
        done = 0
        while True:
            async with self.db.connection() as (_, raw):
                row = await raw.fetchrow(
                    "UPDATE agenda SET token = gen_random_uuid(), attempts = attempts + 1 WHERE (job, subject) ="
                    " (SELECT job, subject FROM agenda ORDER BY next_at, job, subject LIMIT 1) RETURNING *"
                )
            if row is None:
                return done
            appointment = Appointment(
                row["job"], row["subject"], row["revision"], row["due_at"], {}, row["attempts"], row["token"]
            )
            await handlers.JOBS[row["job"]](handlers.Deps(self.db), appointment)
            done += 1

    def headers(self, who: str, once: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}", **({"Idempotency-Key": once} if once else {})}

    async def get(self, path: str, who: str = "otto") -> httpx2.Response:
        return await self.client.get(path, headers=self.headers(who))

    async def post(self, path: str, body: Any, who: str, once: str | None = None) -> httpx2.Response:
        return await self.client.post(path, json=body, headers=self.headers(who, once))

    async def dossier(self, cr_id: str = "CR-1") -> dict[str, Any]:
        answer = await self.get(f"/reviewer/v1/change-requests/{cr_id}/dossier")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def said(self, kind: str) -> list[Any]:
        async with self.db.connection() as (_, raw):
            rows = await raw.fetch("SELECT key, headers FROM outbox ORDER BY id")
        return [row["key"] for row in rows if kind in str(row["headers"])]

    async def count(self, table: str) -> int:
        async with self.db.connection() as (_, raw):
            found: int = await raw.fetchval(f"SELECT count(*) FROM {table}")
            return found


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[House]:
    db = Database(url, service="reviewer", rights=domain.RIGHTS, role="reviewer", pool_size=6)
    app = FastAPI()
    app.include_router(api.router)
    app.include_router(api.pages)
    problems(app)
    app.state.deps, app.state.db = handlers.Deps(db), db
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://daymark")
    try:
        house = House(url, db, app, client)
        await house.fresh()
        yield house
    finally:
        await client.aclose()
        await db.close()


@asynccontextmanager
async def alone(postgres: Databases) -> AsyncIterator[House]:
    """The reviewer on a database of its own, with its people."""
    url = await postgres.fresh(await postgres.template("reviewer_alone", _reviewer_alone))
    async with opened(url) as found:
        yield found
    await postgres.drop(url)


def in_review(hours_ago: float = 3, **more: Any) -> Story:
    """CR-1 of EPL with all its evidence, waiting for operations."""
    story = Story(datetime.now(UTC) - timedelta(hours=hours_ago))
    story.product(policy(**more))
    release = story.release("epl", "26.12", story.now + timedelta(days=2))
    story.register("CR-1", "epl", release, "Tune the settlement queue")
    story.evidence("CR-1", "epl")
    story.benchmark("epl", "epl", "SNAP-1")
    return story


def ready(digest: str, cr_id: str = "CR-1") -> dict[str, Any]:
    return {"cr_id": cr_id, "digest": digest, "verdict": "ready", "comment": "Looks good."}


async def go_for(house: House, cr_id: str = "CR-1") -> None:
    """Operations and the PTASK engineer say yes."""
    digest = (await house.dossier(cr_id))["digest"]
    answer = await house.post("/reviewer/v1/reviews", ready(digest, cr_id), "olga")
    assert answer.status_code == 201, answer.text
    answer = await house.post(f"/reviewer/v1/change-requests/{cr_id}/go", {"decision": "go", "digest": digest}, "pia")
    assert answer.status_code == 200, answer.text


async def gate(house: House, who: str = "argo", query: str = "") -> dict[str, Any]:
    answer = await house.get(f"/reviewer/v1/gate/CR-1{query}", who)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def codes(answer: dict[str, Any]) -> set[str]:
    return {reason["code"] for reason in answer["reasons"]}
