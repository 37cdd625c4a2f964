"""Which benchmark counts for a CR, who may publish one, and what speaks against one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from services.snapshotter.domain.pins import Pin
from services.snapshotter.domain.values import ChangeRequest, Deployment, Observation, Snapshot, Window
from shared.access import subject
from shared.contracts import BenchmarkHealth, Policy
from shared.errors import Conflict, Forbidden

#: What can speak against a benchmark: its own health, and that its window lies in a run that deviated.
Objection = Literal["gaps", "flat", "moved", "deviated"]

BenchmarkState = Literal["good", "stale", "expired", "late", "missing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The benchmark of a CR: the one that counts, what is to be said of it, and those that came too late.

    `good`: it counts (by `pin`, when there is one). `stale` and `expired` ones can show that something moved, never
    that nothing did.
    """

    counts: Snapshot | None
    state: BenchmarkState
    sentence: str
    late: tuple[Snapshot, ...] = ()
    pin: Pin | None = None


def standing(
    benchmarks: Iterable[Snapshot],
    cr: ChangeRequest,
    *,
    deployed_at: datetime | None,
    now: datetime,
    max_age_h: float,
    pins: Iterable[Pin] = (),
) -> Standing:
    """Which of `benchmarks` (of the CR or its product, and those that are pinned) counts.

    The last one published before the deploy; or the one that operations pinned before it, as long as the pin holds.
    When the pin has expired nothing takes its place by itself: only what is published after that, or another pin.
    One published or pinned by an author or deployer of this CR does not count: operations never act on what they made
    or deployed, and that may be heard later than the benchmark.
    """
    by, hands = deployed_at or now, frozenset(map(subject, cr.authors | cr.deployers))
    everything = list(benchmarks)
    known = sorted(
        (
            b
            for b in everything
            if b.kind == "benchmark" and (b.cr_id == cr.id or (b.cr_id is None and b.product_id == cr.product_id))
        ),
        key=lambda b: (b.taken_at, b.number),
    )
    own = [b for b in known if subject(b.taken_by) in hands]
    others = [b for b in known if b not in own]
    late = tuple(b for b in others if deployed_at is not None and b.taken_at >= deployed_at)
    before = [b for b in others if b not in late]
    pin, pinned, aside = _pinned(everything, pins, hands, deployed_at, now)
    if pin is not None and pinned is not None:
        if by < pin.expires_at:
            until = f"{pinned.id}, pinned by {pin.pinned_by} until {pin.expires_at:%Y-%m-%d %H:%M} UTC"
            return Standing(pinned, "good", until, late, pin)
        before = [b for b in before if b.taken_at > pin.expires_at]
        if not before:
            ended = f"{pinned.id} was pinned until {pin.expires_at:%Y-%m-%d %H:%M} UTC, and none was published since"
            return Standing(pinned, "expired", ended, late, pin)
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
        old = f"{found.id} was {age_h:.0f} h old; the policy allows {max_age_h:g} h{aside}"
        return Standing(found, "stale", old, late)
    return Standing(found, "good", f"{found.id}, {max(0.0, age_h):.1f} h old{aside}", late)


def _pinned(
    benchmarks: Iterable[Snapshot],
    pins: Iterable[Pin],
    hands: frozenset[str],
    deployed_at: datetime | None,
    now: datetime,
) -> tuple[Pin | None, Snapshot | None, str]:
    """The last pin set before the deploy that was not ended by then, its benchmark, and a word on one left aside."""
    by = deployed_at or now
    set_before = [pin for pin in pins if (pin.pinned_at < by if deployed_at else pin.pinned_at <= by)]
    last = max(set_before, key=lambda pin: (pin.pinned_at, pin.number), default=None)
    if last is None or (last.ended_at is not None and last.ended_at <= by):
        return None, None, ""
    found = next((b for b in benchmarks if b.id == last.snapshot_id and b.kind == "benchmark"), None)
    mine = next((who for who in (last.pinned_by, found.taken_by if found else "") if subject(who) in hands), None)
    if found is None or mine is not None:
        return None, None, f"; {last.id} does not hold for it: {mine} authored or deployed it" if mine else ""
    return last, found, ""


def refuse_own(cr: ChangeRequest, who: str) -> None:
    """Operations may not publish for a CR that they authored or deployed. Raises Forbidden."""
    for people, did in ((cr.authors, "authored"), (cr.deployers, "deployed")):
        if subject(who) in map(subject, people):
            raise Forbidden(f"{who} {did} {cr.id}; somebody else of operations publishes its benchmark.")


# -- what speaks against one ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """How long production ran on what deviated: from its deploy to the end of its look, or to its rollback."""

    cr_id: str
    deployment: int
    starts_at: datetime
    ends_at: datetime


def deviated_run(look: Observation, of: Deployment) -> Run | None:
    """The run that a look found to deviate; None when it did not, or when that no longer holds."""
    if look.outcome != "moved" and look.deviation_id is None:
        return None
    if look.state == "superseded" and not look.is_cut_short:
        return None
    until = look.ends_at
    if look.kind == "after" and of.rolled_back_at is not None:
        until = of.rolled_back_at if look.is_cut_short else max(until, of.rolled_back_at)
    return Run(look.cr_id, look.deployment, look.starts_at, until)


def objections(health: BenchmarkHealth, window: Window, runs: Iterable[Run]) -> dict[Objection, str]:
    """What speaks against publishing this window, each with its sentence. A missing SLI does not: the gate names it."""
    found: dict[Objection, str] = {}
    for each in health.findings:
        if each.decides and each.code != "missing":
            found[each.code] = f"{found[each.code]}; {each.sentence}" if each.code in found else each.sentence
    inside = [run for run in runs if run.starts_at < window.end and window.start < run.ends_at]
    if inside:
        named = ", ".join(f"{run.cr_id} (deployment {run.deployment})" for run in inside[:5])
        found["deviated"] = f"its window lies in what was observed of {named}, and that deviated"
    return found


def refuse_doubtful(found: Mapping[Objection, str], despite: Mapping[Objection, str]) -> dict[str, str]:
    """What is overridden, with the reason for each. Raises Conflict for what nobody answered."""
    open_ = {code: sentence for code, sentence in found.items() if code not in despite}
    if open_:
        said = "; ".join(open_.values())
        raise Conflict(
            f"This speaks against it: {said}. Publish another window, or say in `despite` why it may stand."[:2000],
            fields=[{"path": f"body.despite.{code}", "message": sentence[:500]} for code, sentence in open_.items()],
        )
    return {str(code): despite[code] for code in found}


def refuse_outworn(draft: Snapshot, policy: Policy, now: datetime) -> None:
    """A draft that would be stale the moment it is published helps nobody. Raises Conflict."""
    age = now - draft.window.end
    if age > timedelta(hours=policy.benchmark.max_age_h):
        hours = age.total_seconds() / 3600
        raise Conflict(
            f"{draft.id} ended {hours:.0f} h ago; the policy allows {policy.benchmark.max_age_h:g} h. Draft it again."
        )
