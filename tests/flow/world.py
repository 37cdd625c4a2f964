"""The whole of Daymark in one process, for a test: four services, their bus, a plant with telemetry, people, and a clock.

Everything goes through the public doors, as `deploy/local/story.py` does; what the world adds is a clock that starts
some Tuesday, a source that can fall silent or go down, and looking behind the doors (`quiet`, `facts`, `tables`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import httpx2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.local import story
from deploy.local.instance import OneProcess, local_settings, people, prepare
from deploy.local.plant import Plant
from deploy.local.story import Teller
from deploy.local.up import load_products
from shared import keys
from shared.clock import wall
from shared.contracts import Event, Fact, from_wire
from shared.db import bootstrap
from shared.settings import SERVICES, Settings
from tests.days import a_tuesday_before
from tests.flow.failing import Telemetry
from tests.servers.directory import temporary
from tests.servers.postgres import Databases
from tests.servers.tables import every_row

PATIENCE_S = 90.0  #: for the loop to come round on a busy machine
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
#: A change of EPL that makes everything worse; others do nothing to be seen.
WORSE = "EPL-6.6.6"
EFFECTS = {("epl", WORSE): {"p99-latency": 1.6, "error-ratio": 3.0}}
_KEYS: dict[str, dict[str, str]] = {}  #: template -> keys of its people


class Impatient(Teller):
    """A teller who waits less long: a test that waits in vain should say so soon."""

    async def until(self, what: str, true: Callable[[], Awaitable[Any]]) -> Any:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while not (found := await true()):
            if asyncio.get_running_loop().time() > deadline:
                raise story.StoryError(f"waited {PATIENCE_S:.0f} s for {what}")
            await asyncio.sleep(0.05)
        return found


@dataclass
class Change:
    """One CR on its way, and what the helpers need to know of it."""

    id: str
    product: str
    change: str  #: what the plant knows it by
    commit: str
    ptask: str


@dataclass
class World:
    """One Daymark. `t` is the story's teller: its clock, its people, its doors."""

    url: str
    t: Teller
    telemetry: Telemetry
    admin: asyncpg.Connection
    settings: Settings
    app: OneProcess = field(init=False)
    _made: int = field(default=0)
    _running: AsyncExitStack = field(default_factory=AsyncExitStack)

    # -- the process --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """The four services, over the same database; a second time after `stop`."""
        self.app = OneProcess(self.settings)
        await self._running.enter_async_context(lifespan(self.app))

    async def stop(self) -> None:
        await self._running.aclose()

    # -- the clock ----------------------------------------------------------------------------------------------------

    async def now(self) -> datetime:
        found: datetime = await self.admin.fetchval("SELECT daymark_now()")
        return found.astimezone(UTC)

    async def step(self, by: timedelta) -> None:
        """Forward from where the clock stands now; `t.at` is then the present moment."""
        await self.step_to(await self.now() + by)

    async def step_to(self, at: datetime) -> None:
        self.t.at, self.telemetry.present_s = at, at.timestamp()
        await self.t.move_to(at)

    # -- doors --------------------------------------------------------------------------------------------------------

    async def ask(self, who: str | None, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        """One request, whatever the answer; without a key when `who` is None."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            headers.setdefault("Authorization", f"Bearer {self.t.keys[who]}")
        return await self.t.client.request(method, f"http://daymark{path}", json=body, headers=headers, **more)

    async def get(self, path: str, who: str = "ada", **params: Any) -> Any:
        answer = await self.ask(who, "GET", path, params=params or None)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    async def key_for(self, subject: str, *roles: str, product: str = "*") -> str:
        """A new person (or more roles for one), whose key goes by the subject; the subject."""
        who = await keys.grant(self.admin, subject, name=subject.title(), roles=roles, product=product)
        _, made = await keys.create_key(self.admin, who)
        self.t.keys[subject] = made  # type: ignore[index]
        return subject

    async def policy(self, product: str = "epl", **differs: Any) -> None:
        """Change a product's policy at its door: `enforcement="advise"`, `observation={"patience_min": 5}`."""
        before = await self.get(f"/intake/v1/products/{product}", "rita")
        document = dict(before["policy"])
        for name, value in differs.items():
            document[name] = {**document[name], **value} if isinstance(value, dict) else value
        for who in ("rita", "ravi"):  # loosening one needs both; the second time changes nothing else
            answer = await self.ask(who, "PUT", f"/intake/v1/products/{product}", document)
            assert answer.status_code in (200, 201, 202), answer.text
        version = answer.json()["version"]
        assert answer.json()["policy"]["enforcement"] == document["enforcement"]

        async def heard() -> bool:
            rows = await self.admin.fetch(
                "SELECT 1 FROM snapshotter.policies WHERE version = $1 UNION ALL"
                " SELECT 1 FROM incidents.policies WHERE version = $1",
                version,
            )
            return len(rows) == 2

        await self.t.until("the new policy to be heard", heard)

    # -- a change's life, by the story's own steps ------------------------------------------------------------------------

    async def release(self, product: str = "epl", ahead: timedelta = 3 * DAY, name: str | None = None) -> str:
        self._made += 1
        return await story.plan(self.t, product, name or f"R{self._made}", self.t.at + ahead)

    async def register(
        self, product: str = "epl", release: str | None = None, change: str | None = None, **more: Any
    ) -> Change:
        self._made += 1
        name, commit = change or f"{product.upper()}-1.{self._made}", f"c0ffee{self._made}"
        ptask = more.setdefault("ptask", "pia")
        more.setdefault("author", "erin")
        made = await story.register(
            self.t, product, release, name, f"Change {self._made}", commit=commit, **more  # type: ignore[arg-type]
        )  # fmt: skip
        return Change(made, product, name, commit, ptask)

    async def known(self, cr: Change) -> None:
        """Wait until the snapshotter and the reviewer have heard of the CR."""

        async def heard() -> bool:
            rows = await self.admin.fetch(
                "SELECT 1 FROM snapshotter.subjects WHERE subject = $1 UNION ALL"
                " SELECT 1 FROM reviewer.change_requests WHERE cr_id = $1 UNION ALL"
                " SELECT 1 FROM incidents.change_requests WHERE id = $1",
                cr.id,
            )
            return len(rows) == 3

        await self.t.until(f"{cr.id} to be known", heard)

    async def evidence(self, cr: Change, **more: Any) -> None:
        await story.evidence(self.t, cr.id, cr.commit, **{"reviewer": "eli", **more})

    async def benchmark(self, cr: Change, who: str = "olga", **more: Any) -> str:
        await self.known(cr)
        return await story.benchmark(self.t, cr.id, who, **more)

    async def reviewed(self, cr: Change, verdict: str = "ready", who: str = "olga", **more: Any) -> Any:
        return await story.reviewed(self.t, cr.id, verdict, who, **more)

    async def go(self, cr: Change) -> None:
        await story.go(self.t, cr.id, cr.ptask)

    async def ready(
        self, product: str = "epl", release: str | None = None, change: str | None = None, **more: Any
    ) -> Change:
        """Registered, proven, measured, reviewed and decided: the gate says go."""
        cr = await self.register(product, release, change, **more)
        await self.evidence(cr)
        await self.benchmark(cr)
        await self.reviewed(cr)
        await self.go(cr)
        await story.gate(self.t, cr.id, go=True)
        return cr

    async def deploy(
        self, cr: Change, at: datetime | None = None, *, expect: int = 200, **more: Any
    ) -> httpx2.Response:
        """Deploy on the plant, and report it; `at`: the time that is reported (and true)."""
        when = at or await self.now()
        self.t.plant.deploy(cr.product, cr.change, when.timestamp())
        return await self.report(
            cr, "deployed", {"deployed_at": when.isoformat(), "deployer": "deploybot", **more}, expect
        )

    async def roll_back(self, cr: Change, at: datetime | None = None) -> None:
        when = at or await self.now()
        self.t.plant.roll_back(cr.product, when.timestamp())
        await self.report(cr, "rolled-back", {"rolled_back_at": when.isoformat(), "reason": "it was worse"})

    async def report(self, cr: Change, what: str, body: Mapping[str, Any], expect: int = 200) -> httpx2.Response:
        answer = await self.ask("pipeline", "POST", f"/intake/v1/change-requests/{cr.id}/{what}", dict(body))
        assert answer.status_code == expect, (answer.status_code, answer.text)
        return answer

    async def live(self, product: str = "epl", change: str | None = None, **more: Any) -> Change:
        """A change that went live by the process, just now."""
        cr = await self.ready(product, None, change, **more)
        await self.step(5 * MINUTE)
        await story.gate(self.t, cr.id, go=True)
        await self.deploy(cr)
        await self.t.until_stage(cr.id, "deployed", "observing")
        return cr

    async def gate(self, cr: Change, *codes: str, **wanted: Any) -> Any:
        """The gate's answer, once its reasons are exactly these, and what else is `wanted` of it (`go=True`) is so."""
        last: list[Any] = [None]

        async def answer() -> Any:
            answered = await self.ask("pipeline", "GET", f"/reviewer/v1/gate/{cr.id}")
            found = last[0] = answered.json()
            if answered.status_code != 200:
                return None
            is_so = {reason["code"] for reason in found["reasons"]} == set(codes)
            return found if is_so and all(found[name] == value for name, value in wanted.items()) else None

        try:
            return await self.t.until(f"the gate to give {codes}", answer)
        except story.StoryError as error:
            raise story.StoryError(f"{error}; it gives {last[0]}") from None

    async def observation(self, cr: Change, kind: str = "after") -> dict[str, Any]:
        """The newest look of that kind that was not superseded, as the snapshotter says it, once there is one."""

        async def looks() -> list[dict[str, Any]]:
            found = await self.get(f"/snapshotter/v1/change-requests/{cr.id}/observation")
            every = [look for deployment in found["deployments"] for look in deployment["observations"]]
            return [one for one in every if one["kind"] == kind and one["state"] != "superseded"]

        return (await self.t.until(f"a look of kind {kind}", looks))[-1]

    async def investigation(self, cr: Change, *, is_open: bool | None = None) -> dict[str, Any]:
        """The CR's newest investigation, once there is one."""

        async def opened() -> Any:
            more: dict[str, Any] = {} if is_open is None else {"is_open": is_open}
            found = await self.get("/incidents/v1/investigations", change_request=cr.id, **more)
            return found["items"][0] if found["items"] else None

        return cast(dict[str, Any], await self.t.until(f"an investigation of {cr.id}", opened))

    async def investigate(self, who: str, id: str, step: str, **body: Any) -> Any:
        return await self.t.ask(who, "POST", f"/incidents/v1/investigations/{id}/{step}", body or None)

    async def cases(self, **wanted: Any) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], (await self.get("/incidents/v1/regression-cases", **wanted))["items"])

    async def marked(self, cr: Change, case: str, outcome: str, commit: str | None = None) -> None:
        """A regression report of this CR, in which one case proves (or shows) a regression case."""
        cases = {"test_login": "passed", "test_proof": outcome}
        answer = await self.t.client.request(
            "POST", f"http://daymark/intake/v1/change-requests/{cr.id}/test-results",
            params={"suite_kind": "other", "commit": commit or cr.commit, "run_at": (await self.now()).isoformat()},
            content=story.junit("proof", cases, {"test_proof": case}),
            headers={"Authorization": f"Bearer {self.t.keys['pipeline']}", "Content-Type": "application/xml"},
        )  # fmt: skip
        assert answer.status_code == 201, answer.text

    # -- behind the doors -----------------------------------------------------------------------------------------------

    async def quiet(self) -> None:
        """Wait until nothing is under way: every letter sent and heard, every due job done."""

        async def is_quiet() -> bool:
            unsent = " + ".join(f"(SELECT count(*) FROM {name}.unsent)" for name in SERVICES)
            due = " + ".join(f"(SELECT count(*) FROM {name}.agenda WHERE due_at <= daymark_now())" for name in SERVICES)
            behind = " + ".join(
                f"(SELECT count(*) FROM bus.partitions p JOIN {name}.positions h USING (topic, partition)"
                " WHERE p.topic <> 'daymark.heartbeats' AND coalesce(h.next_offset, 0) < p.next)"
                for name in SERVICES
            )
            return bool(await self.admin.fetchval(f"SELECT {unsent} + {due} + {behind} = 0"))

        await self.t.until("nothing to be under way", is_quiet)

    async def facts(self) -> list[Event[Fact]]:
        """Every fact on the bus, topic by topic, partition by partition, in order."""
        found = []
        for row in await self.admin.fetch("SELECT name FROM bus.topics ORDER BY 1"):
            if row["name"] in ("daymark.heartbeats", "daymark.inbound") or row["name"].startswith("daymark.dead."):
                continue
            for letter in await self.admin.fetch(f'SELECT * FROM bus."{row["name"]}" ORDER BY partition, "offset"'):
                headers = tuple(zip(letter["header_names"], letter["header_values"], strict=True))
                event = from_wire(letter["value"], headers)
                assert event is not None
                found.append(event)
        return found

    async def tables(self) -> dict[str, list[str]]:
        """Every row of every table of the services and of the bus but audit, inbox, dead, and the letters of those."""
        besides = (
            "audit", "inbox", "dead", "unsent", "heartbeats", "lanes", "positions", "leases", "members", "groups",
            "daymark.heartbeats", "partitions", "daymark.inbound",
        )  # fmt: skip
        return await every_row(self.admin.fetch, *SERVICES, "bus", "access", besides=besides)


