"""A load of change requests as outside systems give it, while things break, and what must be true afterwards.

The clients know nothing but their own keys: they send, and send the same again when they got no clear answer. What they
were answered is the truth that tables and topics are compared with.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import Request, Response

from deploy.local.plant import Floats
from deploy.local.story import junit
from deploy.local.telemetry import DemoTelemetry
from shared.bus import TP
from shared.contracts import Event, Fact, SnapshotTaken, from_wire
from shared.db import bootstrap
from shared.errors import Unavailable
from shared.settings import SERVICES
from shared.topics import specs
from tests.servers.services import Services, production

#: Who the load acts as: a key each, made by the CLI.
PEOPLE = (
    ("rita", "release_manager"),
    ("olga", "operations"),
    ("pipeline", "integration"),
    ("erin", "engineer"),
    ("pia", "ptask"),
    ("ada", "auditor"),
)
PRODUCTS = ("calm", "shaken")  #: all changes of the one do nothing to be seen, all of the other make it worse
PATIENCE_S = 150.0
#: How long a read takes at our source: long enough for a kill to fall into it.
READ_S = 0.15


def crs() -> int:
    """How many change requests: `DAYMARK_TEST_CRS`."""
    return int(os.environ.get("DAYMARK_TEST_CRS", "30"))


class Telemetry(DemoTelemetry):
    """Two SLIs for each of our products, for any time; those of the shaken one double 10 minutes after `began_s`."""

    def __init__(self) -> None:
        super().__init__(policies=(), present_s=lambda: float("inf"))
        self._worse_from_s = time.time() + 600

    async def _query_range(self, request: Request) -> Response:
        await asyncio.sleep(READ_S)
        return await super()._query_range(request)

    def samples(self, query: str, at_s: Floats) -> Floats | None:
        product, sli = query.split(":")
        grain = np.sin(at_s * 12.9898 + len(sli)) * 43758.5453
        level = 100 + 10 * np.sin(2 * np.pi * at_s / 86400) + 3 * (grain - np.floor(grain) - 0.5)
        if product == "shaken":
            level = np.where(at_s >= self._worse_from_s, 2 * level, level)
        return level


def policy(product: str) -> dict[str, Any]:
    slis = [
        {"id": sli, "title": f"{sli} of {product}", "source": "main", "query": f"{product}:{sli}", "unit": "ms",
         "direction": "higher_is_worse", "severity": "critical", "min_relative": 0.2, "min_absolute": 5}
        for sli in ("latency", "errors")
    ]  # fmt: skip
    return {
        "id": product, "name": product.title(), "enforcement": "advise", "slis": slis,
        "observation": {"step_s": 60, "settle_min": 15, "history_days": 1, "patience_min": 600},
    }  # fmt: skip


@dataclass
class Accepted:
    """One CR, and what its client was answered."""

    external_id: str
    product: str
    body: Mapping[str, Any]
    id: str = ""
    benchmark: str = ""
    deployed_at: datetime | None = None


@dataclass
class Load:
    """Clients on four services. `ran` first, then `moved_on`, then `settled`, then `held`."""

    services: Services
    client: httpx2.AsyncClient
    changes: list[Accepted] = field(default_factory=list)
    retries: Counter[str] = field(default_factory=Counter)
    figures: dict[str, Any] = field(default_factory=dict)
    ahead: timedelta = timedelta()  #: how far the clock was stepped

    async def begun(self) -> None:
        """The clients, and two products."""
        for product in PRODUCTS:
            await self.send("rita", "PUT", f"/intake/v1/products/{product}", json=policy(product))

    async def ran(self, n: int, *, over_s: float, named: str = "CHG", of: Sequence[str] = PRODUCTS) -> None:
        """Register, prove, measure and deploy `n` CRs, beginning at random within `over_s` seconds.

        None is deployed before all are measured: a window that reaches into what is still observed is no benchmark.
        """
        made = [self._accepted(f"{named}-{number}", of[number % len(of)]) for number in range(n)]
        self.changes += made
        chance, measured = random.Random(n), asyncio.Barrier(n)
        async with asyncio.TaskGroup() as clients:
            for change in made:
                clients.create_task(self._walk(change, chance.uniform(0, over_s), measured))

    def _accepted(self, name: str, product: str) -> Accepted:
        body = {
            "product": product, "source": "servicenow", "external_id": name, "title": f"Change {name}",
            "author": "eli", "ptask": "pia", "commit": f"c-{name}",
        }  # fmt: skip
        return Accepted(name, product, body)

    async def _walk(self, change: Accepted, after_s: float, measured: asyncio.Barrier) -> None:
        await asyncio.sleep(after_s)
        name = change.external_id
        made = await self.send("pipeline", "POST", "/intake/v1/change-requests", once=name, json=change.body)
        change.id = made["id"]
        door = f"/intake/v1/change-requests/{change.id}"
        for kind in ("regression", "integration"):
            await self.send(
                "pipeline", "POST", f"{door}/test-results", once=f"{name}-{kind}",
                params={"suite_kind": kind, "commit": f"c-{name}", "run_at": self.now().isoformat()},
                content=junit(kind, {"test_one": "passed", "test_two": "passed"}),
                headers={"Content-Type": "application/xml"},
            )  # fmt: skip
        review = {"how": "review", "reviewed_at": self.now().isoformat(), "where": "merge request"}
        await self.send("erin", "POST", f"{door}/code-review", once=f"{name}-review", json=review)
        published = await self.send(
            "olga", "POST", "/snapshotter/v1/snapshots", once=f"{name}-benchmark",
            json={"change_request": change.id, "reason": "An ordinary day."}, waits_for=(404,),
        )  # fmt: skip
        change.benchmark = published["id"]
        await measured.wait()
        change.deployed_at = self.now()
        body = {"deployed_at": change.deployed_at.isoformat(), "deployer": "deploybot"}
        await self.send("pipeline", "POST", f"{door}/deployed", once=f"{name}-deployed", json=body)

    async def send(
        self, who: str, method: str, path: str, *, once: str | None = None, waits_for: Sequence[int] = (), **more: Any
    ) -> Any:
        """One request, sent again and again, the very same, until there is a clear answer. Its JSON."""
        headers = {"Authorization": f"Bearer {self.services.keys[who]}", **more.pop("headers", {})}
        if once is not None:
            headers["Idempotency-Key"] = once
        until, pause = time.monotonic() + PATIENCE_S, 0.1
        address = self.services.address(path.split("/")[1]) + path
        while True:
            try:
                answer = await self.client.request(method, address, headers=headers, **more)
            except httpx2.TransportError as error:
                said = type(error).__name__
            else:
                if answer.status_code < 300:
                    return answer.json()
                said = str(answer.status_code)
                assert answer.status_code in (503, 409, *waits_for), f"{method} {path}: {said} {answer.text[:800]}"
            self.retries[said] += 1
            assert time.monotonic() < until, f"{method} {path}: {said} for {PATIENCE_S:.0f} s"
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 1.5)

    def now(self) -> datetime:
        """By the instance's clock."""
        return datetime.now(UTC) + self.ahead

    async def moved_on(self, by: timedelta = timedelta(hours=24, minutes=2)) -> None:
        """Step the clock."""
        self.ahead += by
        admin = await asyncpg.connect(self.services.admin_url)
        try:
            await bootstrap.move_clock(admin, ahead_s=self.ahead.total_seconds())
        finally:
            await admin.close()

    async def settled(self, within_s: float = PATIENCE_S) -> float:
        """Wait until nothing is under way any more; the seconds it took."""
        began, left = time.monotonic(), {"?": 1}
        while left:
            assert self.services.all_run(), "a service has ended by itself"
            assert time.monotonic() - began < within_s, f"still under way after {within_s:.0f} s: {left}"
            await asyncio.sleep(0.25)
            try:
                left = await self._left()
            except Unavailable as error:  # a broker that has just come back
                left = {str(error): 1}
        return time.monotonic() - began

    async def _left(self) -> dict[str, int]:
        ends = await ends_of(self.services.broker.address)
        admin = await asyncpg.connect(self.services.admin_url)
        left: dict[str, int] = {}
        try:
            for service in SERVICES:
                row = await admin.fetchrow(
                    f"SELECT (SELECT count(*) FROM {service}.unsent) AS unsent,"
                    f" (SELECT count(*) FROM {service}.agenda WHERE due_at <= daymark_now()) AS due,"
                    f" (SELECT count(*) FROM {service}.parked) AS parked"
                )
                left |= {f"{service}.{name}": count for name, count in row.items()}
                unheard = 0
                for at in await admin.fetch(f"SELECT topic, partition, next_offset FROM {service}.positions"):
                    if at["topic"] != "daymark.heartbeats":
                        unheard += ends[TP(at["topic"], at["partition"])] - (at["next_offset"] or 0)
                left[f"{service}.unheard"] = unheard
            open_ = "SELECT count(*) FROM snapshotter.observations WHERE state <> 'closed'"
            left["observations"] = await admin.fetchval(open_)
            left["not observed"] = len(self.changes) - await admin.fetchval(
                "SELECT count(DISTINCT cr_id) FROM snapshotter.observations"
            )
        finally:
            await admin.close()
        return {name: count for name, count in left.items() if count}

    # -- what must be true ------------------------------------------------------------------------------------------------

    async def held(self) -> list[Event[Fact]]:
        """Nothing lost, nothing doubled: by the tables, by the topics from their start, and by the doors. The facts."""
        await self._held_in_tables()
        facts = await self._held_in_topics()
        await self._held_at_the_doors()
        return facts

    async def _held_in_tables(self) -> None:
        admin = await asyncpg.connect(self.services.admin_url)
        try:
            rows = await admin.fetch("SELECT n, external_id, product_id FROM intake.change_requests")
            accepted = sorted((change.external_id, change.id) for change in self.changes)
            assert sorted((row["external_id"], f"CR-{row['n']}") for row in rows) == accepted
            for table in ("deployments", "code_reviews"):
                found = await admin.fetch(f"SELECT cr, count(*) AS n FROM intake.{table} GROUP BY cr")
                assert {row["n"] for row in found} == {1} and len(found) == len(accepted), table
            found = await admin.fetch("SELECT cr, count(*) AS n FROM intake.test_results GROUP BY cr")
            assert {row["n"] for row in found} == {2} and len(found) == len(accepted)
            taken = Counter({
                (row["cr_id"], row["kind"]): row["n"]
                for row in await admin.fetch("SELECT cr_id, kind, count(*) AS n FROM snapshotter.snapshots GROUP BY 1, 2")
            })  # fmt: skip
            assert {kind for _, kind in taken} <= {"benchmark", "after", "draft", "history", "day"}
            counted = {at: n for at, n in taken.items() if at[1] in ("benchmark", "after")}
            assert counted == {(cr, kind): 1 for _, cr in accepted for kind in ("benchmark", "after")}
            looks = await admin.fetch("SELECT cr_id, kind, state, outcome, benchmark_id FROM snapshotter.observations")
            assert sorted(tuple(row.values()) for row in looks) == sorted(
                (change.id, "after", "closed", "steady" if change.product == "calm" else "moved", change.benchmark)
                for change in self.changes
            )
            shaken = sorted(change.id for change in self.changes if change.product == "shaken")
            for table in ("incidents", "investigations"):
                found = await admin.fetch(f"SELECT cr_id FROM incidents.{table}")
                assert sorted(row["cr_id"] for row in found) == shaken, table
            assert await admin.fetchval("SELECT count(*) FROM incidents.cases") == len(shaken)
            for service in SERVICES:
                for table in ("parked", "dead"):
                    assert await admin.fetchval(f"SELECT count(*) FROM {service}.{table}") == 0, f"{service}.{table}"
        finally:
            await admin.close()

    async def _held_in_topics(self) -> list[Event[Fact]]:
        """The topics, read from their start, against the outboxes."""
        heard = await read(self.services.broker.address)
        first: dict[str, Event[Fact]] = {}
        said: dict[tuple[str, str], list[Event[Fact]]] = defaultdict(list)
        for event in heard:
            if event.id in first:
                assert event == first[event.id], f"{event.id} is said twice, not the same"
                continue
            first[event.id] = event
            said[event.source, aggregate_of(event)].append(event)
        self.figures |= {"facts": len(first), "sent twice": len(heard) - len(first)}
        for (source, thing), events in said.items():
            sequences = sorted(event.sequence for event in events)
            assert sequences == list(range(1, len(sequences) + 1)), f"{source} {thing}: {sequences}"
            for key in {(event.data.topic, event.key) for event in events}:
                one = [event.sequence for event in events if (event.data.topic, event.key) == key]
                assert one == sorted(one), f"{source} {thing}: in this order on {key}: {one}"
        kinds = Counter((event.type, event.key) for event in first.values())
        taken = Counter(
            (event.data.kind, event.key) for event in first.values() if isinstance(event.data, SnapshotTaken)
        )
        for change in self.changes:
            at = change.id
            for kind in ("cr.registered.v1", "cr.deployed.v1", "benchmark.published.v1", "observation.closed.v1"):
                assert kinds[kind, at] == 1, (kind, at, kinds[kind, at])
            drafts = kinds["benchmark.drafted.v1", at]
            assert {kind: n for (kind, key), n in taken.items() if key == at and n} == {
                "benchmark": 1, "after": 1, **({"draft": drafts} if drafts else {}),
            }  # fmt: skip
            assert kinds["deviation.detected.v1", at] == (change.product == "shaken")
        admin = await asyncpg.connect(self.services.admin_url)
        try:
            for service in SERVICES:
                rows = await admin.fetch(f"SELECT event_id FROM {service}.outbox WHERE topic NOT LIKE 'daymark.dead.%'")
                sent = {event.id for event in first.values() if event.source == f"daymark/{service}"}
                assert {row["event_id"] for row in rows} == sent, (
                    f"what {service} wrote and what lies on the bus differ"
                )
        finally:
            await admin.close()
        return list(first.values())

    async def _held_at_the_doors(self) -> None:
        for change in self.changes:
            again = await self.send(
                "pipeline", "POST", "/intake/v1/change-requests", once=change.external_id, json=change.body
            )
            assert again["id"] == change.id  # the first answer, again
            wanted = "steady" if change.product == "calm" else "moved"
            found = await self.send("ada", "GET", f"/snapshotter/v1/change-requests/{change.id}/observation")
            (deployment,) = found["deployments"]
            (look,) = deployment["observations"]
            assert (look["kind"], look["outcome"], look["benchmark"]) == ("after", wanted, change.benchmark)
            dossier = await self.send("ada", "GET", f"/reviewer/v1/change-requests/{change.id}/dossier")
            assert dossier["stage"] == ("verified" if change.product == "calm" else "deviating"), dossier["stage"]
            (deployment,) = dossier["deployments"]
            (look,) = deployment["observations"]
            assert (look["kind"], look["outcome"]) == ("after", wanted)


