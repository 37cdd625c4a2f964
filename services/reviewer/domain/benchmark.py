"""The benchmark of a change: which one counts, by which pin, in what health; and a draft that waits to become one.

The snapshotter decides the same from the same facts, for its verdicts; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from services.reviewer.domain.known import Facts, Known
from shared.access import person, subject
from shared.contracts import (
    BenchmarkDoubted,
    BenchmarkDrafted,
    BenchmarkExpired,
    BenchmarkHealth,
    BenchmarkPinned,
    BenchmarkPublished,
    CRChanged,
    CRDeployed,
    CRRegistered,
    MissingSLI,
    Policy,
    is_before,
)

BenchmarkState = Literal["counts", "missing", "stale", "expired", "deviated", "late"]


@dataclass(frozen=True)
class Pinned:
    """Operations' word that this benchmark holds for the whole product until a date."""

    pin_id: str
    pinned_by: str
    pinned_at: datetime
    expires_at: datetime
    reason: str


@dataclass(frozen=True)
class Draft:
    """Readings that operations may publish; they satisfy nothing until then."""

    snapshot_id: str
    drafted_at: datetime
    drafted_by: str
    origin: str
    health: BenchmarkHealth


@dataclass(frozen=True)
class Benchmark:
    """The snapshot that the after window will be held against. `late`: published after the deploy, so it never counts.

    `deviated`: it was taken from a run that has deviated since, and nobody answered for it anew.
    """

    state: BenchmarkState
    sentence: str
    snapshot_id: str | None = None
    content_hash: str | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    published_at: datetime | None = None
    published_by: str | None = None
    missing: tuple[MissingSLI, ...] = ()  #: SLIs it has no data for
    missing_deciding: tuple[str, ...] = ()  #: those of them that decide
    pin: Pinned | None = None  #: by which it counts, or which has expired
    health: BenchmarkHealth | None = None  #: what its own readings say of it
    despite: tuple[tuple[str, str], ...] = ()  #: what spoke against it, and why it stands all the same
    corrects: str | None = None
    origin: str | None = None
    draft: Draft | None = None  #: a newer one that waits to be published


def own_hands(facts: Facts, *, before: int | None = None) -> dict[str, str]:
    """Who (by subject) authored (at any revision) or deployed the change, and which: their benchmarks do not count.

    `before`: a deployment; it and later ones are left out.
    """
    deploys = [fact.data for fact in facts.of(CRDeployed) if before is None or fact.data.deployment < before]
    found = {subject(deploy.deployer): "deployed" for deploy in deploys}
    said = (*facts.of(CRRegistered), *facts.of(CRChanged))
    return found | {subject(fact.data.author): "authored" for fact in said}


def benchmark(
    facts: Facts,
    later: Facts,
    hands: Mapping[str, str],
    cr_id: str,
    product_id: str,
    policy: Policy | None,
    moment: datetime,
    *,
    is_deploy: bool = False,
) -> Benchmark:
    """The benchmark that counts at `moment`: the pinned one of the product, or the latest published before it.

    `is_deploy`: the moment is a deploy's, and what came at it is late. `later`: everything known by now. What any of
    `hands` published or pinned is passed over, as the snapshotter passes over it: operations never act on what they made
    or deployed. When a pin has expired nothing takes its place by itself: only what was published after that.
    """
    known = [fact for fact in later.of(BenchmarkPublished) if fact.data.subject in (cr_id, product_id)]
    others = [fact for fact in known if subject(fact.data.published_by) not in hands]
    deployed_at = moment if is_deploy else None
    said = {
        fact.event_id
        for fact in facts.of(BenchmarkPublished)
        if fact.data.published_at <= moment and is_before(fact.data.published_at, deployed_at)
    }
    before = [fact for fact in others if fact.event_id in said]
    found: Benchmark | None = None
    pin = _pin(facts, hands, moment, deployed_at)
    if pin is not None:
        if moment < pin.expires_at:
            doubt = _doubt(facts, pin.snapshot_id, pin)
            found = _of_pin(pin, policy, "deviated" if doubt else "counts", doubt)
        else:
            before = [fact for fact in before if fact.data.published_at > pin.expires_at]
            if not before:
                sentence = f"The benchmark {pin.snapshot_id} was pinned until {pin.expires_at:%Y-%m-%d %H:%M} UTC."
                found = _of_pin(pin, policy, "expired", f"{sentence} Nothing was published since.")
    if found is None:
        found = _published(facts, before, others, known, hands, cr_id, policy, moment)
    return replace(found, draft=_draft(facts, (cr_id, product_id), known, found))


def _latest(among: Iterable[Known[BenchmarkPublished]]) -> Known[BenchmarkPublished] | None:
    return max(among, key=lambda fact: (fact.data.published_at, _number(fact.data.snapshot_id)), default=None)


def _number(snapshot_id: str) -> tuple[int, str]:
    """Snapshots are numbered: SNAP-10 comes after SNAP-9."""
    return len(snapshot_id), snapshot_id


