"""How fast facts travel: the relay and the reviewer's projection, against bare loops that promise nothing.

Ours and the bare loops run on uvloop, as uvicorn runs the services.
"""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from typing import Any

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from services.reviewer.handlers import ON
from shared.bus import TopicSpec, open_bus
from shared.consumer import Consumer
from shared.contracts import Event, Fact, MarkedCase, TestsRecorded, to_wire
from shared.db import Database
from shared.outbox import Relay
from shared.telemetry import Telemetry
from tests.bench.rows import admin, alternately, server
from tests.servers.kafka import any_broker

LETTERS, TIMES = 10_000, 5


def _facts(count: int) -> list[Event[Fact]]:
    """Facts of many CRs, of a usual size (some 400 bytes)."""
    from datetime import UTC, datetime

    now = datetime(2026, 11, 23, 9, tzinfo=UTC)
    found: list[Event[Fact]] = []
    for n in range(count):
        data = TestsRecorded(
            cr_id=f"CR-{n % 2000}", product_id="epl", result_id=f"RES-{n}", suite_kind="regression", commit="7c1f9e2",
            artifact=None, run_at=now, recorded_at=now, digest="0" * 64, outcome="passed", total=7, passed=7, failed=0,
            skipped=0, lost=0, marked=(MarkedCase(case_id="CASE-1", outcome="passed"),),
        )  # fmt: skip
        id = str(uuid.uuid4())
        found.append(Event(id, "daymark/intake", data.type, now, data.key, n + 1, "local|pipeline", data, "v1"))
    return found


def relay() -> dict[str, Any]:
    with server() as url, any_broker() as broker:
        return uvloop.run(_relay(url, broker)) | {
            "unit": "letters/s",
            "what": "the relay: lanes, order, marked sent; against `delete ... returning` 1000 + send + gather (>= 0.4)",
        }


async def _relay(url: str, broker: str) -> dict[str, Any]:
    wires = [(event.key, *to_wire(event)) for event in _facts(LETTERS)]
    topic = f"bench.{uuid.uuid4().hex[:8]}"
    db = Database(url, service="intake", rights={}, role="intake")
    telemetry = Telemetry("intake", version="bench")
    async with open_bus(f"kafka://{broker}") as bus, admin(url) as connection:
        await bus.apply_topics([TopicSpec(topic)])
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS public.bare (id bigserial PRIMARY KEY, key bytea, value bytea)"
        )

        async def ours() -> float:
            async with db.house() as tx:
                for key, value, headers in wires:
                    tx.post(topic, key, value, headers, str(uuid.uuid4()))
            pair = [Relay(db, bus, telemetry) for _ in range(2)]  # as in a service

            async def drain(one: Relay) -> int:
                sent = 0
                while (some := await one.send_some()) or await _unsent():
                    sent += some
                return sent

            async def _unsent() -> bool:
                async with db.connection() as (_, raw):
                    return bool(await raw.fetchval("SELECT EXISTS (SELECT 1 FROM unsent)"))

            for one in pair:  # the producer's first metadata is not what is measured
                await one.send_some()
            began = time.perf_counter()
            sent = sum(await asyncio.gather(*(drain(one) for one in pair)))
            took = time.perf_counter() - began
            for one in pair:
                await one.let_go()
            return sent / took

        async def bare() -> float:
            await connection.executemany(
                "INSERT INTO public.bare (key, value) VALUES ($1, $2)",
                [(key.encode(), value) for key, value, _ in wires],
            )
            producer = AIOKafkaProducer(
                bootstrap_servers=broker, acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=128 * 1024
            )
            await producer.start()
            try:
                await producer.send_and_wait(topic, b"", key=b"")
                began, sent = time.perf_counter(), 0
                while True:
                    async with connection.transaction():
                        rows = await connection.fetch(
                            "DELETE FROM public.bare WHERE id IN (SELECT id FROM public.bare ORDER BY id LIMIT 1000"
                            " FOR UPDATE SKIP LOCKED) RETURNING key, value"
                        )
                        if not rows:
                            break
                        waiting = [await producer.send(topic, row["value"], key=row["key"]) for row in rows]
                        await asyncio.gather(*waiting)
                    sent += len(rows)
                return sent / (time.perf_counter() - began)
            finally:
                await producer.stop()

        try:
            await ours()
            await bare()
            return await alternately(TIMES, ours, bare)
        finally:
            await db.close()
            telemetry.close()


