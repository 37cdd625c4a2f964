"""Releases: planned, frozen, closed by a release manager."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from services.intake import domain, store
from services.intake.commands import PlanRelease, Releases, ReleaseView
from services.intake.handlers import cursors, views
from services.intake.handlers.deps import Deps, readable
from shared.access import Call
from shared.answers import Answer
from shared.contracts import Fact
from shared.db import Tx
from shared.errors import Conflict, Invalid, NotFound


async def plan_release(deps: Deps, call: Call, command: PlanRelease) -> Answer:
    """201 with the new release; 200 with the existing one when the same was planned before."""
    async with deps.db.tx(call) as tx:
        tx.may("plan_release", command.product, of=f"{command.product} {command.name}")
        policy_version, *_ = await store.ground(tx, command.product, None)
        if policy_version is None:
            raise Invalid(f"There is no product {command.product}.")
        release, facts = domain.plan(command.product, command.name, command.planned_at, tx.now)
        if not await store.insert_release(tx, release):
            existing = await store.load_release(tx, release.id)
            same = (command.product, command.name, command.planned_at)
            if existing is None or (existing.product_id, existing.name, existing.planned_at) != same:
                raise Conflict(f"There is a release {release.id} already, with another name or date.")
            tx.audit(existing.id, revision=existing.version, policy_version=policy_version, is_unchanged=True)
            return tx.answer(200, views.of_release(existing))
        return _said(tx, release, facts, policy_version, 201)


async def freeze_release(deps: Deps, call: Call, release_id: str) -> Answer:
    """Only a release manager changes what is in it from now on. Frozen already: 200, nothing new."""
    return await _move(deps, call, release_id, "freeze_release", domain.freeze)


async def close_release(deps: Deps, call: Call, release_id: str) -> Answer:
    """Nothing enters or leaves it any more. Closed already: 200, nothing new."""
    return await _move(deps, call, release_id, "close_release", domain.close)


async def _move(
    deps: Deps,
    call: Call,
    release_id: str,
    action: str,
    move: Callable[[domain.Release, datetime], tuple[domain.Release, list[Fact]]],
) -> Answer:
    async with deps.db.tx(call) as tx:
        before = await store.load_release(tx, release_id, lock=True)
        if before is None:
            raise NotFound(f"There is no release {release_id}.")
        tx.may(action, before.product_id, of=release_id)
        after, facts = move(before, tx.now)
        if facts:
            await store.save_release(tx, before, after)
        policy_version, *_ = await store.ground(tx, before.product_id, None)
        return _said(tx, after, facts, policy_version, 200)


def _said(tx: Tx, release: domain.Release, facts: list[Fact], policy_version: str | None, status: int) -> Answer:
    for fact in facts:
        tx.emit(fact, sequence=release.version, policy_version=policy_version)
    tx.audit(release.id, revision=release.version, policy_version=policy_version, is_unchanged=not facts)
    location = {"location": f"/intake/v1/releases/{release.id}"} if status == 201 else {}
    return tx.answer(status, views.of_release(release), **location)


async def list_releases(deps: Deps, call: Call, product: str | None, cursor: str | None, limit: int) -> Releases:
    before = cursors.read(cursor)
    async with deps.db.read(call) as tx:
        found = await store.releases_listed(tx, readable(tx), product, before, limit + 1)
    more = cursors.written(found[limit - 1][0]) if len(found) > limit else None
    return Releases(items=tuple(views.of_release(release) for _, release in found[:limit]), next=more)


async def get_release(deps: Deps, call: Call, release_id: str) -> ReleaseView:
    async with deps.db.read(call) as tx:
        release, only = await store.load_release(tx, release_id), readable(tx)
    if release is None or (only is not None and release.product_id not in only):
        raise NotFound(f"There is no release {release_id}.")
    return views.of_release(release)
