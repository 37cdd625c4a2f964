"""Joining traces over what is stored between two halves: a letter in the outbox, an appointment on the agenda.

What is stored is a W3C `traceparent` and nothing more: 55 characters, `00-<32 hex>-<16 hex>-<2 hex>`.
"""

from __future__ import annotations

import random
import re

from opentelemetry import trace
from opentelemetry.trace import SpanContext, TraceFlags

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)


def current_traceparent() -> str | None:
    """Where we are, to be stored with a letter or sent with a request; None outside of any trace."""
    return to_traceparent(trace.get_current_span().get_span_context())


def to_traceparent(context: SpanContext) -> str | None:
    """The context in writing; None when it is of no trace."""
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def from_traceparent(written: str | None) -> SpanContext | None:
    """The context in a traceparent; None when there is none or it is not one, for a bad one must not lose a letter."""
    found = _TRACEPARENT.fullmatch(written) if written else None
    if found is None:
        return None
    context = SpanContext(
        trace_id=int(found[1], 16),
        span_id=int(found[2], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(found[3], 16) & TraceFlags.SAMPLED),
    )
    return context if context.is_valid else None


def begun(parent: SpanContext | None) -> SpanContext:
    """The context of a span that is not recorded: in the parent's trace, or in a new one."""
    return SpanContext(
        trace_id=parent.trace_id if parent is not None else random.getrandbits(128) or 1,  # no secret
        span_id=random.getrandbits(64) or 1,
        is_remote=False,
    )


def trace_headers() -> dict[str, str]:
    """The headers that join the next HTTP call to this trace; empty outside of any."""
    written = current_traceparent()
    return {"traceparent": written} if written else {}
