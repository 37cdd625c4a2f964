"""What follows from what was heard of a CR: looks that are armed, and looks that have lost their object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from services.snapshotter.domain.values import DAY, ROLLED_BACK, ChangeRequest, Deployment, Observation, move
from shared.contracts import (
    CRDeployed,
    CRRolledBack,
    CRState,
    DeviationWithdrawn,
    Fact,
    ObservationSuperseded,
    Policy,
)


@dataclass(frozen=True, slots=True)
class Change:
    """What follows from a fact that was heard. `observations` are new or changed; appointments follow from them."""

    cr: ChangeRequest
    deployment: Deployment
    observations: tuple[Observation, ...] = ()
    facts: tuple[Fact, ...] = ()


def described(cr: ChangeRequest, fact: CRState) -> ChangeRequest:
    """The CR after `registered` or `changed`. Whoever was its author once stays one for the rules."""
    known = replace(cr, authors=cr.authors | {fact.author})
    if fact.revision <= cr.revision:
        return known
    return replace(known, product_id=fact.product_id, release_id=fact.release_id, revision=fact.revision)


def deployed(
    cr: ChangeRequest,
    before: Deployment,
    looks: Sequence[Observation],
    fact: CRDeployed,
    *,
    policy_version: str,
    now: datetime,
) -> Change:
    """A deploy, or its correction: its look a day later is armed, and the one of the older revision superseded.

    `looks` are the deployment's observations so far. A lower or equal revision changes nothing but who deployed.
    """
    cr = replace(cr, deployers=cr.deployers | {fact.deployer})
    if fact.revision <= before.revision:
        return Change(cr, before)
    if not cr.revision:  # not described yet: this is all that is known of its release
        cr = replace(cr, release_id=fact.release_id)
    deployment = replace(
        before,
        revision=fact.revision,
        deployed_at=fact.deployed_at,
        deployer=fact.deployer,
        policy_version=policy_version,
    )
    changed, facts = _superseded(
        (o for o in looks if o.kind == "after"), f"the deploy time was corrected to {_said(fact.deployed_at)}", now
    )
    ends_at = fact.deployed_at + DAY
    look = Observation(
        cr_id=cr.id,
        product_id=cr.product_id,
        deployment=fact.deployment,
        revision=fact.revision,
        kind="after",
        starts_at=fact.deployed_at,
        ends_at=ends_at,
        due_at=ends_at,
        armed_at=now,
        policy_version=policy_version,
    )
    if before.rolled_back_at is not None and before.rolled_back_at < ends_at:
        (look,), said = _superseded([look], f"{ROLLED_BACK}{_said(before.rolled_back_at)}", now)
        facts += said
    return Change(cr, deployment, (*changed, look), facts)


def rolled_back(
    cr: ChangeRequest,
    before: Deployment,
    looks: Sequence[Observation],
    fact: CRRolledBack,
    *,
    policy_version: str,
    policy: Policy,
    now: datetime,
) -> Change:
    """A rollback, or its correction: the look at the return is armed; a pending look at the deploy has lost its object.

    A verdict that was given stays: it was true of what it saw. A rollback that turns out to have come after the day
    arms the look again that it had ended. A lower or equal revision changes nothing.
    """
    if fact.revision <= before.rollback_revision:
        return Change(cr, before)
    deployment = replace(before, rollback_revision=fact.revision, rolled_back_at=fact.rolled_back_at)
    when = _said(fact.rolled_back_at)
    ended, facts = _superseded(
        (o for o in looks if o.kind == "after" and o.is_open and fact.rolled_back_at < o.ends_at),
        f"{ROLLED_BACK}{when}",
        now,
    )
    ended += tuple(
        replace(
            o,
            state=move(o.state, "armed_again"),
            superseded_at=None,
            superseded_because=None,
            delayed_because=None,  # what was said of it ended with it
        )
        for o in looks
        if o.kind == "after" and o.is_cut_short and o.revision == before.revision and o.ends_at <= fact.rolled_back_at
    )
    older, more = _superseded(
        (o for o in looks if o.kind == "recovery"), f"the rollback time was corrected to {when}", now
    )
    ends_at = fact.rolled_back_at + timedelta(hours=policy.observation.recovery_h)
    look = Observation(
        cr_id=cr.id,
        product_id=cr.product_id,
        deployment=fact.deployment,
        revision=fact.revision,
        kind="recovery",
        starts_at=fact.rolled_back_at,
        ends_at=ends_at,
        due_at=ends_at,
        armed_at=now,
        policy_version=policy_version,
    )
    return Change(cr, deployment, (*ended, *older, look), facts + more)


def _superseded(
    looks: Iterable[Observation], because: str, now: datetime
) -> tuple[tuple[Observation, ...], tuple[Fact, ...]]:
    """Those that still stood, made things of the past with their verdicts, and what is to be said of it."""
    changed: list[Observation] = []
    facts: list[Fact] = []
    for look in looks:
        if look.state == "superseded":
            continue
        changed.append(
            replace(look, state=move(look.state, "superseded"), superseded_at=now, superseded_because=because)
        )
        about = {"cr_id": look.cr_id, "product_id": look.product_id, "deployment": look.deployment}
        about |= {"revision": look.revision, "reason": because, "at": now}
        facts.append(ObservationSuperseded.model_validate({**about, "kind": look.kind}))
        if look.deviation_id is not None and not because.startswith(ROLLED_BACK):
            # What an early look saw before a rollback was true; what rests on a wrong deploy time was not.
            facts.append(DeviationWithdrawn.model_validate({**about, "deviation_id": look.deviation_id}))
    return tuple(changed), tuple(facts)


def _said(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
