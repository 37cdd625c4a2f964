"""What a look says of each SLI."""

from __future__ import annotations

from typing import Any

from shared.contracts import (
    ComparedSLI,
)

MOVED = "Settlement latency p99 moved: 181 -> 264 ms; a shift of 27.2 would have counted"


def compared(
    sli: str, title: str, unit: str, before: float, after: float, limit: float, outcome: str, **more: Any
) -> ComparedSLI:
    word = "moved" if outcome == "moved" else "stayed"
    said: dict[str, Any] = {
        "sentence": f"{title} {word}: {before:g} -> {after:g} {unit}; a shift of {limit:g} would have counted",
        "decides": True,
        "severity": "critical",
        "effect_relative": (after - before) / before,
        **more,
    }
    return ComparedSLI(
        sli=sli,
        title=title,
        unit=unit,
        outcome=outcome,
        before=before,
        after=after,
        limit=limit,
        **said,
    )


def steady() -> tuple[ComparedSLI, ...]:
    return (
        compared("latency-p99", "Settlement latency p99", "ms", 181.0, 183.0, 27.2, "steady"),
        compared("error-rate", "Failed settlements", "%", 0.12, 0.11, 0.05, "steady"),
        compared("throughput", "Settled messages", "msg/s", 842.0, 851.0, 126.0, "steady", severity="major"),
    )


def moved() -> tuple[ComparedSLI, ...]:
    latency = compared("latency-p99", "Settlement latency p99", "ms", 181.0, 264.0, 27.2, "moved", view="level")
    return (latency, *steady()[1:])
