"""A change request and what may be said of it, up to the deploy and back.

Intake owns a few moves of a CR's life; its stage is computed by the reviewer from all facts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from services.intake.domain.evidence import CodeReview
from shared.access import subject
from shared.contracts import (
    CodeReviewRecorded,
    CRChanged,
    CRDeployed,
    CRKind,
    CRRegistered,
    CRRolledBack,
    CRWithdrawn,
    Fact,
)
from shared.contracts.inbound import ChangeCR, RegisterCR, ReportDeployed, ReportRolledBack
from shared.errors import Conflict, Forbidden, Invalid, Stale
from shared.jsons import digest

State = Literal["registered", "deployed", "rolled_back", "withdrawn"]

#: (state, what happens) -> state. `deployed` and `rolled_back` have a way out of every state that they can meet:
#: what a deployer reports is never refused because of the CR's state. A correction moves nothing.
MOVES: dict[tuple[State, str], State] = {
    ("registered", "changed"): "registered",
    ("registered", "withdrawn"): "withdrawn",
    ("registered", "deployed"): "deployed",
    ("withdrawn", "deployed"): "deployed",  # against the process: recorded and flagged
    ("deployed", "changed"): "deployed",
    ("deployed", "corrected"): "deployed",
    ("deployed", "deployed"): "deployed",  # the next one, said to be so by its number
    ("deployed", "rolled_back"): "rolled_back",
    ("rolled_back", "changed"): "rolled_back",
    ("rolled_back", "corrected"): "rolled_back",
    ("rolled_back", "rolled_back"): "rolled_back",
    ("rolled_back", "deployed"): "deployed",
}

#: A deployer's clock may be this far ahead of ours.
AHEAD = timedelta(minutes=5)
#: What is in production, or in a frozen release, is this; the rest (title, people, words, link) may still be put right.
SUBSTANCE = frozenset({"kind", "author", "release_id", "planned_start", "planned_end", "commit", "artifact"})
#: The fields of a CR that facts carry as its state.
STATED = (
    "product_id", "release_id", "source", "external_id", "title", "description", "kind", "author", "ptask",
    "planned_start", "planned_end", "backout_plan", "commit", "artifact", "link",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment as it was last reported. A correction is a higher revision."""

    deployment: int
    revision: int
    deployed_at: datetime
    reported_at: datetime
    deployer: str
    commit: str | None = None
    artifact: str | None = None
    against_process: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rollback:
    """The return from one deployment, as it was last reported."""

    deployment: int
    revision: int
    rolled_back_at: datetime
    reported_at: datetime
    reason: str
    against_process: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CR:
    """One change. `revision` counts changes of its content, `version` every fact about it."""

    id: str
    product_id: str
    release_id: str | None
    source: str
    external_id: str
    title: str
    description: str
    kind: CRKind
    author: str
    ptask: str
    planned_start: datetime | None
    planned_end: datetime | None
    backout_plan: str
    commit: str | None
    artifact: str | None
    link: str | None
    state: State
    revision: int
    version: int
    registered_at: datetime
    registered_by: str
    registration: str  #: digest of the first registration: the same again is no conflict
    authors: tuple[str, ...]  #: everybody who was ever named as author
    withdrawn_at: datetime | None = None
    withdrawn_because: str | None = None
    deployments: tuple[Deployment, ...] = ()  #: by number
    rollbacks: tuple[Rollback, ...] = ()

    def deployment(self, number: int) -> Deployment | None:
        return next((one for one in self.deployments if one.deployment == number), None)

    def rollback(self, number: int) -> Rollback | None:
        return next((one for one in self.rollbacks if one.deployment == number), None)


def draft(command: RegisterCR, by: str, now: datetime) -> CR:
    """The CR that a registration makes, before the database has numbered it."""
    return CR(
        id="",
        product_id=command.product,
        release_id=command.release,
        source=command.source,
        external_id=command.external_id,
        title=command.title,
        description=command.description,
        kind=command.kind,
        author=command.author,
        ptask=command.ptask,
        planned_start=command.planned_start,
        planned_end=command.planned_end,
        backout_plan=command.backout_plan,
        commit=command.commit,
        artifact=command.artifact,
        link=command.link,
        state="registered",
        revision=1,
        version=1,
        registered_at=now,
        registered_by=by,
        registration=digest(command),
        authors=(command.author,),
    )


def numbered(cr: CR, cr_id: str) -> CR:
    """The draft under the id that the database gave it."""
    return replace(cr, id=cr_id)


def registered(cr: CR) -> list[Fact]:
    """What is said of a new CR."""
    return [CRRegistered.model_construct(**_state(cr), at=cr.registered_at)]


def same_registration(cr: CR, command: RegisterCR) -> None:
    """Return when `command` says of the existing CR what was said at first. Raises Conflict when it says otherwise."""
    if digest(command) != cr.registration:
        raise Conflict(
            f"{cr.source} {cr.external_id} is {cr.id} already, registered with other content; use PATCH to change it."
        )