@asynccontextmanager
async def a_load(*, by: str) -> AsyncIterator[Load]:
    """Clients on a running Daymark of its own: four processes, Kafka, PostgreSQL, telemetry."""
    telemetry = Telemetry()
    async with AsyncExitStack() as stack:
        stack.callback(telemetry.stop)
        source = {"kind": "prometheus", "url": telemetry.start(), "timeout_s": 10}
        services = await stack.enter_async_context(production({"main": source}, by=by))
        await services.install(*PEOPLE)
        for service in SERVICES:
            services.start(service)
        await services.ready()
        yield Load(services, await stack.enter_async_context(httpx2.AsyncClient(timeout=20, trust_env=False)))


def aggregate_of(event: Event[Fact]) -> str:
    """The row whose version its sequence is: what says it, counts it."""
    fact: Any = event.data
    if event.source == "daymark/incidents":
        kind = event.type.split(".")[0]
        name = {"incident": "incident_id", "regression_case": "case_id"}.get(kind, "investigation_id")
        return f"{kind} {getattr(fact, name)}"
    return event.key


async def ends_of(servers: str) -> dict[TP, int]:
    """Where each partition of each topic ends."""
    from shared.bus.kafka_clients import LATEST, Cluster, offsets

    return await offsets(Cluster(servers), [spec.name for spec in specs()], LATEST)


async def read(servers: str) -> list[Event[Fact]]:
    """Every fact that lies on Kafka, from the start, in order per partition, repeats too."""
    fact_topics = {spec.name for spec in specs() if spec.retention_ms == -1}
    ends = {tp: end for tp, end in (await ends_of(servers)).items() if tp.topic in fact_topics and end}
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    found: list[Event[Fact]] = []
    try:
        consumer.assign([TopicPartition(*tp) for tp in ends])
        await consumer.seek_to_beginning()
        left = dict(ends)
        async with asyncio.timeout(30):
            while left:
                for tp, records in (await consumer.getmany(timeout_ms=500, max_records=2000)).items():
                    for record in records:
                        assert not record.topic.startswith("daymark.dead."), record
                        event = from_wire(record.value, record.headers)
                        assert event is not None, record
                        assert event.data.topic == record.topic and record.key == event.key.encode()
                        found.append(event)
                    if records and records[-1].offset + 1 >= ends[TP(*tp)]:
                        left.pop(TP(*tp), None)
    finally:
        await consumer.stop()
    return found
