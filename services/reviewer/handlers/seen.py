"""Reading: facts of one moment made into dossiers, for whoever may see that product."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

from services.reviewer import store
from services.reviewer.domain import document, dossier, evidence
from services.reviewer.domain.document import DossierDocument, Line, ReleaseDocument
from services.reviewer.domain.dossier import Dossier
from services.reviewer.domain.gate import Freshness
from services.reviewer.domain.known import Facts
from shared import freshness
from shared.access import Call, Principal
from shared.contracts import Policy, ProductChanged
from shared.db import Database, Tx
from shared.errors import NotFound

_WAIT_S, _LOOK_EVERY_S = 10.0, 0.1


@dataclass(frozen=True)
class Deps:
    """What the reviewer's handlers work with."""

    db: Database


async def load(tx: Tx, cr_id: str) -> Dossier:
    """The dossier of a CR that the caller may see, from all facts heard. Raises NotFound."""
    product_id = await store.product_of(tx, cr_id)
    if product_id is None or not _may_see(tx, product_id):
        raise NotFound(f"No change request {cr_id} is known here.")
    found = await load_all(tx, {cr_id: product_id})
    return found[cr_id]


async def load_all(tx: Tx, products: dict[str, str]) -> dict[str, Dossier]:
    """Dossiers of many CRs (CR id -> product id), with two queries."""
    of_crs = await store.of_crs(tx, list(products))
    of_products = await store.of_products(tx, sorted(set(products.values())))
    return {
        cr_id: dossier.assemble(cr_id, product_id, [*of_crs[cr_id], *of_products[product_id]], tx.now)
        for cr_id, product_id in products.items()
    }


async def how_fresh(tx: Tx, keys: Iterable[str], *, not_heard: str | None = None) -> Freshness:
    """Up to when every service was heard, and what of these keys arrived without effect."""
    return Freshness(await freshness.as_of(tx), await freshness.blocked(tx, sorted(set(keys))), not_heard)


def keys_of(found: Dossier) -> list[str]:
    """The keys under which letters on this CR travel."""
    return [found.cr_id, found.product_id]


async def wait_for(deps: Deps, call: Call, event_id: str) -> bool:
    """Wait until that fact has its effect here, at most 10 s; whether it has."""
    until = monotonic() + _WAIT_S
    while True:
        async with deps.db.read(call) as tx:
            if await store.is_kept(tx, event_id) or await freshness.has_heard(tx, event_id):
                return True
        if monotonic() >= until:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)


# -- questions --------------------------------------------------------------------------------------------------------


async def read_dossier(deps: Deps, call: Call, cr_id: str) -> DossierDocument:
    async with deps.db.read(call) as tx:
        found = await load(tx, cr_id)
        return document.dossier_document(found, await how_fresh(tx, keys_of(found)), tx.now)


async def read_release(deps: Deps, call: Call, release_id: str) -> ReleaseDocument:
    async with deps.db.read(call) as tx:
        row = await store.release_row(tx, release_id)
        if row is None or not _may_see(tx, row.product_id):
            raise NotFound(f"No release {release_id} is known here.")
        return (await _releases(tx, [row]))[0]


async def read_releases(deps: Deps, call: Call, *, with_closed: bool) -> list[ReleaseDocument]:
    async with deps.db.read(call) as tx:
        return await _releases(tx, await store.release_rows(tx, _products(tx), with_closed=with_closed))


def _may_see(tx: Tx, product_id: str) -> bool:
    may = _products(tx)
    return may is None or product_id in may


def _products(tx: Tx) -> frozenset[str] | None:
    """Products that the caller may read of; None = all. The house itself reads all."""
    return tx.caller.products() if tx.caller is not None else None


async def _releases(tx: Tx, rows: Sequence[Any]) -> list[ReleaseDocument]:
    by_release = await store.crs_by_release(tx, [row.release_id for row in rows])
    products = {cr_id: row.product_id for row in rows for cr_id in by_release[row.release_id]}
    dossiers = await load_all(tx, products)
    of_products = await store.of_products(tx, sorted({row.product_id for row in rows}))
    lines = await _lines(tx, dossiers.values())
    as_of = await freshness.as_of(tx)
    found = []
    for row in rows:
        facts = Facts(of_products[row.product_id])
        known = dossier.releases(facts)[row.release_id]
        policy = policy_of(facts)
        found.append(
            ReleaseDocument(
                row.release_id,
                row.product_id,
                policy.name if policy is not None else row.product_id,
                policy.enforcement if policy is not None else None,
                known.name,
                known.state,
                known.planned_at,
                known.frozen_at,
                known.closed_at,
                as_of,
                evidence.debt(facts, row.release_id),
                (ours := tuple(line for line in lines if line.cr_id in by_release[row.release_id])),
                document.waiting_of(ours),
            )
        )
    return found


async def _lines(tx: Tx, dossiers: Iterable[Dossier]) -> list[Line]:
    """Lines of a list: one look at freshness for all, the blocked keys told apart."""
    found = list(dossiers)
    as_of = await freshness.as_of(tx)
    keys = sorted({key for each in found for key in keys_of(each)})
    blocked = await freshness.blocked(tx, keys) if keys else []
    lines = []
    for each in found:
        ours = [sentence for sentence in blocked if any(f" of {key} on " in sentence for key in keys_of(each))]
        lines.append(document.line(each, Freshness(as_of, ours), tx.now))
    return lines