def unknown_ptask(who: str, product_id: str, known_as: Collection[str]) -> Invalid:
    """The refusal of a PTASK engineer who is none of the product's: nobody could ever decide. `known_as`: who it may be."""
    hint = f" Is it {' or '.join(sorted(known_as))}?" if known_as else ""
    return _wrong("ptask", f"{who} is no PTASK engineer of {product_id} whom Daymark knows.{hint}")


def change(cr: CR, command: ChangeCR, now: datetime, *, is_held: bool) -> tuple[CR, list[Fact]]:
    """The CR with what is wanted different, or itself and no fact when nothing is.

    `is_held`: it is in a frozen release and the caller is no release manager. Raises Stale for an old revision, Conflict
    when its state or its release forbids it, Invalid for a window that ends before it starts.
    """
    if command.revision is not None and command.revision != cr.revision:
        raise Stale(f"{cr.id} is at revision {cr.revision} by now, not {command.revision}.")
    wanted = {("release_id" if name == "release" else name): value for name, value in command.wanted().items()}
    differs = {name: value for name, value in wanted.items() if getattr(cr, name) != value}
    if not differs:
        return cr, []
    state = _moved(cr, "changed")
    fixed = sorted(differs.keys() & SUBSTANCE)
    if fixed and cr.state == "deployed":
        raise Conflict(f"{cr.id} is in production: {_named(fixed)} cannot be changed after the fact.")
    if fixed and is_held:
        raise Conflict(f"Release {cr.release_id} is frozen: only a release manager changes {_named(fixed)} of {cr.id}.")
    changed = replace(cr, **differs, state=state, revision=cr.revision + 1, version=cr.version + 1)
    if changed.author not in cr.authors:
        changed = replace(changed, authors=(*cr.authors, changed.author))
    if changed.planned_start and changed.planned_end and changed.planned_end <= changed.planned_start:
        raise Invalid("planned_end comes after planned_start.")
    names = tuple(sorted(differs))
    return changed, [CRChanged.model_construct(**_state(changed), at=now, changed=names)]


def withdraw(cr: CR, reason: str, now: datetime) -> tuple[CR, list[Fact]]:
    """It will not go to production. Withdrawn already: nothing new. Raises Conflict once it was deployed."""
    if cr.state == "withdrawn":
        return cr, []
    state = _moved(cr, "withdrawn")
    gone = replace(cr, state=state, version=cr.version + 1, withdrawn_at=now, withdrawn_because=reason)
    return gone, [CRWithdrawn(cr_id=cr.id, product_id=cr.product_id, reason=reason, withdrawn_at=now)]


def deployed(cr: CR, report: ReportDeployed, by: str, now: datetime) -> tuple[CR, list[Fact]]:
    """What a deployer's report adds: a new deployment, a correction of one (its revision raised), or nothing new.

    Without a number, the report is about the latest deployment until that was rolled back, and then about whatever it
    says of the time before that; a later time is the next deployment. Raises Invalid for a time that cannot be.
    """
    _past(report.deployed_at, now, "deployed_at")
    latest = cr.deployments[-1] if cr.deployments else None
    number = report.deployment
    if number is None:
        number = 1
        if latest is not None:
            undone = cr.rollback(latest.deployment)
            number = latest.deployment
            if undone is not None and report.deployed_at > undone.rolled_back_at:
                number += 1
    known, undone = cr.deployment(number), cr.rollback(number)
    if known is None and number != len(cr.deployments) + 1:
        raise _wrong(
            "deployment",
            f"{cr.id} has {len(cr.deployments)} deployments; the next is number {len(cr.deployments) + 1}.",
        )
    if undone is not None and report.deployed_at > undone.rolled_back_at:
        raise _wrong(
            "deployed_at", f"Deployment {number} was rolled back at {_z(undone.rolled_back_at)}, before that time."
        )
    new = Deployment(
        number,
        1 if known is None else known.revision + 1,
        report.deployed_at,
        now,
        report.deployer or (known.deployer if known else by),
        report.commit or (known.commit if known else cr.commit),
        report.artifact or (known.artifact if known else cr.artifact),
        _against(cr, report.deployed_at),
    )
    if known is not None and replace(new, revision=known.revision, reported_at=known.reported_at) == known:
        return cr, []
    state = _moved(cr, "deployed" if known is None else "corrected")
    others = [one for one in cr.deployments if one.deployment != number]
    in_order = tuple(sorted([*others, new], key=lambda one: one.deployment))
    after = replace(cr, state=state, version=cr.version + 1, deployments=in_order)
    fact = CRDeployed(
        cr_id=cr.id,
        product_id=cr.product_id,
        release_id=cr.release_id,
        deployment=number,
        revision=new.revision,
        deployed_at=new.deployed_at,
        reported_at=now,
        deployer=new.deployer,
        commit=new.commit,
        artifact=new.artifact,
        against_process=new.against_process,
    )
    return after, [fact]


