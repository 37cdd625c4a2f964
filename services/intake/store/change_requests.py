"""CRs with their deployments, rollbacks and code reviews. Where it is hot (registering), plain SQL on the driver."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy import insert as core_insert
from sqlalchemy.dialects.postgresql import insert as pg_insert

from services.intake.domain import CR, CodeReview, Deployment, Rollback, TestResult
from services.intake.store.evidence import results_of
from services.intake.store.tables import change_requests, code_reviews, deployments, products, rollbacks
from shared.db import Tx
from shared.errors import NotFound, Stale

_OWN = tuple(name for name in CR.__dataclass_fields__ if name not in ("id", "deployments", "rollbacks"))
_INSERT = (
    f"INSERT INTO change_requests ({', '.join(_OWN)}) VALUES ({', '.join(f'${i}' for i in range(1, len(_OWN) + 1))})"  # noqa: S608
    " ON CONFLICT (source, external_id) DO NOTHING RETURNING n"
)
_ID = re.compile(r"CR-([1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class CRFilter:
    """Which CRs of a list: every value that is set must be met."""

    product_id: str | None = None
    release_id: str | None = None
    source: str | None = None
    external_id: str | None = None
    author: str | None = None
    ptask: str | None = None
    state: str | None = None


def number_of(cr_id: str) -> int:
    """7 of `CR-7`. Raises NotFound: what has no such shape names no CR."""
    found = _ID.fullmatch(cr_id)
    if found is None:
        raise NotFound(f"There is no CR {cr_id[:60]}.")
    return int(found[1])


async def insert(tx: Tx, cr: CR) -> str | None:
    """Its id, or None when (source, external_id) is taken. Waits for a twin that is just being registered."""
    n = await tx.raw.fetchval(_INSERT, *[getattr(cr, name) for name in _OWN])
    return None if n is None else f"CR-{n}"


async def find(tx: Tx, source: str, external_id: str) -> CR | None:
    """The CR as it is, without its deployments and without holding it."""
    where = (change_requests.c.source == source, change_requests.c.external_id == external_id)
    row = await tx.one(select(change_requests).where(*where))
    return None if row is None else _cr(row)


async def load(tx: Tx, which: str | tuple[str, str]) -> tuple[CR, str]:
    """The CR by id or (source, external id), held until the transaction ends, and the policy version in force.

    Raises NotFound.
    """
    c = change_requests.c
    if isinstance(which, str):
        where: tuple[Any, ...] = (c.n == number_of(which),)
    else:
        where = (c.source == which[0], c.external_id == which[1])
    row = await tx.one(
        select(change_requests, products.c.policy_version)
        .join(products, products.c.id == c.product_id)
        .where(*where)
        .with_for_update(of=change_requests)
    )
    if row is None:
        raise NotFound(f"There is no CR {which if isinstance(which, str) else ' '.join(which)}."[:300])
    held, returned = await _reports(tx, row.n)
    # By revision within a deployment, so the last one wins.
    latest = {one.deployment: one for one in held}
    undone = {one.deployment: one for one in returned}
    return _cr(row, tuple(latest.values()), tuple(undone.values())), row.policy_version


async def product_of(tx: Tx, cr_id: str) -> str:
    """The product of a CR. Raises NotFound."""
    found = await tx.scalar(select(change_requests.c.product_id).where(change_requests.c.n == number_of(cr_id)))
    if found is None:
        raise NotFound(f"There is no CR {cr_id}.")
    return str(found)


async def save(tx: Tx, before: CR, after: CR) -> None:
    """Write what differs. Raises Stale when somebody else changed it meanwhile."""
    changed = {name: getattr(after, name) for name in _OWN if getattr(after, name) != getattr(before, name)}
    n = number_of(before.id)
    where = (change_requests.c.n == n, change_requests.c.version == before.version)
    if not await tx.execute(update(change_requests).where(*where).values(**changed)):
        raise Stale(f"{before.id} changed meanwhile.")
    for one in after.deployments:
        if one not in before.deployments:
            await tx.execute(core_insert(deployments).values(cr=n, **_plain(one)))
    for back in after.rollbacks:
        if back not in before.rollbacks:
            await tx.execute(core_insert(rollbacks).values(cr=n, **_plain(back)))


async def insert_code_review(tx: Tx, cr: CR, review: CodeReview) -> bool:
    """Whether it is new: the same person, time and revision again is not."""
    values = {("place" if name == "where" else name): value for name, value in _plain(review).items()}
    statement = pg_insert(code_reviews).values(cr=number_of(cr.id), **values)
    return bool(await tx.execute(statement.on_conflict_do_nothing()))


async def listed(tx: Tx, only: Collection[str] | None, wanted: CRFilter, before: int | None, limit: int) -> list[CR]:
    """Newest first, those with a number below `before`, of the products in `only` (None = all)."""
    c = change_requests.c
    statement = select(change_requests).order_by(c.n.desc()).limit(limit)
    if only is not None:
        statement = statement.where(c.product_id.in_(only))
    if before is not None:
        statement = statement.where(c.n < before)
    for name in CRFilter.__dataclass_fields__:
        value = getattr(wanted, name)
        if value is not None:
            statement = statement.where(c[name] == value)
    return [_cr(row) for row in await tx.all(statement)]


@dataclass(frozen=True, slots=True)
class Everything:
    """All that was said of one CR; every revision of a report, the newest last."""

    cr: CR
    deployments: Sequence[Deployment]
    rollbacks: Sequence[Rollback]
    code_reviews: Sequence[CodeReview]
    test_results: Sequence[TestResult]


async def everything(tx: Tx, cr_id: str, only: Collection[str] | None) -> Everything:
    """Raises NotFound, also when its product is not among `only` (None = all)."""
    n = number_of(cr_id)
    row = await tx.one(select(change_requests).where(change_requests.c.n == n))
    if row is None or (only is not None and row.product_id not in only):
        raise NotFound(f"There is no CR {cr_id}.")
    held, returned = await _reports(tx, n)
    seen = await tx.all(select(code_reviews).where(code_reviews.c.cr == n).order_by(code_reviews.c.n))
    reviews = [
        CodeReview(one.how, one.reviewer, one.reviewed_at, one.place, one.cr_revision, one.recorded_at, one.recorded_by)
        for one in seen
    ]
    return Everything(_cr(row), held, returned, reviews, await results_of(tx, n))


async def _reports(tx: Tx, n: int) -> tuple[list[Deployment], list[Rollback]]:
    held = await tx.all(
        select(deployments).where(deployments.c.cr == n).order_by(deployments.c.deployment, deployments.c.revision)
    )
    returned = await tx.all(
        select(rollbacks).where(rollbacks.c.cr == n).order_by(rollbacks.c.deployment, rollbacks.c.revision)
    )
    return [_read(Deployment, row) for row in held], [_read(Rollback, row) for row in returned]


def _read(kind: Any, row: Row[Any]) -> Any:
    values = {name: row._mapping[name] for name in kind.__dataclass_fields__}
    return kind(**{**values, "against_process": tuple(values["against_process"])})


def _plain(value: Deployment | Rollback | CodeReview) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _cr(row: Row[Any], held: Sequence[Deployment] = (), returned: Sequence[Rollback] = ()) -> CR:
    own = {name: row._mapping[name] for name in _OWN}
    own["authors"] = tuple(own["authors"])
    return CR(id=f"CR-{row.n}", **own, deployments=tuple(held), rollbacks=tuple(returned))
