"""Traces join over what is stored, each service counts for itself, nothing waits for a collector, no log is forged."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from sqlalchemy.ext.asyncio import create_async_engine

from shared.doors.limits import limits
from shared.doors.problems import problems
from shared.telemetry import METRICS, Telemetry, configure_logs, current_traceparent, trace_headers
from shared.telemetry.traces import from_traceparent

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(spans: InMemorySpanExporter) -> Iterator[Telemetry]:
    made = Telemetry("intake", version="1", processor=SimpleSpanProcessor(spans))
    yield made
    made.close()


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    out = io.StringIO()
    root, level = logging.getLogger(), logging.getLogger().level
    before = list(root.handlers)
    configure_logs(stream=out, plain=False)
    yield out
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_each_metric_appears_under_the_name_it_was_declared_with(telemetry: Telemetry) -> None:
    for metric in METRICS.values():
        labels = dict.fromkeys(metric.labels, "x")
        if metric.kind == "counter":
            telemetry.count(metric.name, 2, **labels)
        elif metric.kind == "gauge":
            telemetry.gauge(metric.name, 2, **labels)
        else:
            telemetry.observe(metric.name, 2, **labels)
    text = telemetry.metrics_text().decode()
    for metric in METRICS.values():
        assert f"# TYPE {metric.name} {metric.kind}\n" in text
    assert 'daymark_jobs_total{job="x",result="x"} 2.0' in text


def test_a_metric_is_what_it_was_declared_as(telemetry: Telemetry) -> None:
    with pytest.raises(KeyError):
        telemetry.count("daymark_unheard_of_total")
    with pytest.raises(TypeError):
        telemetry.count("daymark_outbox_unsent")
    with pytest.raises(TypeError):
        telemetry.count("daymark_jobs_total", change_request="CR-1")


def test_four_services_in_one_process_each_show_their_own_numbers() -> None:
    services = [Telemetry(name, version="1") for name in ("intake", "snapshotter", "incidents", "reviewer")]
    clients = []
    for n, each in enumerate(services):
        each.gauge("daymark_outbox_unsent", n)
        app = FastAPI(telemetry=each.for_fastapi(), openapi_url=None)
        app.add_api_route(f"/{each.service}/v1/things/{{id}}", _nothing)
        each.watch(app)
        clients.append(TestClient(app))
    for each, client in zip(services, clients, strict=True):
        client.get(f"/{each.service}/v1/things/CR-4711")
    for n, each in enumerate(services):
        text = each.metrics_text().decode()
        assert f"daymark_outbox_unsent {n}.0" in text
        assert f'service_name="{each.service}"' in text
        assert text.count("http_server_request_duration_seconds_count{") == 1
        assert f'http_route="/{each.service}/v1/things/{{id}}"' in text
        assert "CR-4711" not in text
        each.close()


async def _nothing(id: str) -> None:
    return None


def test_a_request_a_letter_and_its_hearer_are_one_trace(telemetry: Telemetry, spans: InMemorySpanExporter) -> None:
    app = FastAPI(telemetry=telemetry.for_fastapi(), openapi_url=None)

    @app.get("/things")
    async def things() -> str | None:
        return current_traceparent()

    stored = TestClient(app).get("/things", headers={"traceparent": PARENT}).json()
    with telemetry.span("send daymark.reviews", "producer", parent=stored):
        sent = trace_headers()["traceparent"]
    with telemetry.span("process daymark.reviews", "consumer", links=[sent, None, "garbage"]):
        pass
    request, send, process = spans.get_finished_spans()
    assert request.parent is not None and f"{request.parent.span_id:016x}" in PARENT
    assert request.kind is SpanKind.SERVER and request.name == "GET /things"
    assert send.parent is not None and send.parent.span_id == request.context.span_id
    assert send.context.trace_id == request.context.trace_id == int(PARENT[3:35], 16)
    assert [link.context.span_id for link in process.links] == [send.context.span_id]
    assert process.context.trace_id != send.context.trace_id


def test_probes_and_sign_in_links_leave_no_span(telemetry: Telemetry, spans: InMemorySpanExporter) -> None:
    client = TestClient(FastAPI(telemetry=telemetry.for_fastapi(), openapi_url=None))
    for path in ("/intake/healthz", "/intake/readyz", "/intake/metrics", "/sign-in?link=secret"):
        client.get(path)
    assert not spans.get_finished_spans()


def test_a_request_joins_the_trace_it_names_even_while_nothing_is_recorded() -> None:
    telemetry = Telemetry("intake", version="1")
    app = FastAPI(telemetry=telemetry.for_fastapi(), openapi_url=None)
    problems(app)
    limits(app)
    telemetry.watch(app)

    @app.get("/things")
    async def things() -> str | None:
        return current_traceparent()

    answer = TestClient(app).get("/things", headers={"traceparent": PARENT})
    assert answer.json()[3:35] == PARENT[3:35] == answer.headers["x-request-id"]
    assert TestClient(app).get("/things", headers=[(b"traceparent", b"\xff")]).json()[3:35] != PARENT[3:35]
    telemetry.close()


def test_without_a_collector_there_are_still_trace_ids_to_join_and_nothing_is_recorded() -> None:
    telemetry = Telemetry("intake", version="1")
    assert current_traceparent() is None and trace_headers() == {}
    with telemetry.span("outer") as outer:
        above = current_traceparent()
        with telemetry.span("inner"):
            inside = current_traceparent()
        assert not outer.is_recording()
    assert above is not None and inside is not None
    assert above[3:35] == inside[3:35]
    assert current_traceparent() is None
    telemetry.close()


@pytest.mark.parametrize(
    "written",
    ["", "x", PARENT.upper(), PARENT + "\n", PARENT[:-1], "00-" + "0" * 32 + "-" + "1" * 16 + "-01", PARENT * 100],
)
def test_a_traceparent_that_is_none_is_ignored(telemetry: Telemetry, written: str) -> None:
    assert from_traceparent(written) is None
    with telemetry.span("goes on", parent=written):
        assert current_traceparent() is not None


def test_an_error_marks_its_span_and_its_words_stay_out_of_it(
    telemetry: Telemetry, spans: InMemorySpanExporter
) -> None:
    with pytest.raises(ValueError), telemetry.span("broken"):
        raise ValueError("INSERT INTO secrets")
    (span,) = spans.get_finished_spans()
    assert span.attributes == {"error.type": "ValueError"} and not span.status.is_ok
    assert "secrets" not in span.to_json()


async def test_a_statement_is_a_span_of_the_service_whose_engine_it_is(
    telemetry: Telemetry, spans: InMemorySpanExporter
) -> None:
    other_spans = InMemorySpanExporter()
    other = Telemetry("reviewer", version="1", processor=SimpleSpanProcessor(other_spans))
    for each in (telemetry, other):
        engine = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
        each.watch_engine(engine)
        _run_a_statement_on(engine.sync_engine)
        await engine.dispose()
    other.close()
    for exporter, service in ((spans, "intake"), (other_spans, "reviewer")):
        (span,) = exporter.get_finished_spans()
        assert span.name.startswith("SELECT") and span.kind is SpanKind.CLIENT
        assert span.resource.attributes["service.name"] == service


def _run_a_statement_on(engine: Any) -> None:
    """What SQLAlchemy does around a cursor, without a server: contract tests have a real one."""
    context = SimpleNamespace()
    connection = SimpleNamespace(engine=engine)
    for listener in engine.dispatch.before_cursor_execute:
        listener(connection, None, "SELECT 1", (), context, False)
    for listener in engine.dispatch.after_cursor_execute:
        listener(connection, None, "SELECT 1", (), context, False)


def test_an_engine_is_left_alone_while_nothing_is_traced() -> None:
    telemetry = Telemetry("intake", version="1")
    engine = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    telemetry.watch_engine(engine)
    assert not list(engine.sync_engine.dispatch.before_cursor_execute)
    telemetry.close()


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A collector that takes connections and never answers: worse than one that is down."""
    server = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def take() -> None:
        while True:
            try:
                taken.append(server.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(2)
    for each in taken:
        each.close()


def test_a_collector_that_never_answers_slows_nothing_and_holds_no_shutdown(
    black_hole: str, lines: io.StringIO
) -> None:
    telemetry = Telemetry("intake", version="1", otlp_endpoint=black_hole)
    slowest = 0.0
    for _ in range(10_000):  # more than the queue holds
        started = time.perf_counter()
        with telemetry.span("work", attribute="x"):
            telemetry.count("daymark_jobs_total", job="x", result="done")
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < 1.0  # one answer of this collector would be 2 s
    started = time.perf_counter()
    telemetry.close()
    assert time.perf_counter() - started < 3.5
    telemetry.close()


def test_a_collector_that_is_down_is_said_once_a_minute_not_with_each_batch(lines: io.StringIO) -> None:
    for _ in range(5):
        logging.getLogger("opentelemetry.exporter").warning("Failed to export")
    assert lines.getvalue().count('Failed to export",') == 1


HOSTILE = [
    'x\n{"event": "forged", "level": "info"}',
    "x\r\nforged",
    "\x1b[31mred\x1b[0m",
    "\x9b31m",
    "a\u2028b\u2029c\x85d",
    "\u202eright to left",
    "\x00nul",
    "\ud800 alone",
    "${jndi:ldap://x}",
    "%s %d {0.__class__}",
    '"}, {"event": "forged"',
    "x" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_input_forges_a_line_or_reaches_a_terminal(lines: io.StringIO, text: str) -> None:
    log = structlog.get_logger("services.intake.api")
    log.info(text, value=text, key={"deep": [text]})
    logging.getLogger("uvicorn.error").warning("from outside: %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed")
    written = lines.getvalue()
    assert written.count("\n") == len(written.splitlines()) == 3
    assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) <= 0x9F or c in "\u2028\u2029\u202e" for c in written)
    first, second, third = map(json.loads, written.splitlines())
    assert first["level"] == "info" and first["service"] == "intake" and first["logger"] == "services.intake.api"
    assert second["event"].startswith("from outside") and second["level"] == "warning"
    assert "ValueError" in third["exception"] and third["level"] == "error"
    assert "forged" not in (first["level"], first["event"], second["event"])


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_lines_are_as_safe(text: str) -> None:
    out = io.StringIO()
    before = list(logging.getLogger().handlers)
    configure_logs(stream=out, plain=True)
    structlog.get_logger("x").info(text, value=text)
    logging.getLogger().handlers[:] = before
    structlog.reset_defaults()
    written = out.getvalue()
    assert written.count("\n") == 1
    for ours in ("\x1b[0m", "\x1b[2m"):
        written = written.replace(ours, "")
    assert written.rstrip("\n").isprintable()


