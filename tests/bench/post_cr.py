"""How much the house costs at its busiest door: POST a CR against a bare FastAPI + asyncpg route that writes the same rows.

Both are served by uvicorn in a process of their own, asked by 16 connections that this process drives with raw HTTP/1.1,
in turns against one database. `python -m tests.bench.post_cr ours|bare URL KEY` is such a process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from fastapi import FastAPI, Request, Response

from shared.contracts.inbound import RegisterCR
from tests.intaking import POLICY
from tests.servers import postgres as server

CONNECTIONS, REQUESTS, ROUNDS = 16, 1600, 5
_ROOT = Path(__file__).resolve().parents[2]
_BODY: dict[str, Any] = {
    "product": "epl",
    "release": "epl-1",
    "source": "servicenow",
    "title": "Cache the rate tables of the pricing engine",
    "author": "corp|ada",
    "ptask": "corp|grace",
    "description": "What changes, and why. " * 8,
    "planned_start": "2026-12-01T08:00:00Z",
    "planned_end": "2026-12-01T10:00:00Z",
    "backout_plan": "Deploy the image before it.",
    "commit": "4f2c9d1",
    "link": "https://servicenow.example/CHG0041",
}


async def post_cr() -> dict[str, Any]:
    with server.embedded() as databases:
        url = await databases.fresh()
        key = await _prepared(url)
        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        served: dict[str, tuple[asyncio.subprocess.Process, int]] = {}
        try:
            for name in rates:
                served[name] = await _serve(name, url, key)
            for turn in range(-1, ROUNDS):  # the first turn warms both
                for name, (_, port) in served.items():
                    rate = await asyncio.wait_for(_rate(port, key, f"{name}{turn}"), 60)
                    if turn >= 0:
                        rates[name].append(rate)
        finally:
            for process, _ in served.values():
                if process.returncode is None:
                    process.kill()
                await process.wait()
    what = (
        f"POST a CR, {CONNECTIONS} connections, against bare FastAPI + asyncpg writing the same rows in one transaction"
    )
    ours, bare = (statistics.median(rates[name]) for name in ("ours", "bare"))
    return {"ours": ours, "limit": bare, "unit": "requests/s", "n": ROUNDS, "what": what}


#: Readers of the servers' logs, held so that they are not collected.
DRAINS: list[asyncio.Future[bytes]] = []
BENCHES = {"post_cr": post_cr}


async def _prepared(url: str) -> str:
    """Tables and topics, an engineer, a product with a release; the engineer's key."""
    from pydantic import SecretStr

    from deploy.local.instance import prepare
    from services.intake import domain, handlers
    from shared.access import Call, hashed
    from shared.contracts import read_policy
    from shared.db import Database
    from shared.keys import create_key, grant
    from shared.settings import Settings

    await prepare(url, Settings(database_url=SecretStr(url)))
    admin = await asyncpg.connect(url)
    try:
        _, key = await create_key(
            admin, await grant(admin, "emil", name="Emil", roles=["engineer", "release_manager", "integration"])
        )
        await grant(admin, "grace", name="Grace", roles=["ptask"], issuer="corp")
    finally:
        await admin.close()
    db = Database(url, service="intake", rights=domain.RIGHTS, role="intake")
    try:
        deps, call = handlers.Deps(db), Call(hashed(key), "PUT")
        await handlers.put_product(deps, call, "epl", read_policy(POLICY))
        from services.intake.commands import PlanRelease

        plan = PlanRelease.model_validate({"product": "epl", "name": "1", "planned_at": "2026-12-01T08:00:00Z"})
        await handlers.plan_release(deps, call, plan)
    finally:
        await db.close()
    return key


async def _serve(name: str, url: str, key: str) -> tuple[asyncio.subprocess.Process, int]:
    command = (sys.executable, "-m", "tests.bench.post_cr", name, url, key)
    process = await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while not (line := await process.stdout.readline()).startswith(b"port "):
                if not line:
                    raise RuntimeError(f"{name} did not start")
    except BaseException:
        process.kill()
        raise
    DRAINS.append(asyncio.ensure_future(process.stdout.read()))  # its log, so that it never waits for a reader
    return process, int(line[5:])


