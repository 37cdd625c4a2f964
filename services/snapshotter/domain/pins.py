"""A pin: operations' word that one benchmark holds for a product until a date, whatever is published meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.snapshotter.domain.fitting import FACT_LIST_BYTES, fitting_health, fitting_missing
from services.snapshotter.domain.values import Provenance, Snapshot
from shared.contracts import BenchmarkExpired, BenchmarkPinned, Fact
from shared.errors import Conflict, Invalid


@dataclass(frozen=True, slots=True)
class Pin:
    """`ended_at` with `ended_by`: operations took it off before it expired."""

    number: int
    product_id: str
    snapshot_id: str
    reason: str
    pinned_at: datetime
    pinned_by: str
    expires_at: datetime
    ended_at: datetime | None = None
    ended_by: str | None = None
    ended_because: str | None = None

    @property
    def id(self) -> str:
        return f"PIN-{self.number}"

    def holds_at(self, at: datetime) -> bool:
        return self.ended_at is None and self.pinned_at <= at < self.expires_at


def pin(
    number: int, benchmark: Snapshot, product_id: str, *, who: str, reason: str, expires_at: datetime,
    max_days: float, now: datetime, published: Provenance | None = None, despite: Mapping[str, str] | None = None,
) -> tuple[Pin, Fact]:  # fmt: skip
    """`published`: how the benchmark came to be; `despite`: what speaks against pinning it, answered.

    Raises Conflict for what is no benchmark of the product, Invalid for a date that no pin may have.
    """
    if benchmark.kind != "benchmark" or benchmark.product_id != product_id:
        raise Conflict(f"{benchmark.id} is a snapshot of kind {benchmark.kind} and no benchmark that {product_id} has.")
    if not now < expires_at <= now + timedelta(days=max_days):
        raise Invalid(
            f"A pin ends in the future, and at most {max_days:g} days from now, as the policy says.",
            fields=[{"path": "body.expires_at", "message": f"must be after now and within {max_days:g} days"}],
        )
    made = Pin(number, product_id, benchmark.id, reason, now, who, expires_at)
    return made, BenchmarkPinned(
        pin_id=made.id,
        product_id=product_id,
        snapshot_id=benchmark.id,
        content_hash=benchmark.content_hash,
        window_start=benchmark.window.start,
        window_end=benchmark.window.end,
        published_at=benchmark.taken_at,
        published_by=benchmark.taken_by,
        missing=fitting_missing(benchmark.missing, FACT_LIST_BYTES // 2),
        reason=reason,
        pinned_at=now,
        pinned_by=who,
        expires_at=expires_at,
        health=fitting_health(published.health, FACT_LIST_BYTES // 2) if published and published.health else None,
        origin=published.origin if published else None,
        corrects=published.corrects if published else None,
        despite={**(published.despite if published else {}), **(despite or {})},
    )


def end(held: Pin, *, who: str, reason: str, now: datetime) -> tuple[Pin, Fact]:
    """Take it off: the latest published benchmark counts again. Raises Conflict when it does not hold."""
    if not held.holds_at(now):
        raise Conflict(f"{held.id} does not hold any more.")
    ended = replace(held, ended_at=now, ended_by=who, ended_because=reason)
    return ended, BenchmarkExpired(
        pin_id=held.id,
        product_id=held.product_id,
        snapshot_id=held.snapshot_id,
        because="ended",
        reason=reason,
        by=who,
        at=now,
    )


def expire(held: Pin, *, who: str) -> Fact:
    """What is said when its time is over: once, at its own time, however late that is noticed."""
    return BenchmarkExpired(
        pin_id=held.id,
        product_id=held.product_id,
        snapshot_id=held.snapshot_id,
        because="expired",
        reason=f"it was pinned until {held.expires_at:%Y-%m-%d %H:%M} UTC",
        by=who,
        at=held.expires_at,
    )
