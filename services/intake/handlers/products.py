"""Products: putting a policy, by one person or by two, and the files of the first start."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from services.intake import domain, store
from services.intake.commands import Products, ProductView
from services.intake.handlers import views
from services.intake.handlers.deps import Deps, readable
from shared.access import Call
from shared.answers import Answer
from shared.contracts import Policy, read_policy
from shared.errors import Busy, Invalid, NotFound


async def put_product(deps: Deps, call: Call, product_id: str, policy: Policy) -> Answer:
    """201 new, 200 applied or unchanged, 202 kept as a proposal that waits for a second release manager."""
    async with deps.db.tx(call) as tx:
        tx.may("put_product", product_id, of=product_id)
        if policy.id != product_id:
            raise Invalid(f"The document is the policy of {policy.id}, not of {product_id}.")
        before = await store.load_product(tx, product_id, lock=True)
        after, facts = domain.put_policy(before, policy, tx.actor, tx.now)
        if before is None:
            if not await store.insert_product(tx, after):
                raise Busy(f"{product_id} is just being made by somebody else.", retry_after_s=1)
        elif after != before:
            await store.save_product(tx, before, after)
        for fact in facts:
            tx.emit(fact, sequence=after.version, policy_version=after.policy_version)
        waiting = after.proposal
        is_waiting = waiting is not None and waiting.policy == policy
        tx.audit(
            product_id,
            revision=after.version,
            policy_version=policy.version(),
            is_proposed=is_waiting,
            loosens=list(waiting.loosens) if waiting is not None and is_waiting else [],
            proposed_by=before.proposal.by if before and before.proposal and facts else None,
        )
        status = 201 if before is None else 202 if is_waiting else 200
        view = views.of_product(after).model_dump_json().encode()
        location = {"location": f"/intake/v1/products/{product_id}"} if before is None else {}
        return tx.answer(status, view, **location)


async def list_products(deps: Deps, call: Call) -> Products:
    async with deps.db.read(call) as tx:
        found = await store.products_listed(tx, readable(tx))
    return Products(items=tuple(views.of_product(product) for product in found))


async def get_product(deps: Deps, call: Call, product_id: str) -> ProductView:
    async with deps.db.read(call) as tx:
        only = readable(tx)
        product = await store.load_product(tx, product_id) if only is None or product_id in only else None
    if product is None:
        raise NotFound(f"There is no product {product_id}.")
    return views.of_product(product)


async def load_products(deps: Deps, paths: Iterable[Path]) -> list[str]:
    """Make the products of these policy files that are not known yet; their ids. For the first start of an instance.

    A product that exists stays as it is: from then on its policy is changed at the door, by people. Raises Invalid, with
    the file's name, for a file that is no policy.
    """
    policies = [_policy_in(path) for path in sorted(paths)]
    made: list[str] = []
    for policy in policies:
        async with deps.db.house() as tx:
            tx.cause = "start"
            product, facts = domain.put_policy(None, policy, tx.actor, tx.now)
            if await store.insert_product(tx, product):
                for fact in facts:
                    tx.emit(fact, sequence=product.version, policy_version=product.policy_version)
                tx.audit(
                    product.id,
                    action="load_product",
                    revision=product.version,
                    product=product.id,
                    policy_version=product.policy_version,
                )
                made.append(product.id)
    return made


def _policy_in(path: Path) -> Policy:
    try:
        document: Any = yaml.safe_load(path.read_text())
        return read_policy(document)
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{path.name} is no policy: {error}") from error