async def _prepared(url: str) -> None:
    """Tables, topics, people: what every world is copied from."""
    now = wall()
    await prepare(url, local_settings(url), movable=True, behind_s=(now - a_tuesday_before(now)).total_seconds())
    with temporary() as home:
        _KEYS[urlsplit(url).path] = await people(url, home)


@asynccontextmanager
async def lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """An ASGI application between its startup and its shutdown, in a task of its own as a server does it."""
    told: asyncio.Queue[Message] = asyncio.Queue()
    said: asyncio.Queue[Message] = asyncio.Queue()
    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
    task = asyncio.ensure_future(app(scope, told.get, said.put))

    async def passed(name: str) -> None:
        await told.put({"type": f"lifespan.{name}"})
        answer = asyncio.ensure_future(said.get())
        await asyncio.wait([answer, task], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            await task
            raise AssertionError(f"the application ended at its {name}")
        assert answer.result()["type"] == f"lifespan.{name}.complete", answer.result()

    await passed("startup")
    try:
        yield
    finally:
        await passed("shutdown")
        await task


@asynccontextmanager
async def begun(
    postgres: Databases, effects: Mapping[tuple[str, str], Mapping[str, float]] = EFFECTS, **settings: Any
) -> AsyncIterator[World]:
    """A world whose clock stands a week back, with the products of `products/` and the demo's people."""
    template = await postgres.template("world", _prepared)
    url = await postgres.fresh(template)
    telemetry = Telemetry(Plant(effects))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(postgres.drop, url)
        stack.callback(telemetry.down)
        source = {"kind": "prometheus", "url": telemetry.up(), "timeout_s": 10}
        admin = await asyncpg.connect(url)
        stack.push_async_callback(admin.close)

        async def doors(scope: Scope, receive: Receive, send: Send) -> None:
            await world.app(scope, receive, send)  # whichever process runs

        client = await stack.enter_async_context(
            httpx2.AsyncClient(transport=httpx2.ASGITransport(doors, raise_app_exceptions=False), timeout=60)
        )

        async def move_to(at: datetime) -> None:
            await bootstrap.move_clock(admin, ahead_s=(at - wall()).total_seconds())

        teller = Impatient(
            lambda _: "http://daymark", dict(_KEYS["/world"]), telemetry.plant, story.present(), move_to, lambda _: None, client
        )  # fmt: skip
        own = local_settings(url, sources={"main": source}, heartbeat_s=0.2, pool_size=6, **settings)
        world = World(url, teller, telemetry, admin, own)
        stack.push_async_callback(world.stop)
        await world.start()
        await load_products(world.app)
        teller.at = await world.now()
        yield world


def plain(document: Any) -> str:
    """One text for one value, whatever the order of its keys."""
    return json.dumps(document, sort_keys=True, default=str)
