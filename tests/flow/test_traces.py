"""One trace from a request to the letter, the hearer, the job it schedules and the HTTP call that job makes: in one service,
and across three of them down to what the last asks of its source."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.agenda import Worker
from shared.bus import Batch, Letter, Record
from shared.consumer import Consumer
from shared.contracts import BenchmarkDrafted, CodeReviewRecorded, CRWithdrawn, Event, ReviewRequested
from shared.db import Appointment, Tx
from shared.outbox import Relay
from shared.telemetry import Telemetry, trace_headers
from tests.contract import plumbing
from tests.contract.plumbing import Bench
from tests.flow.world import World
from tests.servers.postgres import Databases

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
async def bench(postgres: Databases) -> AsyncIterator[Bench]:
    url = await postgres.fresh(await postgres.template("plumbing", plumbing.make))
    async with plumbing.bench(url) as made:
        yield made
    await postgres.drop(url)


class _Letters:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Letter] = []

    async def publish(self, letters: Sequence[Letter]) -> None:
        self.sent += letters

    async def abandon(self) -> None: ...


@pytest.mark.parametrize("is_tracing", [True, False])
async def test_a_trace_goes_from_a_request_through_letter_step_and_job_to_the_next_call(
    bench: Bench, is_tracing: bool
) -> None:
    spans = InMemorySpanExporter()
    telemetry = Telemetry("intake", version="test", processor=SimpleSpanProcessor(spans) if is_tracing else None)
    called: list[dict[str, str]] = []

    async def look(_deps: None, appointment: Appointment) -> None:
        called.append(trace_headers() or {"traceparent": appointment.traceparent or ""})
        async with bench.db.tx(appointment):
            pass

    async def step(tx: Tx, _event: Event[CRWithdrawn]) -> None:
        tx.schedule("look", "CR-1")

    with telemetry.span("POST /things", "server") as request:
        trace_id = f"{request.get_span_context().trace_id:032x}"
        parent = f"00-{trace_id}-{request.get_span_context().span_id:016x}-01"
        async with bench.db.tx(bench.call("k1")) as tx:
            tx.traceparent = parent
            tx.may("make")
            tx.audit("a")
            data = CRWithdrawn(cr_id="CR-1", product_id="epl", reason="r", withdrawn_at=tx.now)
            tx.emit(data, sequence=1)
            tx.answer(200, {})
    publisher = _Letters()
    relay = Relay(bench.db, None, telemetry)  # type: ignore[arg-type]
    relay._publisher = publisher
    await relay.send_some()
    (letter,) = publisher.sent
    consumer = Consumer(bench.db, None, telemetry, on={CRWithdrawn: step}, raw={})  # type: ignore[arg-type]
    record = Record(letter.topic, 0, 0, letter.key.encode(), letter.value, letter.headers)
    claims = await consumer.claim({record.tp})
    await consumer.hear(Batch([record], {tp: claim.generation for tp, claim in claims.items()}))
    assert await Worker(bench.db, {"look": look}, None, telemetry).drain() == 1
    assert called[0]["traceparent"].split("-")[1] == trace_id
    if is_tracing:
        joined = {span.name for span in spans.get_finished_spans() if span.context.trace_id == int(trace_id, 16)}
        assert {"POST /things", "hear cr.withdrawn.v1", "job look"} <= joined


async def test_a_request_at_intake_and_the_queries_it_leads_to_at_the_source_are_one_trace(world: World) -> None:
    """Intake's door -> the reviewer, which asks for a review -> the snapshotter, which drafts a benchmark -> Prometheus."""
    cr = await world.register()
    await world.evidence(cr, reviewer=None)
    await world.known(cr)
    await world.quiet()
    assert world.telemetry.traces == []
    trace_id = "ab" * 16
    answer = await world.ask(
        "eli", "POST", f"/intake/v1/change-requests/{cr.id}/code-review",
        {"reviewed_at": (await world.now() - timedelta(hours=1)).isoformat()},
        headers={"traceparent": f"00-{trace_id}-{'12' * 8}-01"},
    )  # fmt: skip
    assert answer.status_code == 201, answer.text

    async def drafted() -> bool:
        return any(isinstance(event.data, BenchmarkDrafted) for event in await world.facts())

    await world.t.until("a draft", drafted)
    chain = (CodeReviewRecorded, ReviewRequested, BenchmarkDrafted)
    parents = {type(event.data): event.traceparent or "" for event in await world.facts() if type(event.data) in chain}
    assert [parents[kind].split("-")[1] for kind in chain] == [trace_id] * 3
    assert len(set(parents.values())) == 3  # each from a span of its own
    assert world.telemetry.traces and {parent.split("-")[1] for parent in world.telemetry.traces} == {trace_id}
