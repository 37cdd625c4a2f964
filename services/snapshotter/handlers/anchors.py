"""The anchor of a product: which it is, what a look is held against for it, and the act of operations that moves it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.snapshotter import domain, store
from services.snapshotter.commands import AnchorChoiceView, AnchorView, ChooseAnchor
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.doubting import runs_of
from services.snapshotter.handlers.judging import Release, Taken
from services.snapshotter.handlers.kept import releases_of, taken
from shared import policies
from shared.access import Call, person
from shared.answers import Answer
from shared.contracts import Policy
from shared.db import Tx
from shared.errors import NotFound
from shared.jsons import dumps

MOST_RELEASES = 60  #: since the anchor, that a level is followed over


async def choose_anchor(deps: Deps, call: Call, product_id: str, command: ChooseAnchor) -> Answer:
    """From now on creep of the product is measured from this benchmark. Raises Forbidden, NotFound, Conflict, Repeated."""
    async with deps.db.tx(call) as tx:
        tx.may("choose_anchor", product_id, of=product_id)
        version = await store.locked_product(tx, product_id)
        snapshot = await store.snapshot(tx, command.snapshot)
        if snapshot is None or snapshot.product_id != product_id:
            raise NotFound(f"{product_id} has no snapshot {command.snapshot}.")
        before = await store.anchor_choices(tx, product_id)
        runs = await _runs(tx, snapshot)
        choice, fact = domain.choose(
            product_id,
            snapshot,
            before,
            by=person(tx.actor),
            reason=command.reason,
            now=tx.now,
            despite=command.despite,
            runs=runs,
        )
        await store.insert_anchor_choice(tx, choice)
        await store.save_version(tx, product_id, was=version, version=version + 1)
        policy_version = await policies.in_force(tx, product_id)
        tx.emit(fact, sequence=version + 1, policy_version=policy_version)
        tx.audit(
            product_id,
            revision=version + 1,
            evidence=[snapshot.content_hash],
            policy_version=policy_version,
            snapshot=snapshot.id,
            reason=command.reason,
            despite=dict(choice.despite),
        )
        view = _view(product_id, domain.chosen(snapshot, choice, runs), [*before, choice])
        return tx.answer(201, view, Location=f"/snapshotter/v1/products/{product_id}/anchor")


async def read_anchor(deps: Deps, call: Call, product_id: str) -> Answer:
    """The anchor that a deploy now would be held against, and all choices. Raises NotFound."""
    async with deps.db.read(call) as tx:
        if tx.caller is None or not tx.caller.roles(product_id):
            raise NotFound(f"There is no product {product_id} here.")
        latest = await policies.latest(tx, product_id)
        if latest is None:
            raise NotFound(f"No policy of {product_id} is known here (yet).")
        found = await anchor_at(tx, product_id, latest[1], tx.now)
        choices = await store.anchor_choices(tx, product_id)
    return Answer(200, dumps(_view(product_id, found, choices)))


@dataclass(frozen=True, eq=False)
class Further:
    """What a look is held against from further back: the anchor, its samples where they are no benchmark's, and what was since."""

    anchored: domain.Anchor | None
    anchor: Taken | None
    releases: tuple[Release, ...]


async def further_back(
    tx: Tx, look: domain.Observation, policy: Policy, deployed_at: datetime | None, benchmark: domain.Snapshot | None
) -> Further:
    """The anchor of a look at a deploy, and the releases since; a recovery has none."""
    if look.kind != "after":
        return Further(None, None, ())
    found = await anchor_at(tx, look.product_id, policy, deployed_at or look.starts_at, look)
    second = found.snapshot if found.snapshot != benchmark else None
    since = await store.releases_before(tx, look, found.since, MOST_RELEASES) if found.since else []
    return Further(found, await taken(tx, second), await releases_of(tx, since))


async def anchor_at(
    tx: Tx, product_id: str, policy: Policy, by: datetime, look: domain.Observation | None = None
) -> domain.Anchor:
    """The anchor as it stood at `by`, for `look`: nothing that was chosen or found after a deploy changes it."""
    choice = domain.choice_at(await store.anchor_choices(tx, product_id), by)
    if choice is not None:
        snapshot = await store.snapshot(tx, choice.snapshot_id)
        if snapshot is None:
            raise RuntimeError(f"{choice.snapshot_id} was chosen and is not there")
        return domain.chosen(snapshot, choice, await _runs(tx, snapshot))
    within = domain.horizon(policy)
    first = await store.first_verified(tx, product_id, by, by - within, look)
    last = None if first else await store.last_verified(tx, product_id, by, look)
    return domain.by_default(first, last, product_id, within)


async def _runs(tx: Tx, of: domain.Snapshot) -> list[domain.Run]:
    """What deviated, or is observed, about the time of a snapshot."""
    return await runs_of(tx, await store.looks_about(tx, of.product_id, of.window.start, of.window.end))


def _view(product_id: str, found: domain.Anchor, choices: list[domain.AnchorChoice]) -> AnchorView:
    return AnchorView(
        product=product_id,
        snapshot=found.snapshot.id if found.snapshot else None,
        is_chosen=found.choice is not None,
        change_request=found.snapshot.cr_id if found.snapshot and found.choice is None else None,
        is_doubted=found.is_doubted,
        sentence=found.sentence,
        choices=tuple(
            AnchorChoiceView(
                snapshot=one.snapshot_id,
                chosen_at=one.chosen_at,
                chosen_by=one.chosen_by,
                reason=one.reason,
                despite=dict(one.despite),
            )
            for one in choices
        ),
    )