def policy_of(facts: Facts) -> Policy | None:
    """The newest policy heard of a product."""
    newest = max(facts.of(ProductChanged), key=lambda fact: (fact.sequence, fact.event_id), default=None)
    return newest.data.policy if newest is not None else None


# -- for the pages ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Surroundings:
    """What every page says besides its matter."""

    who: Principal
    now: datetime
    as_of: datetime | None
    is_movable: bool
    strangers: frozenset[str] = frozenset()  #: people named on it whom nobody knows: claims by who posted them


@dataclass(frozen=True)
class ProductLine:
    """One product on the front page."""

    product_id: str
    policy: Policy | None
    releases: tuple[ReleaseDocument, ...]  #: not closed, next first
    closed: tuple[ReleaseDocument, ...]  #: the last closed, newest first
    lines: tuple[Line, ...]  #: every CR on the page, of whichever release
    debt: tuple[evidence.Case, ...]


#: Of each product, so that a busy one pushes no quiet one out: closed releases, CRs last registered, CRs last deployed.
_CLOSED_SHOWN, _NEW_SHOWN, _LIVE_SHOWN = 3, 20, 20


async def surroundings(deps: Deps, call: Call) -> Surroundings:
    async with deps.db.read(call) as tx:
        return await _surroundings(tx)


async def _surroundings(tx: Tx, lines: Iterable[Line] = ()) -> Surroundings:
    assert tx.caller is not None
    named = [who for line in lines for who in _named(line)]
    strangers = await store.strangers(tx, named) if named else frozenset()
    return Surroundings(tx.caller, tx.now, await freshness.as_of(tx), await store.is_movable(tx), strangers)


def _named(line: Line) -> list[str]:
    """The people that a payload named, on behalf of whom somebody acted."""
    named = [line.cr.author, line.cr.ptask] if line.cr is not None else []
    return [*named, *(each.deploy.deployer for each in line.deployments)]


async def front_page(deps: Deps, call: Call) -> tuple[Surroundings, list[ProductLine]]:
    """Everything scheduled, all products that the caller may see."""
    async with deps.db.read(call) as tx:
        may = _products(tx)
        names = [name for name in await store.products(tx) if may is None or name in may]
        rows = await store.release_rows(tx, names)
        shown = [row for row in rows if row.state != "closed"]
        for name in names:
            shown += [row for row in reversed(rows) if row.state == "closed" and row.product_id == name][:_CLOSED_SHOWN]
        documents = await _releases(tx, shown)
        listed = {line.cr_id for each in documents for line in each.change_requests}
        latest = {
            **await store.latest_crs(tx, names, _NEW_SHOWN),
            **await store.last_deployed(tx, names, _LIVE_SHOWN),
        }
        others = {cr_id: product_id for cr_id, product_id in latest.items() if cr_id not in listed}
        loose = await _lines(tx, (await load_all(tx, others)).values())
        of_products = await store.of_products(tx, names)
        found = []
        for name in names:
            facts = Facts(of_products[name])
            ours = [each for each in documents if each.product_id == name]
            lines = [line for each in ours for line in each.change_requests]
            lines += [line for line in loose if line.product_id == name]
            found.append(
                ProductLine(
                    name,
                    policy_of(facts),
                    tuple(each for each in ours if each.state != "closed"),
                    tuple(each for each in ours if each.state == "closed"),
                    tuple(lines),
                    evidence.debt(facts, None),
                )
            )
        return await _surroundings(tx), found


async def release_page(deps: Deps, call: Call, release_id: str) -> tuple[Surroundings, ReleaseDocument, Line | None]:
    """A release, and while it is to come the product's last change in production before it."""
    found = await read_release(deps, call, release_id)
    async with deps.db.read(call) as tx:
        last = await _last_before(tx, found) if found.state != "closed" else None
        return await _surroundings(tx, found.change_requests), found, last


async def _last_before(tx: Tx, release: ReleaseDocument) -> Line | None:
    here = {line.cr_id for line in release.change_requests}
    latest = await store.last_deployed(tx, [release.product_id], len(here) + _LIVE_SHOWN)
    known = await load_all(tx, {cr_id: product_id for cr_id, product_id in latest.items() if cr_id not in here})
    gone = [(each.last.deploy.deployed_at, each.cr_id) for each in known.values() if each.last is not None]
    return (await _lines(tx, [known[max(gone)[1]]]))[0] if gone else None


async def dossier_page(deps: Deps, call: Call, cr_id: str) -> tuple[Surroundings, DossierDocument, Line, str]:
    """One change, its line, and what people call its product."""
    async with deps.db.read(call) as tx:
        found = await load(tx, cr_id)
        fresh = await how_fresh(tx, keys_of(found))
        line = document.line(found, fresh, tx.now)
        policy = found.before.policy
        name = policy.name if policy is not None else found.product_id
        return await _surroundings(tx, [line]), document.dossier_document(found, fresh, tx.now), line, name