def _against(cr: CR, deployed_at: datetime) -> tuple[str, ...]:
    """What a deploy at that time went against. One that is only reported late took place while the CR still stood."""
    return ("withdrawn",) if cr.withdrawn_at is not None and deployed_at >= cr.withdrawn_at else ()


def rolled_back(cr: CR, report: ReportRolledBack, now: datetime) -> tuple[CR, list[Fact]]:
    """What a deployer's word of a rollback adds: the return from a deployment, a correction of it, or nothing new.

    Raises Conflict when the CR was never deployed, Invalid for a number or a time that cannot be.
    """
    _past(report.rolled_back_at, now, "rolled_back_at")
    if not cr.deployments:
        raise Conflict(f"{cr.id} was never deployed, so there is nothing to roll back; report the deployment first.")
    number = report.deployment or cr.deployments[-1].deployment
    target = cr.deployment(number)
    if target is None:
        raise _wrong("deployment", f"{cr.id} has no deployment {number}.")
    if report.rolled_back_at < target.deployed_at:
        raise _wrong("rolled_back_at", f"Deployment {number} took place at {_z(target.deployed_at)}, after that time.")
    known = cr.rollback(number)
    if known is not None and (known.rolled_back_at, known.reason) == (report.rolled_back_at, report.reason):
        return cr, []
    new = Rollback(number, 1 if known is None else known.revision + 1, report.rolled_back_at, now, report.reason)
    is_latest = number == cr.deployments[-1].deployment
    state = _moved(cr, "rolled_back" if is_latest else "corrected")
    others = [one for one in cr.rollbacks if one.deployment != number]
    in_order = tuple(sorted([*others, new], key=lambda one: one.deployment))
    after = replace(cr, state=state, version=cr.version + 1, rollbacks=in_order)
    fact = CRRolledBack(
        cr_id=cr.id,
        product_id=cr.product_id,
        deployment=number,
        revision=new.revision,
        rolled_back_at=new.rolled_back_at,
        reported_at=now,
        reason=new.reason,
        against_process=new.against_process,
    )
    return after, [fact]


def may_review(cr: CR, by: str, reviewer: str, reviewer_roles: Collection[str], operations: Collection[str]) -> None:
    """Return when `by` may record that `reviewer` reviewed this CR. Raises Forbidden with the reason otherwise.

    Neither may ever have been its author, nor have registered it (whoever did so acted for the author), nor belong to
    operations on this product, whatever else they are and whoever vouches for them; `operations`: the subjects of those
    who do. The reviewer is an engineer whom Daymark knows: a name that is nobody's could be the author's by another
    spelling.
    """
    for who in (by, reviewer):
        author = next((each for each in cr.authors if subject(each) == subject(who)), None)
        if author is not None:
            named = who if author == who else f"{who}, named as {author},"
            raise Forbidden(f"{named} is an author of {cr.id}; somebody else of engineering reviews it.")
        if subject(who) == subject(cr.registered_by):
            raise Forbidden(f"{who} registered {cr.id} for its author; somebody else of engineering reviews it.")
        if subject(who) in operations:
            raise Forbidden(f"{who} belongs to operations, which does no code review and no walkthrough.")
    if "engineer" not in reviewer_roles:
        raise Forbidden(
            f"{reviewer} is no engineer of {cr.product_id} whom Daymark knows; name the one who reviewed it."
        )


def reviewed(cr: CR, review: CodeReview, now: datetime) -> tuple[CR, list[Fact]]:
    """That engineering looked at it, at this revision. Raises Invalid for a time ahead of now."""
    _past(review.reviewed_at, now, "reviewed_at")
    after = replace(cr, version=cr.version + 1)
    fact = CodeReviewRecorded(
        cr_id=cr.id,
        product_id=cr.product_id,
        how=review.how,
        reviewer=review.reviewer,
        reviewed_at=review.reviewed_at,
        where=review.where,
        cr_revision=review.cr_revision,
        recorded_at=now,
    )
    return after, [fact]


def tested(cr: CR, run_at: datetime, now: datetime) -> CR:
    """The CR after a report about it was recorded. Raises Invalid for a time ahead of now."""
    _past(run_at, now, "run_at")
    return replace(cr, version=cr.version + 1)


def _state(cr: CR) -> dict[str, Any]:
    return {"cr_id": cr.id, "revision": cr.revision} | {name: getattr(cr, name) for name in STATED}


def _moved(cr: CR, what: str) -> State:
    to = MOVES.get((cr.state, what))
    if to is None:
        raise Conflict(f"{cr.id} is {cr.state.replace('_', ' ')}; it cannot be {what.replace('_', ' ')} now.")
    return to


def _past(moment: datetime, now: datetime, name: str) -> None:
    if moment > now + AHEAD:
        raise _wrong(name, f"{name} lies ahead of now ({_z(now)}); only what has happened is reported.")


def _wrong(field: str, sentence: str) -> Invalid:
    return Invalid(sentence, fields=[{"path": f"body.{field}", "message": sentence}])


def _named(fields: Sequence[str]) -> str:
    return ", ".join("release" if name == "release_id" else name for name in fields)


def _z(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