def _published(
    facts: Facts,
    before: list[Known[BenchmarkPublished]],
    others: list[Known[BenchmarkPublished]],
    known: list[Known[BenchmarkPublished]],
    hands: Mapping[str, str],
    cr_id: str,
    policy: Policy | None,
    moment: datetime,
) -> Benchmark:
    """The latest published one, in whichever state; or what is to be said when none counts."""
    last = _latest(before)
    if last is None:
        after, own = _latest(others), _latest(known)
        if after is None and own is not None:
            who = person(own.data.published_by)
            return _of(
                own.data,
                policy,
                "missing",
                f"{own.data.snapshot_id} was published by {who}, who {hands[subject(who)]} {cr_id}: it does not count.",
            )
        if after is None:
            return Benchmark("missing", "No benchmark was published for this change or its product.")
        sentence = f"The benchmark {after.data.snapshot_id} came after the deploy; it cannot count."
        return _of(after.data, policy, "late", sentence)
    data = last.data
    if doubt := _doubt(facts, data.snapshot_id, None):
        return _of(data, policy, "deviated", doubt)
    max_age_h = policy.benchmark.max_age_h if policy is not None else None
    age_h = (moment - data.window_end).total_seconds() / 3600
    if max_age_h is not None and age_h > max_age_h:
        sentence = f"The benchmark {data.snapshot_id} is {age_h:.0f} hours old; at most {max_age_h:g} count."
        return _of(data, policy, "stale", sentence)
    return _of(data, policy, "counts", "")


def _doubt(facts: Facts, snapshot_id: str, pin: BenchmarkPinned | None) -> str:
    """What was said against the benchmark and still holds, if anything; a pin that was set after it has answered it."""
    last: dict[tuple[str, int], BenchmarkDoubted] = {}
    for fact in facts.of(BenchmarkDoubted):  # of one snapshot, in the order of its product's version
        if fact.data.snapshot_id == snapshot_id:
            last[fact.data.observed, fact.data.deployment] = fact.data
    standing = [each for each in last.values() if each.holds and (pin is None or each.at >= pin.pinned_at)]
    newest = max(standing, key=lambda each: (each.at, each.observed, each.deployment), default=None)
    return "" if newest is None else f"The benchmark is from a run that deviated: {newest.sentence}."


def _pin(
    facts: Facts, hands: Mapping[str, str], moment: datetime, deployed_at: datetime | None
) -> BenchmarkPinned | None:
    """The last pin that was set by `moment`, unless it was ended by then, or is a hand's of this change."""
    pins = [
        fact
        for fact in facts.of(BenchmarkPinned)
        if fact.data.pinned_at <= moment and is_before(fact.data.pinned_at, deployed_at)
    ]
    last = max(pins, key=lambda fact: (fact.data.pinned_at, fact.sequence, fact.event_id), default=None)
    if last is None or hands.keys() & {subject(last.data.pinned_by), subject(last.data.published_by)}:
        return None
    ends = [fact.data for fact in facts.of(BenchmarkExpired) if fact.data.pin_id == last.data.pin_id]
    return None if any(end.because == "ended" and end.at <= moment for end in ends) else last.data


def _draft(
    facts: Facts, subjects: tuple[str, str], known: list[Known[BenchmarkPublished]], found: Benchmark
) -> Draft | None:
    """The newest draft, when it is newer than what counts and was not published."""
    drafts = [fact for fact in facts.of(BenchmarkDrafted) if fact.data.subject in subjects]
    last = max(drafts, key=lambda fact: (fact.data.drafted_at, fact.aggregate, fact.sequence), default=None)
    if last is None or any(fact.data.draft_id == last.data.snapshot_id for fact in known):
        return None
    data = last.data
    if found.window_end is not None and data.window_end <= found.window_end:
        return None
    return Draft(data.snapshot_id, data.drafted_at, data.drafted_by, data.origin, data.health)


def _of(data: BenchmarkPublished, policy: Policy | None, state: BenchmarkState, sentence: str) -> Benchmark:
    deciding = _deciding(data.missing, policy)
    if not sentence and deciding:
        sentence = f"The benchmark {data.snapshot_id} has no data for {', '.join(deciding)}."
    return Benchmark(
        state,
        sentence,
        data.snapshot_id,
        data.content_hash,
        data.window_start,
        data.window_end,
        data.published_at,
        data.published_by,
        tuple(sorted(data.missing, key=lambda each: each.sli)),
        deciding,
        None,
        data.health,
        tuple(sorted(data.despite.items())),
        data.corrects,
        data.origin,
    )


def _of_pin(pin: BenchmarkPinned, policy: Policy | None, state: BenchmarkState, sentence: str) -> Benchmark:
    """A pinned one may have been published for another CR, whose facts are not here: the pin says what matters."""
    deciding = _deciding(pin.missing, policy)
    if not sentence and deciding:
        sentence = f"The benchmark {pin.snapshot_id} has no data for {', '.join(deciding)}."
    return Benchmark(
        state,
        sentence,
        pin.snapshot_id,
        pin.content_hash,
        pin.window_start,
        pin.window_end,
        pin.published_at,
        pin.published_by,
        tuple(sorted(pin.missing, key=lambda each: each.sli)),
        deciding,
        Pinned(pin.pin_id, pin.pinned_by, pin.pinned_at, pin.expires_at, pin.reason),
        pin.health,
        tuple(sorted(pin.despite.items())),
        pin.corrects,
        pin.origin,
    )


def _deciding(missing: Iterable[MissingSLI], policy: Policy | None) -> tuple[str, ...]:
    shadows = {sli.id for sli in policy.slis if sli.shadow} if policy is not None else set()
    return tuple(sorted(each.sli for each in missing if each.sli not in shadows))
