"""A statement in a real database is a span in the trace of the request that caused it."""

from __future__ import annotations

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from shared.telemetry import Telemetry


async def test_statements_of_two_services_are_spans_in_their_own_traces(database: str) -> None:
    url = database.replace("postgresql://", "postgresql+asyncpg://", 1)
    for service in ("intake", "reviewer"):
        spans = InMemorySpanExporter()
        telemetry = Telemetry(service, version="1", processor=SimpleSpanProcessor(spans))
        engine = create_async_engine(url)
        telemetry.watch_engine(engine)
        with telemetry.span("request", "server") as request:
            async with engine.begin() as connection:
                await connection.execute(text("SELECT 1 WHERE 'secret' = :s"), {"s": "secret"})
        await engine.dispose()
        (select,) = [span for span in spans.get_finished_spans() if span.name.startswith("SELECT")]
        assert select.parent is not None and select.parent.span_id == request.get_span_context().span_id
        assert select.resource.attributes["service.name"] == service
        assert "secret" not in str(select.attributes).replace("'secret' =", "")  # statements, never their values
        telemetry.close()
