"""Traces that join, metrics declared once, logs on one line: nothing lost or slowed when the collector is down."""

from shared.telemetry.logs import configure_logs, current_service
from shared.telemetry.metrics import METRICS, Metric
from shared.telemetry.service import Telemetry
from shared.telemetry.traces import current_traceparent, trace_headers

__all__ = [
    "METRICS",
    "Metric",
    "Telemetry",
    "configure_logs",
    "current_service",
    "current_traceparent",
    "trace_headers",
]
