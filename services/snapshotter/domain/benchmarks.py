"""Which benchmark counts for a CR, who may publish one, and what speaks against one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from services.snapshotter.domain.pins import Pin
from services.snapshotter.domain.values import (
    ChangeRequest,
    Deployment,
    Observation,
    Snapshot,
    Window,
    benchmark_window,
)
from shared.access import subject
from shared.contracts import BenchmarkDoubted, BenchmarkHealth, Fact, ObservationKind, Policy, is_before
from shared.errors import Conflict, Forbidden, Invalid

#: What can speak against a benchmark: its own health, and that its window lies in a run that deviated, or still may.
Objection = Literal["gaps", "flat", "moved", "deviated", "observed"]

BenchmarkState = Literal["good", "stale", "expired", "deviated", "late", "missing"]

_OF_ITSELF: tuple[Objection, ...] = ("gaps", "flat", "moved")

#: Of a state like these a benchmark counts as far as this: it can show that something moved, never that nothing did.
WORN: frozenset[BenchmarkState] = frozenset({"stale", "expired", "deviated"})


@dataclass(frozen=True, slots=True)
class Standing:
    """The benchmark of a CR: the one that counts, what is to be said of it, and those that came too late.

    `good`: it counts (by `pin`, when there is one). `stale`, `expired` and `deviated` ones (`WORN`) can show that
    something moved, never that nothing did.
    """

    counts: Snapshot | None
    state: BenchmarkState
    sentence: str
    late: tuple[Snapshot, ...] = ()
    pin: Pin | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """That the run a benchmark was taken from has deviated since; not `holds`: that this was withdrawn.

    `sequence`: the product's version at which it was said.
    """

    product_id: str
    sequence: int
    snapshot_id: str
    observed: str
    deployment: int
    holds: bool
    sentence: str
    at: datetime


def open_doubt(doubts: Iterable[Doubt], of: Snapshot, pin: Pin | None, by: datetime) -> Doubt | None:
    """What was said against a benchmark by then, and still holds; a pin that was set after it has answered it."""
    last: dict[tuple[str, int], Doubt] = {}
    for each in sorted(doubts, key=lambda each: each.sequence):
        if each.snapshot_id == of.id and each.at <= by:
            last[each.observed, each.deployment] = each
    standing = [each for each in last.values() if each.holds and (pin is None or each.at >= pin.pinned_at)]
    return max(standing, key=lambda each: each.sequence, default=None)


def standing(
    benchmarks: Iterable[Snapshot],
    cr: ChangeRequest,
    *,
    deployed_at: datetime | None,
    now: datetime,
    max_age_h: float,
    pins: Iterable[Pin] = (),
    doubts: Iterable[Doubt] = (),
    doubted_by: datetime | None = None,
) -> Standing:
    """Which of `benchmarks` (of the CR or its product, and those that are pinned) counts.

    The last one published before the deploy; or the one that operations pinned before it, as long as the pin holds.
    When the pin has expired nothing takes its place by itself: only what is published after that, or another pin.
    One published or pinned by an author or deployer of this CR does not count: operations never act on what they made
    or deployed, and that may be heard later than the benchmark. One whose run deviated since is `deviated`, by what was
    known at the deploy; or by `doubted_by`: a verdict rests on nothing that is known to be wrong.
    """
    by, hands = deployed_at or now, frozenset(map(subject, cr.authors | cr.deployers))
    doubts, doubted_by = list(doubts), doubted_by or by
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
    late = tuple(b for b in others if not is_before(b.taken_at, deployed_at))
    before = [b for b in others if b not in late]
    pin, pinned, aside = _pinned(everything, pins, hands, deployed_at, now)
    if pin is not None and pinned is not None:
        if by < pin.expires_at:
            if doubt := open_doubt(doubts, pinned, pin, doubted_by):
                return Standing(pinned, "deviated", f"{doubt.sentence}; it is pinned by {pin.id}", late, pin)
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
    if doubt := open_doubt(doubts, found, None, doubted_by):
        return Standing(found, "deviated", f"{doubt.sentence}{aside}", late)
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
    set_before = [pin for pin in pins if pin.pinned_at <= by and is_before(pin.pinned_at, deployed_at)]
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
    """How long production ran on what deviated: from its deploy to the end of its look, or to its rollback.

    `found_at` None: it is still observed, and nobody can say yet. `fate`: what became of it else; one that was rolled back
    before its look never got an answer, and was hardly rolled back for being well.
    """

    cr_id: str
    deployment: int
    kind: ObservationKind
    starts_at: datetime
    ends_at: datetime
    found_at: datetime | None = None
    fate: str = "deviated"

    def meets(self, window: Window) -> bool:
        return self.starts_at < window.end and window.start < self.ends_at

    @property
    def named(self) -> str:
        return f"{self.cr_id} (deployment {self.deployment})"


def run_of(look: Observation, of: Deployment) -> Run | None:
    """The run that a look found to deviate, that it still looks at, or that a rollback took from it; None for others."""
    if look.deviated_at is None and look.is_open:
        return Run(look.cr_id, look.deployment, look.kind, look.starts_at, look.ends_at)
    found_at = look.deviated_at or (look.superseded_at if look.kind == "after" and look.is_cut_short else None)
    if found_at is None:
        return None
    if look.state == "superseded" and not look.is_cut_short:
        return None
    until = look.ends_at
    if look.kind == "after" and of.rolled_back_at is not None:
        until = of.rolled_back_at if look.is_cut_short else max(until, of.rolled_back_at)
    fate = "deviated" if look.deviated_at is not None else "was rolled back before its look"
    return Run(look.cr_id, look.deployment, look.kind, look.starts_at, until, found_at, fate)


def objections(health: BenchmarkHealth, window: Window, runs: Iterable[Run]) -> dict[Objection, str]:
    """What speaks against publishing this window, each with its sentence. A missing SLI does not: the gate names it."""
    found: dict[Objection, str] = {}
    for each in health.findings:
        if each.decides and each.code != "missing":
            found[each.code] = f"{found[each.code]}; {each.sentence}" if each.code in found else each.sentence
    inside = [run for run in runs if run.meets(window)]
    ended = [run for run in inside if run.found_at is not None]
    if fates := list(dict.fromkeys(run.fate for run in ended)):
        named_by = {fate: ", ".join(run.named for run in ended[:5] if run.fate == fate) for fate in fates}
        found["deviated"] = "; ".join(
            f"its window lies in what was observed of {named}, and that {fate}"
            for fate, named in named_by.items()
            if named
        )
    if observed := [run for run in inside if run.found_at is None]:
        named = ", ".join(f"{run.named}: the {run.kind} look ends {_said(run.ends_at)}" for run in observed[:5])
        found["observed"] = (
            f"its window lies in what is still observed of {named}; nobody knows yet whether it deviates"
        )
    return found


def doubts(
    benchmarks: Iterable[tuple[Snapshot, Mapping[str, str]]],
    runs: Iterable[Run],
    said: Iterable[Doubt],
    *,
    product_id: str,
    version: int,
    now: datetime,
) -> tuple[Doubt, ...]:
    """What is to be said of benchmarks, each with its `despite`: that the run it came from deviated, or no longer does.

    `said` so far. What was published knowing of the deviation, with a reason, is left alone. `version` of the product.
    """
    found = [run for run in runs if run.found_at is not None]
    wanted: dict[tuple[str, str, int], str] = {}
    for benchmark, despite in benchmarks:
        for run in found:
            is_answered = "deviated" in despite and run.found_at is not None and run.found_at <= benchmark.taken_at
            if run.meets(benchmark.window) and not is_answered:
                what = f"{benchmark.id} was taken while {run.named} was observed, and that {run.fate}"
                wanted[benchmark.id, run.cr_id, run.deployment] = what
    last: dict[tuple[str, str, int], Doubt] = {}
    for each in sorted(said, key=lambda each: each.sequence):
        last[each.snapshot_id, each.observed, each.deployment] = each
    standing = {at: each.sentence for at, each in last.items() if each.holds}
    changed = [(at, True, what) for at, what in wanted.items() if at not in standing]
    changed += [(at, False, "what spoke against it was withdrawn") for at in standing if at not in wanted]
    return tuple(
        Doubt(product_id, version + place, snapshot_id, observed, deployment, holds, sentence, now)
        for place, ((snapshot_id, observed, deployment), holds, sentence) in enumerate(sorted(changed), 1)
    )


def doubted(doubt: Doubt) -> Fact:
    return BenchmarkDoubted(
        product_id=doubt.product_id,
        snapshot_id=doubt.snapshot_id,
        observed=doubt.observed,
        deployment=doubt.deployment,
        holds=doubt.holds,
        sentence=doubt.sentence,
        at=doubt.at,
    )


def answered_before(despite: Mapping[str, str]) -> dict[Objection, str]:
    """Of what was answered when a benchmark was published: what its readings say of themselves, which does not change."""
    return {code: despite[code] for code in _OF_ITSELF if code in despite}


def clear_window(wanted: Window, runs: Iterable[Run], oldest: datetime) -> Window | None:
    """The newest 24 hours that no run meets, `wanted` or before it; None when they would end before `oldest`."""
    runs, found = list(runs), wanted
    while met := [run for run in runs if run.meets(found)]:
        found = benchmark_window(min(run.starts_at for run in met), wanted.step_s)
    return found if found.end >= oldest else None


def ways_out(wanted: Window, runs: Sequence[Run], known: Iterable[Snapshot], policy: Policy, now: datetime) -> str:
    """Where to find a benchmark when `runs` speak against a window: what there was before them. Empty when they do not.

    known  the product's benchmarks, newest first
    """
    if not any(run.meets(wanted) for run in runs):
        return ""
    ways = []
    if clear := clear_window(wanted, runs, now - timedelta(hours=policy.benchmark.max_age_h)):
        ways.append(
            f"publish the 24 hours before it instead: POST /snapshotter/v1/snapshots with"
            f' "window_end": "{clear.end:%Y-%m-%dT%H:%M:%SZ}"'
        )
    earlier = (each for each in known if each.window.end <= wanted.end)
    if before := next((each for each in earlier if not any(run.meets(each.window) for run in runs)), None):
        whose = f" of {before.cr_id}" if before.cr_id else ""
        ways.append(f"pin {before.id}{whose}, which was taken before it, for all changes: POST /snapshotter/v1/pins")
    return f" Or {'; or '.join(ways)}." if ways else ""


def window_until(end: datetime, policy: Policy, now: datetime) -> Window:
    """The 24 hours until the last whole step at `end`. Raises Invalid when they are not over, or stale already."""
    window, latest = benchmark_window(end, policy.observation.step_s), benchmark_window(now, policy.observation.step_s)
    age_h, reason = policy.benchmark.max_age_h, None
    if window.end > latest.end:
        reason = "the 24 hours must be over"
    elif now - window.end > timedelta(hours=age_h):
        reason = f"is more than {age_h:g} h ago: as the policy says, it would be stale at once"
    if reason is not None:
        raise Invalid("The window cannot be taken.", fields=[{"path": "body.window_end", "message": reason}])
    return window


def refuse_doubtful(found: Mapping[Objection, str], despite: Mapping[Objection, str], ways: str = "") -> dict[str, str]:
    """What is overridden, with the reason for each. Raises Conflict for what nobody answered, with `ways` out of it."""
    open_ = {code: sentence for code, sentence in found.items() if code not in despite}
    if open_:
        said = "; ".join(open_.values())
        raise Conflict(
            f"This speaks against it: {said[:1500]}. Publish another window, or say in `despite` why it may stand.{ways}",
            fields=[{"path": f"body.despite.{code}", "message": sentence[:500]} for code, sentence in open_.items()],
        )
    return {str(code): despite[code] for code in found}


def _said(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def refuse_outworn(draft: Snapshot, policy: Policy, now: datetime) -> None:
    """A draft that would be stale the moment it is published helps nobody. Raises Conflict."""
    age = now - draft.window.end
    if age > timedelta(hours=policy.benchmark.max_age_h):
        hours = age.total_seconds() / 3600
        raise Conflict(
            f"{draft.id} ended {hours:.0f} h ago; the policy allows {policy.benchmark.max_age_h:g} h. Draft it again."
        )