def test_a_line_names_its_trace_and_span(lines: io.StringIO, telemetry: Telemetry) -> None:
    with telemetry.span("work") as span:
        structlog.get_logger("shared.db").info("inside")
    structlog.get_logger("shared.db").info("outside")
    inside, outside = map(json.loads, lines.getvalue().splitlines())
    assert inside["trace_id"] == f"{span.get_span_context().trace_id:032x}" and len(inside["span_id"]) == 16
    assert "trace_id" not in outside
    assert outside["at"].endswith("Z") and len(outside["at"]) == 24


def test_plumbing_logs_under_the_service_it_works_for(lines: io.StringIO, telemetry: Telemetry) -> None:
    other = Telemetry("reviewer", version="1")
    tasks: list[asyncio.Task[None]] = []

    async def relay() -> None:
        structlog.get_logger("shared.outbox").info("relay")

    @asynccontextmanager
    async def life(app: FastAPI) -> Any:
        tasks.append(asyncio.create_task(relay()))
        yield
        await tasks[0]

    app = FastAPI(telemetry=other.for_fastapi(), lifespan=life, openapi_url=None)
    other.watch(app)

    @app.get("/x")
    async def x() -> None:
        structlog.get_logger("shared.db").info("request")

    with TestClient(app) as client:
        client.get("/x")
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    said = {each["event"]: each["service"] for each in found if each["logger"].startswith("shared")}
    assert said == {"relay": "reviewer", "request": "reviewer"}
    other.close()
