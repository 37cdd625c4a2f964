"""What one service says about itself: its own providers, its own registry, so that four can live in one process.

Without `otlp_endpoint` nothing is recorded or sent, and still every request has a trace id, which joins logs and
letters. With one, spans and metrics leave in batches from threads of their own; what a dead collector does not take
is dropped, and no request waits for it.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.metrics import _Gauge as Gauge
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.clock import monotonic_s
from shared.telemetry.logs import current_service, named
from shared.telemetry.metrics import DURATION_BUCKETS, METRICS, Metric
from shared.telemetry.traces import begun, from_traceparent

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

Kind = Literal["internal", "server", "client", "producer", "consumer"]
_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_DURATION = "http.server.request.duration"
# FastAPI measures three times for each request; the one that is looked at stays, with the labels that are looked at.
_VIEWS = (
    View(instrument_name="http.server.active_requests", aggregation=DropAggregation()),
    View(
        instrument_name=_DURATION,
        attribute_keys={"http.request.method", "http.route", "http.response.status_code", "error.type"},
    ),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
# Asked every few seconds, and told nothing by it; and a sign-in link, whose query is a secret that no span may hold.
_UNTRACED = ("/healthz", "/readyz", "/metrics", "/version", "/sign-in")
_EXPORT_TIMEOUT_S = 2.0
_EXPORT_EVERY_S = 2.0
_METRICS_EVERY_S = 15.0


class Telemetry:
    """Traces and metrics of one service.

    `FastAPI(telemetry=telemetry.for_fastapi())`, then `telemetry.watch(app)`; `telemetry.watch_engine(engine)` for the
    database; `count`, `gauge`, `observe` and `span` in the plumbing; `close()` last, bounded to 3 s.

    `otlp_endpoint` is the collector's base URL (`http://127.0.0.1:4318`). `sampled_share`, 0..1, is the share of traces
    begun here that are recorded; one begun elsewhere keeps its decision. `processor` is for tests.
    """

    def __init__(
        self,
        service: str,
        *,
        version: str,
        otlp_endpoint: str | None = None,
        sampled_share: float = 1.0,
        instance: str | None = None,
        processor: SpanProcessor | None = None,
    ) -> None:
        self.service = service
        self.is_tracing = otlp_endpoint is not None or processor is not None
        self.registry = CollectorRegistry()
        named(service)
        resource = Resource.create(
            {
                "service.namespace": "daymark",
                "service.name": service,
                "service.version": version,
                "service.instance.id": instance or f"{socket.gethostname()}-{secrets.token_hex(4)}",
            }
        )
        self._exporters: tuple[OTLPSpanExporter | OTLPMetricExporter, ...] = ()
        sampler = ParentBased(TraceIdRatioBased(sampled_share)) if self.is_tracing else ALWAYS_OFF
        self.tracer_provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        readers: list[MetricReader] = [PrometheusMetricReader(scope_info_enabled=False, registry=self.registry)]
        if processor is not None:
            self.tracer_provider.add_span_processor(processor)
        if otlp_endpoint is not None:
            # Here, because most processes have nowhere to send to: a tenth of a start.
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            base = otlp_endpoint.rstrip("/")
            spans = OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=_EXPORT_TIMEOUT_S)
            numbers = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=_EXPORT_TIMEOUT_S)
            self._exporters = (spans, numbers)
            self.tracer_provider.add_span_processor(
                BatchSpanProcessor(
                    spans, max_queue_size=4096, max_export_batch_size=512, schedule_delay_millis=_EXPORT_EVERY_S * 1000
                )
            )
            readers.append(
                PeriodicExportingMetricReader(
                    numbers,
                    export_interval_millis=_METRICS_EVERY_S * 1000,
                    export_timeout_millis=_EXPORT_TIMEOUT_S * 1000,
                )
            )
        self.meter_provider = MeterProvider(
            metric_readers=readers,
            resource=resource,
            views=_VIEWS,
            exemplar_filter=AlwaysOffExemplarFilter(),  # their price is paid by each measurement
            shutdown_on_exit=False,
        )
        self.tracer = self.tracer_provider.get_tracer("daymark", version)
        self._meter = self.meter_provider.get_meter("daymark", version)
        self._instruments: dict[str, Counter | Gauge | Histogram] = {}
        self._is_closed = False

    # --- what an app needs

    def for_fastapi(self) -> TelemetryConfig:
        """The value of `FastAPI(telemetry=...)`: its own spans and metrics go to the providers of this service."""
        return {
            "tracer_provider": self.tracer_provider,
            "meter_provider": self.meter_provider,
            # Off, `watch` gives requests their trace ids and measures them, at a tenth of the price.
            "tracing": self.is_tracing,
            "metrics": self.is_tracing,
            "logs": False,  # ours are structlog's
            "operation_spans": False,  # three more spans for each request, of no use here
            "auto_configure": False,  # the environment must not add exporters behind our back
            "exclude": _is_untraced,
        }

    def watch(self, app: FastAPI) -> None:
        """Name this service in every log line written on behalf of `app`, its lifespan's tasks included.

        Call it last, so that it is outermost; and while nothing is traced, it is what gives each request a trace id and
        measures how long it takes, as FastAPI does otherwise.
        """
        duration = None
        if not self.is_tracing:
            duration = self._meter.create_histogram(
                _DURATION,
                "s",
                "Duration of HTTP server requests.",
                explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
            )
        app.user_middleware.insert(0, Middleware(_Watch, service=self.service, duration=duration))

    def watch_engine(self, engine: AsyncEngine) -> None:
        """A span for each statement on `engine`, while tracing is on. (Off, it would only cost.)

        Not by SQLAlchemyInstrumentor: it is one for the whole process, knows one provider, refuses SQLAlchemy 2.1
        unless told not to look, and ignores all calls but the first.
        """
        if self.is_tracing:
            from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer  # as the exporters, above

            usage = self._meter.create_up_down_counter("db.client.connections.usage", unit="{connection}")
            EngineTracer(self.tracer, engine.sync_engine, usage)  # type: ignore[no-untyped-call]

    # --- numbers

    def count(self, name: str, n: float = 1, **labels: str) -> None:
        """Add `n` to a counter of `METRICS`."""
        instrument = self._instrument(name, "counter", labels)
        assert isinstance(instrument, Counter)
        instrument.add(n, labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Say what a gauge of `METRICS` is now."""
        instrument = self._instrument(name, "gauge", labels)
        assert isinstance(instrument, Gauge)
        instrument.set(value, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put one measurement into a histogram of `METRICS`."""
        instrument = self._instrument(name, "histogram", labels)
        assert isinstance(instrument, Histogram)
        instrument.record(value, labels)

    def metrics_text(self) -> bytes:
        """What Prometheus reads, of this service alone."""
        return generate_latest(self.registry)

    def _instrument(self, name: str, kind: str, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        metric = METRICS[name]
        if metric.kind != kind or not labels.keys() <= set(metric.labels):
            raise TypeError(f"{name} is declared as a {metric.kind} with the labels {metric.labels}")
        found = self._instruments.get(name)
        if found is None:
            found = self._instruments[name] = self._made(metric)
        return found

    def _made(self, metric: Metric) -> Counter | Gauge | Histogram:
        # The exporter puts `_total` and the unit at the end of the name, which the declared name has already.
        name, unit, what = metric.name.removesuffix("_total"), metric.unit, metric.description
        if metric.kind == "counter":
            return self._meter.create_counter(name, unit, what)
        if metric.kind == "gauge":
            return self._meter.create_gauge(name, unit, what)
        return self._meter.create_histogram(name, unit, what, explicit_bucket_boundaries_advisory=DURATION_BUCKETS)

    # --- traces

    @contextlib.contextmanager
    def span(
        self,
        name: str,
        kind: Kind = "internal",
        *,
        parent: str | None = None,
        links: Iterable[str | None] = (),
        **attributes: str | int | float | bool,
    ) -> Iterator[Span]:
        """A span around the block, which becomes the current one. An exception marks it and goes on.

        `parent` is a stored traceparent; without it the current span is the parent, if any. `links` are the
        traceparents of what is worked on together (a batch). A name is few-valued: `process daymark.reviews`.
        """
        above = from_traceparent(parent)
        span: Span
        if self.is_tracing:
            context = trace.set_span_in_context(NonRecordingSpan(above)) if above is not None else None
            found = [Link(each) for each in map(from_traceparent, links) if each is not None]
            span = self.tracer.start_span(name, context, _KINDS[kind], attributes, found)
        else:
            span = NonRecordingSpan(begun(above or _here()))
        token = otel_context.attach(trace.set_span_in_context(span))
        try:
            yield span
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(Status(StatusCode.ERROR))  # the words of an error may quote rows; they go to the log
            raise
        finally:
            otel_context.detach(token)
            span.end()

    # --- the end

    def close(self, timeout_s: float = 3.0) -> None:
        """Send what is left if that takes no longer than `timeout_s`, and stop. Blocks so long; safe to call twice."""
        if self._is_closed:
            return
        self._is_closed = True
        # In threads of our own: the providers wait for their exporters, and these try again for as long as they please.
        threads = [
            threading.Thread(target=_quietly, args=(each,), daemon=True)
            for each in (self.tracer_provider.shutdown, self.meter_provider.shutdown)
        ]
        for thread in threads:
            thread.start()
        until = monotonic_s() + timeout_s
        for thread in threads:
            thread.join(max(0.0, until - timeout_s * 2 / 3 - monotonic_s()))
        if any(thread.is_alive() for thread in threads):
            for exporter in self._exporters:
                _quietly(exporter.shutdown)  # no further tries: the one under way ends within its own time limit
        for thread in threads:
            thread.join(max(0.0, until - monotonic_s()))


def _quietly(close: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):
        close()


def _is_untraced(scope: MutableMapping[str, Any]) -> bool:
    return str(scope.get("path", "")).endswith(_UNTRACED)


def _here() -> SpanContext | None:
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid else None


class _Watch:
    """Sets whose service a task belongs to (tasks started in it inherit that); with `duration`, joins traces and measures."""

    def __init__(self, app: ASGIApp, service: str, duration: Histogram | None) -> None:
        self.app, self.service, self.duration = app, service, duration

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = current_service.set(self.service)
        try:
            if self.duration is not None and scope["type"] == "http":
                await self._measured(self.duration, scope, receive, send)
            else:
                await self.app(scope, receive, send)
        finally:
            current_service.reset(service)  # who calls us without a server goes on under its own name

    async def _measured(self, duration: Histogram, scope: Scope, receive: Receive, send: Send) -> None:
        said = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        context = begun(from_traceparent(said.decode("latin-1")))
        token = otel_context.attach(trace.set_span_in_context(NonRecordingSpan(context)))
        method = scope["method"]
        labels: dict[str, str | int] = {"http.request.method": method if method in _METHODS else "_OTHER"}
        began_s = monotonic_s()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                labels["http.response.status_code"] = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            if not _is_untraced(scope):
                if route := getattr(scope.get("route"), "path", None):
                    labels["http.route"] = route
                status = labels.get("http.response.status_code")
                if not isinstance(status, int) or status >= 500:
                    labels["error.type"] = str(status or "incomplete")
                duration.record(monotonic_s() - began_s, labels)
            otel_context.detach(token)
