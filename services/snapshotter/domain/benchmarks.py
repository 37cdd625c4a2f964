"""Which benchmark counts for a CR, and who may publish one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.snapshotter.domain.values import ChangeRequest, Snapshot
from shared.errors import Forbidden

BenchmarkState = Literal["good", "stale", "late", "missing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The benchmark of a CR: the one that counts, what is to be said of it, and those that came too late."""

    counts: Snapshot | None
    state: BenchmarkState
    sentence: str
    late: tuple[Snapshot, ...] = ()


def standing(
    benchmarks: Iterable[Snapshot], cr: ChangeRequest, *, deployed_at: datetime | None, now: datetime, max_age_h: float
) -> Standing:
    """Which of `benchmarks` (of the CR or its product) counts: the last one published before the deploy.

    One published by an author or deployer of this CR does not: operations never act on what they made or deployed,
    and that may be heard later than the benchmark.
    """
    by = deployed_at or now
    known = sorted(
        (
            b
            for b in benchmarks
            if b.kind == "benchmark" and (b.cr_id == cr.id or (b.cr_id is None and b.product_id == cr.product_id))
        ),
        key=lambda b: (b.taken_at, b.id),
    )
    own = [b for b in known if b.taken_by in cr.authors | cr.deployers]
    others = [b for b in known if b not in own]
    late = tuple(b for b in others if deployed_at is not None and b.taken_at >= deployed_at)
    before = [b for b in others if b not in late]
    if not before:
        if late:
            return Standing(None, "late", f"{late[0].id} was published after the deploy: it satisfies nothing", late)
        if own:
            why = (
                f"{own[-1].id} was published by {own[-1].taken_by}, who authored or deployed {cr.id}: it does not count"
            )
            return Standing(None, "missing", why)
        return Standing(None, "missing", "no benchmark was published" + (" before the deploy" if deployed_at else ""))
    found = before[-1]
    age_h = (by - found.window.end).total_seconds() / 3600
    if age_h > max_age_h:
        return Standing(found, "stale", f"{found.id} was {age_h:.0f} h old; the policy allows {max_age_h:g} h", late)
    return Standing(found, "good", f"{found.id}, {max(0.0, age_h):.1f} h old", late)


def refuse_own(cr: ChangeRequest, who: str) -> None:
    """Operations may not publish for a CR that they authored or deployed. Raises Forbidden."""
    for people, did in ((cr.authors, "authored"), (cr.deployers, "deployed")):
        if who in people:
            raise Forbidden(f"{who} {did} {cr.id}; somebody else of operations publishes its benchmark.")
