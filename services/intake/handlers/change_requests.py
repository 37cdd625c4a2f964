"""CRs: what other systems and engineers say of them. Each command's inner function serves every door."""

from __future__ import annotations

from collections.abc import Sequence

from services.intake import domain, store
from services.intake.commands import CRDetail, CRs, RecordCodeReview
from services.intake.handlers import cursors, views
from services.intake.handlers.deps import Deps, readable, roles
from shared.access import Call, person, subject
from shared.answers import Answer
from shared.contracts import Fact
from shared.contracts.inbound import ChangeCR, RegisterCR, ReportDeployed, ReportRolledBack, WithdrawCR
from shared.db import Tx
from shared.errors import Conflict, Invalid

#: A CR by its id, or by (source, external id).
Which = str | tuple[str, str]


async def register_cr(deps: Deps, call: Call, command: RegisterCR) -> Answer:
    """201 with the new CR; 200 with the existing one when the same was registered before; 409 when it says otherwise."""
    async with deps.db.tx(call) as tx:
        return await register(tx, command)


async def register(tx: Tx, command: RegisterCR) -> Answer:
    tx.may("register_cr", command.product, of=f"{command.source}/{command.external_id}")
    policy_version, has_ptask, release = await store.ground(tx, command.product, command.release, command.ptask)
    if policy_version is None:
        raise Invalid(
            f"There is no product {command.product}.",
            fields=[{"path": "body.product", "message": "is not a product here"}],
        )
    existing = None
    if not has_ptask:  # who was one when the same CR was registered may have gone since
        existing = await store.find(tx, command.source, command.external_id)
        if existing is None:
            raise await _unknown_ptask(tx, command.ptask, command.product)
    if existing is None and command.release is not None:
        try:
            domain.schedulable(release, command.release, command.product, roles(tx, command.product))
        except (Conflict, Invalid):  # a release may have been frozen since the same CR was registered
            existing = await store.find(tx, command.source, command.external_id)
            if existing is None:
                raise
    cr = domain.draft(command, tx.actor, tx.now)
    cr_id = await store.insert(tx, cr) if existing is None else None
    if cr_id is None:
        existing = existing or await store.find(tx, command.source, command.external_id)
        if existing is None:
            raise Conflict("Another CR has this name.")
        domain.same_registration(existing, command)
        tx.audit(existing.id, revision=existing.revision, policy_version=policy_version, is_unchanged=True)
        return _answer(tx, existing, 200)
    cr = domain.numbered(cr, cr_id)
    return _said(tx, cr, domain.registered(cr), policy_version, 201)


async def change_cr(deps: Deps, call: Call, which: Which, command: ChangeCR) -> Answer:
    """200 with the CR as it is then; a fact only when something differs."""
    async with deps.db.tx(call) as tx:
        return await change(tx, which, command)


async def change(tx: Tx, which: Which, command: ChangeCR) -> Answer:
    before, policy_version = await store.load(tx, which)
    tx.may("change_cr", before.product_id, of=before.id)
    own = roles(tx, before.product_id)
    is_held = False
    if before.release_id is not None and "release_manager" not in own:
        release = await store.load_release(tx, before.release_id, share=True)
        is_held = release is not None and release.state != "planned"
    after, facts = domain.change(before, command, tx.now, is_held=is_held)
    if after.release_id != before.release_id:
        # Not out of a closed release either: what was closed with it stays in it.
        for release_id in sorted({before.release_id, after.release_id} - {None}, key=str):
            release = await store.load_release(tx, str(release_id), share=True)
            domain.schedulable(release, str(release_id), before.product_id, own)
    if after.ptask != before.ptask and "ptask" not in await store.roles_of(tx, after.ptask, before.product_id):
        raise await _unknown_ptask(tx, after.ptask, before.product_id)
    return await _saved(tx, before, after, facts, policy_version)


async def _unknown_ptask(tx: Tx, ptask: str, product_id: str) -> Invalid:
    known = await store.namesakes(tx, [subject(ptask)], "ptask", product_id)
    return domain.unknown_ptask(ptask, product_id, ["|".join(each) for each in known])


async def report_deployed(deps: Deps, call: Call, which: Which, command: ReportDeployed) -> Answer:
    """200 with the CR: a new deployment, a correction of one, or nothing new."""
    async with deps.db.tx(call) as tx:
        return await deployed(tx, which, command)