def consumer() -> dict[str, Any]:
    with server() as url, any_broker() as broker:
        return uvloop.run(_consumer(url, broker)) | {
            "unit": "facts/s",
            "what": "the reviewer's projection: inbox, positions, dossier facts; against getmany 1000 + executemany (>= 0.4)",
        }


async def _consumer(url: str, broker: str) -> dict[str, Any]:
    telemetry = Telemetry("reviewer", version="bench")
    topic = TestsRecorded.topic
    gc.collect()
    gc.freeze()  # as a service does when it has started; both loops run in this process
    db = Database(url, service="reviewer", rights={}, role="reviewer")
    async with open_bus(f"kafka://{broker}") as bus, admin(url) as connection:
        await bus.apply_topics([TopicSpec(topic, 24)])
        await connection.execute("CREATE TABLE IF NOT EXISTS public.heard (id text PRIMARY KEY, value bytea)")

        async def publish() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True)
            await producer.start()
            waiting = []
            for event in _facts(LETTERS):
                value, headers = to_wire(event)
                waiting.append(await producer.send(topic, value, key=event.key.encode(), headers=list(headers)))
            await asyncio.gather(*waiting)
            await producer.stop()

        async def ours() -> float:
            await publish()
            hearer = Consumer(db, bus, telemetry, on={TestsRecorded: ON[TestsRecorded]}, raw={})
            subscription = await bus.subscribe("bench-ours", [topic], hearer.claim)
            try:
                heard, first, began = 0, 0, 0.0
                async for letters in hearer.follow(subscription):
                    if heard == 0 and letters:  # joining the group is not what is measured: from the first batch on
                        began, first = time.perf_counter(), letters
                    heard += letters
                    if heard >= LETTERS:
                        break
                return (heard - first) / (time.perf_counter() - began)
            finally:
                await subscription.abandon()

        async def bare() -> float:
            await publish()
            reader = AIOKafkaConsumer(
                topic, bootstrap_servers=broker, group_id="bench-bare", enable_auto_commit=False,
                auto_offset_reset="earliest",
            )  # fmt: skip
            await reader.start()
            plain = await asyncpg.connect(url)
            try:
                heard, began = 0, 0.0
                while heard < LETTERS * bare_runs[0]:
                    found = await reader.getmany(timeout_ms=1000, max_records=1000)
                    rows = [
                        (dict(record.headers)["ce_id"].decode(), record.value)
                        for records in found.values()
                        for record in records
                    ]
                    if not rows:
                        continue
                    began = began or time.perf_counter()
                    async with plain.transaction():
                        await plain.executemany("INSERT INTO public.heard VALUES ($1, $2) ON CONFLICT DO NOTHING", rows)
                    await reader.commit()
                    heard += len(rows)
                return heard / (time.perf_counter() - began)
            finally:
                await plain.close()
                await reader.stop()

        bare_runs = [1]
        try:
            # Each hears what was published since it was last here: as many letters, the same ones twice over.
            async def ours_alone() -> float:
                rate = await ours()
                await _skip(broker, topic, "bench-bare")
                return rate

            async def bare_alone() -> float:
                rate = await bare()
                await connection.execute(
                    "UPDATE reviewer.positions p SET next_offset = e.o FROM unnest($1::int[], $2::int8[]) AS e(n, o)"
                    " WHERE p.topic = $3 AND p.partition = e.n",
                    *_columns(await bus.ends([topic])),
                    topic,
                )
                return rate

            await ours_alone()
            await bare_alone()
            return await alternately(TIMES, ours_alone, bare_alone)
        finally:
            await db.close()
            telemetry.close()


def _columns(ends: Any) -> tuple[list[int], list[int]]:
    return [tp.partition for tp in ends], list(ends.values())


async def _skip(broker: str, topic: str, group: str) -> None:
    """Move a plain group to the end of the topic."""
    reader = AIOKafkaConsumer(bootstrap_servers=broker, group_id=group, enable_auto_commit=False)
    reader.subscribe([topic])
    await reader.start()
    try:
        while not reader.assignment():
            await reader.getmany(timeout_ms=200)
        ends = await reader.end_offsets(list(reader.assignment()))
        await reader.commit(ends)
    finally:
        await reader.stop()


BENCHES = {"relay": relay, "consumer": consumer}
