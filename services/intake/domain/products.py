"""A product is its policy. Making it stricter takes one release manager, making it looser takes two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from shared.access import subject
from shared.contracts import SLI, Clock, Enforcement, Fact, Policy, ProductChanged

_LADDER: tuple[Enforcement, ...] = ("observe", "advise", "enforce")
_GRAVITY = ("minor", "major", "critical")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A looser policy that waits for a second release manager to put the same document."""

    policy: Policy
    loosens: tuple[str, ...]
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Product:
    """A product under the policy in force. `version` is raised by every change; `policy_version` is the content hash."""

    id: str
    policy: Policy
    policy_version: str
    version: int
    changed_at: datetime
    changed_by: str
    proposal: Proposal | None = None


def put_policy(product: Product | None, policy: Policy, by: str, now: datetime) -> tuple[Product, list[Fact]]:
    """What putting this document does, for the person `by`: applied (one fact), unchanged, or proposed (neither has a fact).

    A document that loosens nothing is applied and ends any proposal, because that was made against another policy. One
    that loosens is kept as a proposal until a second person puts the same document. Putting the policy in force again
    takes an open proposal back.
    """
    version = policy.version()
    if product is None:
        return _applied(Product(policy.id, policy, version, 0, now, by), policy, by, now)
    if version == product.policy_version:
        return replace(product, proposal=None), []
    loosens = tuple(loosened(product.policy, policy))
    if not loosens:
        return _applied(product, policy, by, now)
    waiting = product.proposal
    if waiting is not None and waiting.policy.version() == version:
        return (product, []) if subject(waiting.by) == subject(by) else _applied(product, policy, by, now)
    return replace(product, proposal=Proposal(policy, loosens, by, now)), []


def _applied(product: Product, policy: Policy, by: str, now: datetime) -> tuple[Product, list[Fact]]:
    version = policy.version()
    changed = Product(product.id, policy, version, product.version + 1, now, by)
    return changed, [ProductChanged(product_id=product.id, version=version, policy=policy, changed_at=now)]


def loosened(old: Policy, new: Policy) -> Iterator[str]:
    """One plain sentence for each way in which `new` asks less than `old`: enforcement, evidence, clocks, limits."""
    if _LADDER.index(new.enforcement) < _LADDER.index(old.enforcement):
        yield f"enforcement goes from {old.enforcement} to {new.enforcement}"
    for kind in ("regression", "integration"):
        before, after = getattr(old.evidence, kind), getattr(new.evidence, kind)
        if before.required and not after.required:
            yield f"{kind} tests are no longer required"
        if after.max_age_h > before.max_age_h:
            yield f"{kind} tests may be {after.max_age_h:g} h old instead of {before.max_age_h:g} h"
    if old.evidence.code_review and not new.evidence.code_review:
        yield "the code review is no longer required"
    yield from _limits(old, new)
    kept = {sli.id: sli for sli in new.slis}
    for sli in old.slis:
        yield from _sli(sli, kept.get(sli.id))
    for severity in ("critical", "major", "minor"):
        yield from _clock(severity, getattr(old.clocks, severity), getattr(new.clocks, severity))


def _limits(old: Policy, new: Policy) -> Iterator[str]:
    larger_is_looser = (
        ("a benchmark may be", "h old", old.benchmark.max_age_h, new.benchmark.max_age_h),
        ("facts behind a gate answer may be", "s old", old.freshness_s, new.freshness_s),
        ("after a deploy is left out", "min", old.observation.settle_min, new.observation.settle_min),
        ("a source may be down", "min", old.observation.patience_min, new.observation.patience_min),
        ("samples are taken every", "s", float(old.observation.step_s), float(new.observation.step_s)),
    )
    for words, unit, before, after in larger_is_looser:
        if after > before:
            yield f"{words}: {after:g} {unit} instead of {before:g}"
    if new.samples.raw_days < old.samples.raw_days:
        yield f"raw samples are kept {new.samples.raw_days:g} days instead of {old.samples.raw_days:g}"
    if new.observation.anchor_days < old.observation.anchor_days:
        was = old.observation.anchor_days
        yield f"creep is measured from at most {new.observation.anchor_days:g} days back instead of {was:g}"
    if new.observation.recovery_h < old.observation.recovery_h:
        yield f"recovery is watched {new.observation.recovery_h:g} h instead of {old.observation.recovery_h:g} h"


def _sli(old: SLI, new: SLI | None) -> Iterator[str]:
    if old.shadow:
        return  # it decided nothing before
    if new is None:
        yield f"SLI {old.id} is gone"
        return
    if new.shadow:
        yield f"SLI {old.id} no longer decides"
    # Nobody can tell from the words whether another query asks less: a second person looks at it.
    if (new.source, new.asked) != (old.source, old.asked):
        yield f"SLI {old.id} measures something else"
    if new.direction not in ("both", old.direction):
        yield f"SLI {old.id} is judged {new.direction} instead of {old.direction}"
    if _GRAVITY.index(new.severity) < _GRAVITY.index(old.severity):
        yield f"SLI {old.id} is {new.severity} instead of {old.severity}"
    for name in ("min_relative", "min_absolute"):
        before, after = getattr(old, name), getattr(new, name)
        if after > before:
            yield f"SLI {old.id} tolerates {name} {after:g} instead of {before:g}"


def _clock(severity: str, old: Clock, new: Clock) -> Iterator[str]:
    for step in ("acknowledge_min", "explain_min", "decide_min"):
        before, after = getattr(old, step), getattr(new, step)
        if after > before:
            yield f"{severity}: {step} is {after:g} instead of {before:g}"
    for words, before, after in (
        ("channel", old.channels, new.channels),
        ("escalation to", old.escalate_to, new.escalate_to),
    ):
        for gone in sorted(set(before) - set(after)):
            yield f"{severity}: {words} {gone} is gone"