async def deployed(tx: Tx, which: Which, command: ReportDeployed) -> Answer:
    before, policy_version = await store.load(tx, which)
    tx.may("report_deployed", before.product_id, of=before.id)
    after, facts = domain.deployed(before, command, person(tx.actor), tx.now)
    return await _saved(tx, before, after, facts, policy_version)


async def report_rolled_back(deps: Deps, call: Call, which: Which, command: ReportRolledBack) -> Answer:
    async with deps.db.tx(call) as tx:
        return await rolled_back(tx, which, command)


async def rolled_back(tx: Tx, which: Which, command: ReportRolledBack) -> Answer:
    before, policy_version = await store.load(tx, which)
    tx.may("report_rolled_back", before.product_id, of=before.id)
    after, facts = domain.rolled_back(before, command, tx.now)
    return await _saved(tx, before, after, facts, policy_version)


async def withdraw_cr(deps: Deps, call: Call, which: Which, command: WithdrawCR) -> Answer:
    async with deps.db.tx(call) as tx:
        return await withdraw(tx, which, command)


async def withdraw(tx: Tx, which: Which, command: WithdrawCR) -> Answer:
    before, policy_version = await store.load(tx, which)
    tx.may("withdraw_cr", before.product_id, of=before.id)
    after, facts = domain.withdraw(before, command.reason, tx.now)
    return await _saved(tx, before, after, facts, policy_version)


async def record_code_review(deps: Deps, call: Call, cr_id: str, command: RecordCodeReview) -> Answer:
    """201 with the CR; 200 when the same was recorded before. Never by or of its author, never operations."""
    async with deps.db.tx(call) as tx:
        before, policy_version = await store.load(tx, cr_id)
        tx.may("record_code_review", before.product_id, of=before.id)
        caller = person(tx.actor)
        reviewer = command.reviewer or caller
        theirs = await store.roles_of(tx, reviewer, before.product_id)
        both = [subject(caller), subject(reviewer)]
        operations = [name for _, name in await store.namesakes(tx, both, "operations", before.product_id)]
        domain.may_review(before, caller, reviewer, theirs, operations)
        review = domain.CodeReview(
            command.how, reviewer, command.reviewed_at, command.where, before.revision, tx.now, caller
        )
        after, facts = domain.reviewed(before, review, tx.now)
        if not await store.insert_code_review(tx, before, review):
            tx.audit(before.id, revision=before.revision, policy_version=policy_version, is_unchanged=True)
            return _answer(tx, before, 200)
        return await _saved(tx, before, after, facts, policy_version, 201)


async def _saved(
    tx: Tx, before: domain.CR, after: domain.CR, facts: Sequence[Fact], policy_version: str, status: int = 200
) -> Answer:
    if facts:
        await store.save(tx, before, after)
    return _said(tx, after, facts, policy_version, status)


def _said(tx: Tx, cr: domain.CR, facts: Sequence[Fact], policy_version: str, status: int) -> Answer:
    for fact in facts:
        tx.emit(fact, sequence=cr.version, policy_version=policy_version)
    tx.audit(cr.id, revision=cr.revision, policy_version=policy_version, is_unchanged=not facts)
    return _answer(tx, cr, status)


def _answer(tx: Tx, cr: domain.CR, status: int) -> Answer:
    body = (views.of_reported(cr) if cr.deployments else views.of_cr(cr)).model_dump_json().encode()
    if status == 201:
        return tx.answer(status, body, ETag=f'"{cr.revision}"', location=f"/intake/v1/change-requests/{cr.id}")
    return tx.answer(status, body, ETag=f'"{cr.revision}"')


async def list_crs(deps: Deps, call: Call, wanted: store.CRFilter, cursor: str | None, limit: int) -> CRs:
    """A page of the CRs that the caller may read, newest first."""
    before = cursors.read(cursor)
    async with deps.db.read(call) as tx:
        found = await store.listed(tx, readable(tx), wanted, before, limit + 1)
    more = cursors.written(store.number_of(found[limit - 1].id)) if len(found) > limit else None
    return CRs(items=tuple(views.of_cr(cr) for cr in found[:limit]), next=more)


async def get_cr(deps: Deps, call: Call, cr_id: str) -> CRDetail:
    """Everything that was said of one CR. Raises NotFound."""
    async with deps.db.read(call) as tx:
        return views.of_everything(await store.everything(tx, cr_id, readable(tx)))