async def _rate(port: int, key: str, name: str) -> float:
    """Requests a second of one turn; every answer must be 201."""
    waiting = iter(range(REQUESTS))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in waiting:
            body = json.dumps(_BODY | {"external_id": f"{name}-{number}"}).encode()
            head = (
                f"POST /intake/v1/change-requests HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
                f"Idempotency-Key: {name}-{number}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 201"):
                raise RuntimeError(f"{name}: {answer!r} {(await reader.read(500))!r}")
            lines = answer.decode("latin-1").lower().split("\r\n")
            length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
            await reader.readexactly(length)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return REQUESTS / (time.perf_counter() - began)


# -- served ---------------------------------------------------------------------------------------------------------


def _ours(url: str, key: str) -> Any:
    from pydantic import SecretStr

    from services.intake.app import build
    from shared.settings import Settings

    return build(Settings(database_url=SecretStr(url)))


_BARE = (
    "INSERT INTO inbox (scope, id, digest, status, headers, body, at) VALUES ($1, $2, $3, 201, '[]', $4, now())",
    "INSERT INTO change_requests (product_id, release_id, source, external_id, title, description, kind, author, ptask,"
    " planned_start, planned_end, backout_plan, commit, artifact, link, state, revision, version, registered_at,"
    " registered_by, registration, authors) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,"
    " 'registered', 1, 1, now(), $8, $16, ARRAY[$8]) RETURNING n",
    "WITH letter AS (INSERT INTO outbox (event_id, lane, topic, key, value, headers, created_at)"
    " VALUES ($1, 1, 'daymark.change-requests', $2, $3, $4, now()) RETURNING id, lane, created_at)"
    " INSERT INTO unsent (id, lane, created_at) SELECT id, lane, created_at FROM letter",
    "INSERT INTO audit (at, actor, action, object, revision, product_id, evidence, policy_version, cause, refused,"
    " detail) VALUES (now(), $1, 'register_cr', $2, 1, $3, '{}', $4, $5, false, '{}')",
)


def _bare(url: str, key: str) -> Any:
    """The same rows in one transaction, by hand: no rights, no repeats, no checks beyond the body's shape."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings = {"search_path": "intake,public", "role": "intake"}
        app.state.pool = await asyncpg.create_pool(url, min_size=8, max_size=12, server_settings=settings)
        yield
        await app.state.pool.close()

    app = FastAPI(lifespan=lifespan)
    headers = json.dumps([["ce_id", "x"], ["ce_type", "cr.registered.v1"], ["ce_source", "daymark/intake"]] * 4)

    @app.post("/intake/v1/change-requests", status_code=201)
    async def post(request: Request, command: RegisterCR) -> Response:
        once, value = request.headers["idempotency-key"], command.model_dump_json().encode()
        digest = hashlib.sha256(value).digest()
        async with app.state.pool.acquire() as conn, conn.transaction():
            await conn.execute(_BARE[0], "http:local|emil|POST", once, digest, value)
            n = await conn.fetchval(
                _BARE[1], command.product, command.release, command.source, command.external_id, command.title,
                command.description, command.kind, command.author, command.ptask, command.planned_start,
                command.planned_end, command.backout_plan, command.commit, command.artifact, command.link, digest.hex(),
            )  # fmt: skip
            await conn.execute(_BARE[2], once, f"CR-{n}", value, headers)
            await conn.execute(_BARE[3], "local|emil", f"CR-{n}", command.product, "policy", once)
        return Response(value, 201, media_type="application/json")

    return app


def main() -> None:
    import socket

    import uvicorn

    from shared.doors.server import uvicorn_settings

    name, url, key = sys.argv[1:4]
    app = {"ours": _ours, "bare": _bare}[name](url, key)
    settings = uvicorn_settings() if name == "ours" else {"access_log": False, "log_config": None}
    listening = socket.create_server(("127.0.0.1", 0))
    said = uvicorn.Server(uvicorn.Config(app, **settings))

    async def serve() -> None:
        task = asyncio.ensure_future(said.serve(sockets=[listening]))
        while not said.started and not task.done():
            await asyncio.sleep(0.02)
        print("port", listening.getsockname()[1], flush=True)
        await task

    if os.environ.get("DAYMARK_BENCH_PROFILE") == name:
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
        try:
            asyncio.run(serve())
        finally:
            profile.disable()
            profile.dump_stats("build/post_cr.prof")
    else:
        import uvloop

        uvloop.run(serve())


if __name__ == "__main__":
    main()
