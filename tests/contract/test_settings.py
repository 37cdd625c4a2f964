"""Every setting, proven by its effect. A setting without a test here fails the first one."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from shared.bus import open_bus
from shared.bus.kafka import KafkaBus
from shared.bus.postgres import PostgresBus
from shared.db import Database
from shared.freshness import Heart
from shared.settings import SERVICES, Settings
from tests.contract import plumbing
from tests.contract.plumbing import Bench
from tests.servers.postgres import Databases


@pytest.fixture
async def bench(postgres: Databases) -> AsyncIterator[Bench]:
    url = await postgres.fresh(await postgres.template("plumbing", plumbing.make))
    async with plumbing.bench(url) as made:
        yield made
    await postgres.drop(url)


def test_every_setting_is_tested_here() -> None:
    text = Path(__file__).read_text() + Path(__file__).with_name("test_kafka_access.py").read_text()
    for name in Settings.model_fields:
        shown = "_database_url" if name.removesuffix("_database_url") in SERVICES else name
        assert len(re.findall(rf"\b{name}\b|{shown}", text)) >= 1, f"{name} has no test"


def test_a_service_with_a_url_of_its_own_takes_no_role_and_else_takes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in SERVICES:
        monkeypatch.delenv(f"DAYMARK_{service.upper()}_DATABASE_URL", raising=False)
    monkeypatch.setenv("DAYMARK_DATABASE_URL", "postgresql://admin@db/daymark")
    monkeypatch.setenv("DAYMARK_INTAKE_DATABASE_URL", "postgresql://intake@db/daymark")
    settings = Settings()
    assert settings.database_for("intake") == ("postgresql://intake@db/daymark", None)
    assert settings.database_for("reviewer") == ("postgresql://admin@db/daymark", "reviewer")
    assert settings.database_url is not None and "admin" not in repr(settings)
    with pytest.raises(ValueError, match="DAYMARK_INTAKE_DATABASE_URL"):
        Settings(database_url=None, intake_database_url=None).database_for("intake")


async def test_bus_url_chooses_the_bus() -> None:
    async with open_bus("kafka://127.0.0.1:1") as kafka, open_bus("postgresql://x@127.0.0.1:1/x") as postgres:
        assert isinstance(kafka, KafkaBus) and isinstance(postgres, PostgresBus)
    assert Settings(bus_url="kafka://k:9092").bus_at("postgresql://x") == "kafka://k:9092"
    assert Settings(bus_url=None).bus_at("postgresql://x") == "postgresql://x"
    with pytest.raises(ValueError, match="no password") as refused:
        async with open_bus("kafka://ann:geheim@127.0.0.1:1"):
            pass
    assert "geheim" not in str(refused.value)


def test_no_setting_shows_what_it_keeps_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "postgresql://intake:geheim@db/daymark"
    settings = Settings(
        database_url=secret, intake_database_url=secret, snapshotter_database_url=secret, incidents_database_url=secret,
        reviewer_database_url=secret, bus_url=secret, kafka_tls=True, kafka_sasl="PLAIN", kafka_user="ann",
        kafka_password="geheim", sources={"main": {"url": "https://u:geheim@p", "headers": {"Authorization": "geheim"}}},
        webhooks={"github": {"kind": "github", "secrets": ["geheim"]}},
    )  # fmt: skip
    dumped = repr(settings.model_dump()) + settings.model_dump_json()
    assert "geheim" not in repr(settings) + str(settings) + repr(settings.kafka_access()) + dumped
    for name in ("sources", "webhooks"):  # a part of it is hidden as the whole is
        assert (
            "geheim" not in repr(getattr(settings, name)) + str(getattr(settings, name)) + f"{getattr(settings, name)}"
        )
    for name, value in (
        ("KAFKA_CA_FILE", "/geheim"), ("POOL_SIZE", "geheim"), ("KAFKA_SASL", "geheim"), ("SOURCES", '["geheim"]'),
        ("SOURCES", '{"geheim'), ("WEBHOOKS", '{"geheim'), ("WEBHOOKS", '["geheim"]'), ("KAFKA_PASSWORD", "geheim"),
    ):  # fmt: skip
        with monkeypatch.context() as environment, pytest.raises(ValueError) as refused:
            environment.setenv(f"DAYMARK_{name}", value)
            Settings()
        assert "geheim" not in str(refused.value), name


async def test_no_answer_and_no_error_shows_what_a_setting_keeps_secret(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio
    import importlib

    import httpx2
    import structlog

    from services.snapshotter.sources import open_source

    secret = "postgresql://intake:geheim@127.0.0.1:1/daymark"
    settings = Settings(
        database_url=secret,
        sources={"main": {"kind": "prometheus", "url": "http://u:geheim@127.0.0.1:1", "headers": {"A": "geheim"}}},
        webhooks={"github": {"kind": "github", "secrets": ["geheim, sixteen letters"], "integration": "local|github"}},
    )  # fmt: skip
    shown, logged = "", []
    for service in SERVICES:
        app = importlib.import_module(f"services.{service}.app").build(settings)
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://daymark.test") as client:
            for path in ("version", "readyz", "healthz", "metrics", "openapi.json", "v1/nothing"):
                answer = await client.get(f"/{service}/{path}")
                shown += answer.text + repr(answer.headers)
        if service in (
            "intake",
            "snapshotter",
        ):  # who are given these; nothing answers them, and what is logged is read
            with structlog.testing.capture_logs() as lines:
                async with app.router.lifespan_context(app):
                    await asyncio.sleep(0.1)
            logged += lines
    for wrong in ({"url": "geheim"}, {"headers": "geheim"}, {"timeout_s": "geheim"}, {"kind": "geheim"}):
        said = settings.sources.get_secret_value()["main"]
        with pytest.raises(ValueError, match="main") as refused:
            open_source("main", {**said, **wrong} if "kind" not in wrong else {**said, "kind": "prometeus"})
        shown += str(refused.value)
    assert logged and "geheim" not in shown + repr(logged) + caplog.text


@pytest.mark.parametrize(
    "lonely",
    [
        {"kafka_sasl": "PLAIN"},
        {"kafka_user": "ann", "kafka_password": "x"},
        {"kafka_sasl": "PLAIN", "kafka_user": "ann", "kafka_password": "x"},
        {"kafka_ca_file": __file__},
        {"kafka_certificate_file": __file__},
        {"kafka_tls": True, "kafka_key_file": __file__},
    ],
)
def test_half_an_access_to_kafka_stops_the_start(lonely: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"DAYMARK_KAFKA"):
        Settings(**lonely)


async def test_pool_size_is_the_pools_size(database: str) -> None:
    for size in (2, 5):
        db = Database(database, service="intake", rights={}, pool_size=Settings(pool_size=size).pool_size)
        assert db.engine.pool.size() == size  # type: ignore[attr-defined]
        await db.close()


async def test_heartbeat_s_is_the_pace_of_the_heart(bench: Bench) -> None:
    import asyncio

    beats: list[float] = []

    class Beating(Heart):
        async def beat(self) -> None:
            beats.append(asyncio.get_running_loop().time())

    heart = Beating(bench.db, None, plumbing.telemetry(), every_s=Settings(heartbeat_s=0.1).heartbeat_s)  # type: ignore[arg-type]
    task = asyncio.create_task(heart.run())
    await asyncio.sleep(0.75)
    task.cancel()
    assert 3 <= len(beats) <= 8


def test_otlp_endpoint_turns_tracing_on() -> None:
    from shared.telemetry import Telemetry

    for endpoint, on in ((None, False), ("http://127.0.0.1:1", True)):
        telemetry = Telemetry("intake", version="t", otlp_endpoint=Settings(otlp_endpoint=endpoint).otlp_endpoint)
        assert telemetry.is_tracing is on
        telemetry.close(0.5)


async def test_samples_url_is_where_large_samples_lie(tmp_path: Path) -> None:
    from services.snapshotter.samples import bundle, open_bucket

    settings = Settings.model_validate({"samples_url": (tmp_path / "samples").as_uri()})
    assert settings.samples_url is not None and "samples" not in repr(settings.samples_url)
    made = await open_bucket(settings.samples_url.get_secret_value()).put(bundle([np.arange(9.0)]))
    assert (tmp_path / "samples" / str(made.key)).read_bytes() == made.data


async def test_sources_are_the_ones_a_policy_can_name() -> None:
    from services.snapshotter.sources import open_source

    settings = Settings(sources={"main": {"kind": "prometheus", "url": "http://127.0.0.1:1"}})
    source = open_source("main", settings.sources.get_secret_value()["main"])
    await source.close()
    with pytest.raises(ValueError):
        open_source("main", {"kind": "crystal ball", "url": "http://127.0.0.1:1"})


async def test_webhooks_are_who_may_post_in_their_own_words() -> None:
    from services.intake.app import make_deps
    from shared.service import Parts

    hook = {"kind": "github", "secrets": ["sixteen letters!"], "integration": "local|github"}
    for wanted in ({}, {"acme": hook}, "", json.dumps({"acme": hook})):  # as JSON, from the environment
        parts = Parts(None, None, None, Settings(webhooks=wanted))  # type: ignore[arg-type]
        async with make_deps(parts) as deps:
            assert list(deps.hooks) == (["acme"] if wanted else [])
    with pytest.raises(ValueError, match="kind"):
        async with make_deps(Parts(None, None, None, Settings(webhooks={"acme": {}}))):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("secure_cookies", [True, False])
async def test_secure_cookies_marks_the_session_cookie(postgres: Databases, secure_cookies: bool) -> None:
    import asyncpg
    import httpx2

    from services.reviewer.app import build
    from shared import keys
    from shared.db.migrations import upgrade
    from shared.topics import apply

    url = await postgres.fresh(await postgres.template("upgraded", lambda made: upgrade(made, movable=True)))
    async with open_bus(url) as bus:
        await apply(bus)
    admin = await asyncpg.connect(url)
    link = await keys.create_link(admin, await keys.grant(admin, "olga", name="Olga", roles=["operations"]))
    await admin.close()
    app = build(Settings(database_url=url, secure_cookies=secure_cookies))
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://console") as browser:
            answer = await browser.get("/sign-in", params={"link": link})
    cookie = answer.headers["set-cookie"].lower()
    assert ("secure" in cookie) is secure_cookies
    assert "httponly" in cookie and "samesite=lax" in cookie
    await postgres.drop(url)


@pytest.mark.parametrize(("name", "value"), [("pool_size", "0"), ("heartbeat_s", "-1"), ("sources", "{not json")])
def test_a_setting_that_makes_no_sense_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DAYMARK_{name.upper()}", value)
    with pytest.raises((ValidationError, ValueError)):
        Settings()
