"""The anchor of a product: which it is, and the act of operations that moves it."""

from __future__ import annotations

from datetime import datetime

from services.snapshotter import domain, store
from services.snapshotter.commands import AnchorChoiceView, AnchorView, ChooseAnchor
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.doubting import runs_of
from shared import policies
from shared.access import Call, person
from shared.answers import Answer
from shared.db import Tx
from shared.errors import NotFound
from shared.jsons import dumps


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
        view = _view(product_id, domain.anchored(snapshot, choice, product_id, runs=runs), [*before, choice])
        return tx.answer(201, view, Location=f"/snapshotter/v1/products/{product_id}/anchor")


async def read_anchor(deps: Deps, call: Call, product_id: str) -> Answer:
    """The anchor that the next deploy will be held against, and all choices. Raises NotFound."""
    async with deps.db.read(call) as tx:
        if tx.caller is None or not tx.caller.roles(product_id):
            raise NotFound(f"There is no product {product_id} here.")
        found = await anchor_at(tx, product_id, None)
        choices = await store.anchor_choices(tx, product_id)
    return Answer(200, dumps(_view(product_id, found, choices)))


async def anchor_at(tx: Tx, product_id: str, by: datetime | None) -> domain.Anchor:
    """The anchor as it stood at `by`: a choice made after a deploy does not change what the deploy is held against."""
    choices = await store.anchor_choices(tx, product_id)
    choice = domain.choice_at(choices, by) if by else (choices[-1] if choices else None)
    if choice is None:
        return await _by_default(tx, product_id, by)
    snapshot = await store.snapshot(tx, choice.snapshot_id)
    return domain.anchored(snapshot, choice, product_id, runs=await _runs(tx, snapshot) if snapshot else ())


async def _by_default(tx: Tx, product_id: str, by: datetime | None) -> domain.Anchor:
    """The first benchmark published before `by` that is of no run that, by what is known now, deviated or is observed."""
    passed: list[str] = []
    while found := await store.first_benchmarks(tx, product_id, by, passed):
        made = await store.provenances_of(tx, [each.id for each in found])
        for each in found:
            despite = made[each.id].despite if each.id in made else {}
            if domain.may_be_default(each, despite, await _runs(tx, each)):
                return domain.anchored(each, None, product_id, passed=passed)
            passed.append(each.id)
    return domain.anchored(None, None, product_id, passed=passed)


async def _runs(tx: Tx, of: domain.Snapshot) -> list[domain.Run]:
    """What deviated, or is observed, about the time of a snapshot."""
    return await runs_of(tx, await store.looks_about(tx, of.product_id, of.window.start, of.window.end))


def _view(product_id: str, found: domain.Anchor, choices: list[domain.AnchorChoice]) -> AnchorView:
    return AnchorView(
        product=product_id,
        snapshot=found.snapshot.id if found.snapshot else None,
        is_chosen=found.choice is not None,
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
