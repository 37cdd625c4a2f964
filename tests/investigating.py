"""The incidents service on a real database behind its own doors: its people, and what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx2
from fastapi import FastAPI

from services.incidents import api
from shared.contracts import (
    MarkedCase,
    ObservationClosed,
    ReleasePlanned,
    SnapshotOverdue,
)
from shared.doors.limits import limits
from shared.doors.problems import problems
from shared.keys import create_key, grant
from tests.flow.hearing import Hearer
from tests.flow.test_orders import deviation
from tests.flow.world import _prepared
from tests.servers.postgres import Databases
from tests.servers.tables import every_row
from tests.stories import Story, policy

PTASK = "local|pia"
PEOPLE = (
    ("erin", "engineer"),
    ("eli", "engineer"),
    ("pia", "ptask", "engineer"),
    ("paul", "ptask", "engineer"),
    ("olga", "operations"),
    ("ada", "auditor"),
    ("pipeline", "integration"),
    ("rita", "release_manager"),
)


class House:
    """The service behind its doors, with a story that is told to it as it goes."""

    def __init__(self, hearer: Hearer, client: httpx2.AsyncClient, now: datetime) -> None:
        self.hearer, self.client = hearer, client
        self.keys: dict[str, str] = {}
        self.story = Story(now)
        self._heard = 0

    async def tell(self) -> None:
        """What the story said since the last time."""
        events = self.story.events[self._heard :]
        self._heard = len(self.story.events)
        await self.hearer.hear(*[event for event in events if type(event.data) in self.hearer.on])

    async def say(self, fact: Any) -> None:
        self.story.say(fact)
        await self.tell()

    async def release(self, name: str, days: float, kind: type[Any] = ReleasePlanned) -> str:
        made = self.story.release("epl", name, self.story.now + timedelta(days=days), kind=kind)
        await self.tell()
        return made

    async def moved(self, cr: str = "CR-1", revision: int = 1) -> None:
        await self.say(deviation(self.story, cr, "epl", revision))

    async def ask(self, who: str | None, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.keys[who]}"} if who else {}
        return await self.client.request(
            method, f"/incidents/v1{path}", json=body, headers={**headers, **more.pop("headers", {})}, **more
        )

    async def get(self, path: str, who: str = "ada", **params: Any) -> Any:
        answer = await self.ask(who, "GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def step(self, who: str, what: str, id: str = "INV-1", **body: Any) -> httpx2.Response:
        return await self.ask(who, "POST", f"/investigations/{id}/{what}", body or None)

    async def investigations(self, cr: str = "CR-1") -> list[dict[str, Any]]:
        return list((await self.get("/investigations", change_request=cr))["items"])

    async def cases(self, **wanted: Any) -> list[dict[str, Any]]:
        return list((await self.get("/regression-cases", **wanted))["items"])

    async def agenda(self) -> set[str]:
        return {row["subject"] for row in await self.hearer.rows("SELECT subject FROM agenda WHERE job = 'escalate'")}

    async def person(self, subject: str, *roles: str, product: str = "*") -> None:
        admin = await asyncpg.connect(self.hearer.url)
        try:
            who = await grant(admin, subject, name=subject.title(), roles=roles, product=product)
            _, self.keys[subject] = await create_key(admin, who)
        finally:
            await admin.close()


@asynccontextmanager
async def opened(postgres: Databases) -> AsyncIterator[House]:
    url = await postgres.fresh(await postgres.template("world", _prepared))
    hearer = Hearer(url, "incidents")
    app = FastAPI()
    app.include_router(api.router)
    problems(app)
    limits(app)
    app.state.deps, app.state.db = hearer.deps, hearer.deps.db
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://daymark.test") as client:
        house = House(hearer, client, await hearer.db.now())
        for subject, *roles in PEOPLE:
            await house.person(subject, *roles)
        await house.person("stranger", "ptask", "engineer", product="scp")
        house.story.product(policy())
        house.story.register("CR-1", "epl", None, "Tune the settlement queue")
        await house.tell()
        yield house
    await hearer.close()
    await postgres.drop(url)


def overdue(house: House, cr: str = "CR-1", **differs: Any) -> SnapshotOverdue:
    now = house.story.now
    said = {
        "deployment": 1,
        "revision": 1,
        "kind": "after",
        "due_at": now,
        "overdue_at": now,
        "reason": "1 of 3",
        **differs,
    }
    return SnapshotOverdue(cr_id=cr, product_id="epl", **said)


def verdict(house: House, outcome: str, cr: str = "CR-1", **differs: Any) -> ObservationClosed:
    said: dict[str, Any] = {
        "deployment": 1, "revision": 1, "kind": "after", "outcome": outcome, "sentence": f"It is {outcome}.",
        "comparisons": (), "benchmark_id": "SNAP-1", "benchmark_hash": "ab", "snapshot_id": "SNAP-2",
        "snapshot_hash": "cd", "judge_version": "1", "closed_at": house.story.now, **differs,
    }  # fmt: skip
    return ObservationClosed(cr_id=cr, product_id="epl", **said)


def TestsMarked(house: House, case: str, outcome: str, commit: str | None, cr: str = "CR-1", **differs: Any) -> Any:
    """A report in which one case speaks of a regression case."""
    from shared.contracts import TestsRecorded

    now = house.story.now
    said: dict[str, Any] = {
        "cr_id": cr, "product_id": "epl", "result_id": f"RES-{len(house.story.events)}", "suite_kind": "regression",
        "commit": commit, "artifact": None, "run_at": now, "recorded_at": now, "digest": "ab" * 32, "outcome": outcome,
        "total": 1, "passed": int(outcome == "passed"), "failed": int(outcome == "failed"), "skipped": 0, "lost": 0,
        "marked": (MarkedCase(case_id=case, outcome=outcome),), **differs,
    }  # fmt: skip
    return TestsRecorded(**said)


async def kept(house: House) -> dict[str, list[str]]:
    return await every_row(house.hearer.rows, "incidents", besides=("inbox", "audit", "dead"))


INCIDENT = {"product": "epl", "title": "Orders time out at noon"}
