"""The demo's story, told to four processes on a real Kafka: what people read of it is what the one process shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import yaml

from deploy.local.instance import OneProcess, local_settings, people, prepare
from deploy.local.story import DAYS, Teller, present, tell
from deploy.local.telemetry import PRODUCTS, DemoTelemetry
from deploy.local.up import load_products
from shared.clock import wall
from shared.db import bootstrap
from shared.settings import SERVICES
from tests.flow.normal import differences, normal, ranked, timeless
from tests.flow.world import lifespan
from tests.servers.postgres import Databases
from tests.servers.services import production

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.xdist_group("processes")]

#: How far back the clocks start: the story's days, and time enough to start everything.
BEHIND_S = timedelta(days=DAYS, minutes=10).total_seconds()
Begin = Callable[[datetime], Teller]


async def test_the_story_told_to_four_processes_on_kafka_leaves_the_same_dossiers_as_in_one_process(
    postgres: Databases, home: Path
) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(in_one_process(postgres, home))
        four = await stack.enter_async_context(in_four_processes(home))
        now = present()
        tellers = one(now), four(now)
        async with asyncio.TaskGroup() as both:
            told = [both.create_task(tell(teller)) for teller in tellers]
        crs, again = (task.result() for task in told)
        assert crs == again
        for name, cr in crs.items():
            shown, shown_again = [timeless(ranked(await settled(teller, cr))) for teller in tellers]
            assert differences(shown, shown_again) == [], f"{name}: the dossiers of {cr} differ"
        essences = [await normal(teller, crs) for teller in tellers]
        assert essences[0] == essences[1]
        stages = {name: (await tellers[1].dossier(cr))["stage"] for name, cr in crs.items()}
        assert stages["steady"] == "verified" and stages["moving"] == "recovered", stages


async def settled(teller: Teller, cr: str) -> Any:
    """The dossier, once it no longer changes: late facts of the last step are still on their way."""
    before = None
    for _ in range(60):
        found = await teller.dossier(cr)
        if before is not None and timeless(found) == timeless(before):
            return found
        before = found
        await asyncio.sleep(1.0)
    raise AssertionError(f"the dossier of {cr} does not stand still")


@asynccontextmanager
async def in_one_process(postgres: Databases, home: Path) -> AsyncIterator[Begin]:
    """As `make demo`: one process on PostgreSQL alone."""
    url = await postgres.fresh()
    telemetry = DemoTelemetry()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(postgres.drop, url)
        stack.callback(telemetry.stop)
        source = {"kind": "prometheus", "url": telemetry.start()}
        settings = local_settings(url, sources={"main": source})
        await prepare(url, settings, movable=True, behind_s=BEHIND_S)
        keys = await people(url, home)
        app = OneProcess(settings)
        await stack.enter_async_context(lifespan(app))
        await load_products(app)
        client = await stack.enter_async_context(httpx2.AsyncClient(transport=httpx2.ASGITransport(app), timeout=90))
        yield lambda now: teller(lambda _: "http://daymark", keys, telemetry, now, url, client)


@asynccontextmanager
async def in_four_processes(home: Path) -> AsyncIterator[Begin]:
    """As production: four processes, four roles, Kafka between them."""
    telemetry = DemoTelemetry()
    async with AsyncExitStack() as stack:
        stack.callback(telemetry.stop)
        source = {"kind": "prometheus", "url": telemetry.start()}
        services = await stack.enter_async_context(production({"main": source}, by="serve"))
        await services.install(behind_s=BEHIND_S)
        room = home / "four"
        room.mkdir()
        keys = await people(services.admin_url, room)
        services.keys = keys
        for service in SERVICES:
            services.start(service)
        await services.ready()
        client = await stack.enter_async_context(httpx2.AsyncClient(timeout=90, trust_env=False))
        for file in sorted(PRODUCTS.glob("*.yaml")):
            answer = await client.put(
                f"{services.address('intake')}/intake/v1/products/{file.stem}",
                json=yaml.safe_load(file.read_text()),
                headers={"Authorization": f"Bearer {keys['rita']}"},
            )
            assert answer.status_code in (200, 201), answer.text
        yield lambda now: teller(services.address, keys, telemetry, now, services.admin_url, client)


def teller(
    address: Callable[[str], str],
    keys: dict[str, str],
    telemetry: DemoTelemetry,
    now: datetime,
    admin_url: str,
    client: httpx2.AsyncClient,
) -> Teller:
    async def move_to(at: datetime) -> None:
        admin = await asyncpg.connect(admin_url)
        try:
            await bootstrap.move_clock(admin, ahead_s=(at - wall()).total_seconds())
        finally:
            await admin.close()

    return Teller(address, keys, telemetry.plant, now, move_to, lambda _: None, client)
