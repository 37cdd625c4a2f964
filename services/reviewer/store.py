"""Where facts are kept: one row each, once, plus two small lists that pages begin with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Index,
    MetaData,
    Row,
    Subquery,
    Table,
    Text,
    and_,
    cast,
    delete,
    exists,
    literal_column,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy import (
    Sequence as Numbers,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from services.reviewer.domain.known import PLACES, Known
from shared.contracts import (
    FACTS,
    CRChanged,
    CRDeployed,
    CRRegistered,
    CRRolledBack,
    CRWithdrawn,
    Event,
    Fact,
    ReleaseClosed,
    ReleaseFrozen,
    ReleasePlanned,
)
from shared.db import Tx
from shared.db.tables import plumbing

metadata = MetaData(schema="reviewer")
plumbing(metadata)
Moment = DateTime(timezone=True)

facts = Table(
    "facts",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("aggregate", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("cr_id", Text),  # null: the product's, and so of every CR of it
    Column("product_id", Text),
    Column("release_id", Text),
    Column("time", Moment, nullable=False),
    Column("actor", Text, nullable=False),
    Column("policy_version", Text),
    Column("cause", Text),
    Column("data", JSON, nullable=False),
    Index("facts_cr", "cr_id", postgresql_where=text("cr_id IS NOT NULL")),
    Index("facts_product", "product_id", postgresql_where=text("cr_id IS NULL")),
    # What went live last, product by product; it costs nothing but deploys, of which there are few.
    Index("facts_deployed", "product_id", "time", postgresql_where=text("type = 'cr.deployed.v1'")),
)
change_requests = Table(
    "change_requests",
    metadata,
    Column("cr_id", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("release_id", Text),
    Column("title", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("at", Moment, nullable=False),
    Index("change_requests_release", "release_id"),
    Index("change_requests_product", "product_id", "at"),
)
releases = Table(
    "releases",
    metadata,
    Column("release_id", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("planned_at", Moment, nullable=False),
    Column("state", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
# What we ourselves say of a CR has one order: its row is locked before anything is decided.
desks = Table(
    "desks",
    metadata,
    Column("cr_id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
)
# CRs whose input may be affected. An appointment each would cost a batch of five hundred facts as much as the facts.
touched = Table("touched", metadata, Column("cr_id", Text, primary_key=True))
review_numbers = Numbers("review_numbers", metadata=metadata)
answer_numbers = Numbers("answer_numbers", metadata=metadata)

_STATES = {ReleasePlanned: "planned", ReleaseFrozen: "frozen", ReleaseClosed: "closed"}


def keep(tx: Tx, event: Event[Any]) -> None:
    """Put one fact, once, and the lists that follow from it. No query: a batch is written in one statement a table."""
    data: Fact = event.data
    said = data.__dict__  # a look at a field that is not there costs pydantic 2 µs, and there are many
    place = PLACES[event.type]
    raw = event.raw or data.model_dump_json().encode()
    row = {
        "event_id": event.id,
        "type": event.type,
        "topic": data.topic,
        "key": event.key,
        "aggregate": f"{place.aggregate}|{said[place.field]}",
        "sequence": event.sequence,
        "cr_id": said.get("cr_id") if place.is_of_cr else None,
        "product_id": said.get("product_id"),
        "release_id": said.get("release_id"),
        "time": event.time,
        "actor": event.actor,
        "policy_version": event.policy_version,
        "cause": event.cause,
    }
    if event.service == tx.service:  # kept when we said it, and then heard as well
        tx.put(facts, row | {"data": orjson.Fragment(raw)})
    else:  # the inbox lets it pass once
        row["data"] = raw.decode()
        tx.add(facts, row)
    if isinstance(data, (CRRegistered, CRChanged)):
        tx.put(
            change_requests,
            {
                "cr_id": data.cr_id,
                "product_id": data.product_id,
                "release_id": data.release_id,
                "title": data.title,
                "sequence": event.sequence,
                "at": event.time,
            },
            newer="sequence",
        )
    elif isinstance(data, (ReleasePlanned, ReleaseFrozen, ReleaseClosed)):
        tx.put(
            releases,
            {
                "release_id": data.release_id,
                "product_id": data.product_id,
                "name": data.name,
                "planned_at": data.planned_at,
                "state": _STATES[type(data)],
                "sequence": event.sequence,
            },
            newer="sequence",
        )


def touch(tx: Tx, cr_id: str) -> None:
    """Note that the inputs on a CR are to be looked at again."""
    tx.put(touched, {"cr_id": cr_id})


async def take_touched(tx: Tx, limit: int) -> list[str]:
    """Take CRs off that list, at most `limit`. A batch that touches one of them meanwhile waits, and notes it anew."""
    some = select(touched.c.cr_id).order_by(touched.c.cr_id).limit(limit)
    gone = await tx.all(delete(touched).where(touched.c.cr_id.in_(some)).returning(touched.c.cr_id))
    return [row.cr_id for row in gone]


# -- reading ----------------------------------------------------------------------------------------------------------

_COLUMNS = (
    facts.c.event_id,
    facts.c.type,
    facts.c.aggregate,
    facts.c.sequence,
    facts.c.time,
    facts.c.actor,
    facts.c.policy_version,
    facts.c.cause,
    cast(facts.c.data, Text).label("raw"),
)


async def product_of(tx: Tx, cr_id: str) -> str | None:
    """The product of a CR; None when nothing of it was heard."""
    found: str | None = await tx.scalar(
        select(facts.c.product_id).where(facts.c.cr_id == cr_id, facts.c.product_id.is_not(None)).limit(1)
    )
    return found


async def of_crs(tx: Tx, cr_ids: Sequence[str]) -> dict[str, list[Known[Any]]]:
    """The CRs' own facts, by CR."""
    found: dict[str, list[Known[Any]]] = {cr_id: [] for cr_id in cr_ids}
    if cr_ids:
        for row in await tx.all(select(facts.c.cr_id, *_COLUMNS).where(facts.c.cr_id.in_(cr_ids))):
            found[row.cr_id].append(_known(row))
    return found


async def of_products(tx: Tx, product_ids: Sequence[str]) -> dict[str, list[Known[Any]]]:
    """What is each product's and no single CR's: policies, releases, its benchmarks, incidents, debt."""
    found: dict[str, list[Known[Any]]] = {product_id: [] for product_id in product_ids}
    if product_ids:
        asked = select(facts.c.product_id, *_COLUMNS).where(
            facts.c.cr_id.is_(None), facts.c.product_id.in_(product_ids)
        )
        for row in await tx.all(asked):
            found[row.product_id].append(_known(row))
    return found


def _known(row: Any) -> Known[Any]:
    return Known(
        row.event_id,
        row.type,
        row.aggregate,
        row.sequence,
        row.time,
        row.actor,
        FACTS[row.type].model_validate_json(row.raw),
        row.policy_version,
        row.cause,
    )


async def products(tx: Tx) -> list[str]:
    """Every product heard of, by name."""
    asked = select(facts.c.product_id).where(facts.c.cr_id.is_(None), facts.c.product_id.is_not(None)).distinct()
    return sorted(row.product_id for row in await tx.all(asked))


async def release_rows(
    tx: Tx, product_ids: Iterable[str] | None = None, *, with_closed: bool = True
) -> Sequence[Row[Any]]:
    """Releases, next planned first; of these products, or all."""
    asked = select(releases).order_by(releases.c.planned_at, releases.c.release_id)
    if not with_closed:
        asked = asked.where(releases.c.state != "closed")
    if product_ids is not None:
        asked = asked.where(releases.c.product_id.in_(list(product_ids)))
    return await tx.all(asked)


async def release_row(tx: Tx, release_id: str) -> Row[Any] | None:
    return await tx.one(select(releases).where(releases.c.release_id == release_id))


async def crs_by_release(tx: Tx, release_ids: Sequence[str]) -> dict[str, list[str]]:
    """Ids of the CRs scheduled for each release, in the order they were registered."""
    found: dict[str, list[str]] = {release_id: [] for release_id in release_ids}
    if release_ids:
        c = change_requests.c
        for row in await tx.all(select(c.cr_id, c.release_id).where(c.release_id.in_(release_ids))):
            found[row.release_id].append(row.cr_id)
    return {release_id: sorted(cr_ids, key=_by_number) for release_id, cr_ids in found.items()}


async def latest_crs(tx: Tx, product_ids: Sequence[str], each: int) -> dict[str, str]:
    """CR id -> product id of the CRs that were last registered or changed, at most so many of each product."""
    c = change_requests.c
    asked = [
        select(c.cr_id, c.product_id).where(c.product_id == name).order_by(c.at.desc()).limit(each).subquery()
        for name in product_ids
    ]
    return await _found(tx, asked)


async def last_deployed(tx: Tx, product_ids: Sequence[str], each: int) -> dict[str, str]:
    """The same of the CRs whose deploys were last reported, however long ago they were registered."""
    c = facts.c
    asked = [
        select(c.cr_id, c.product_id)
        .where(c.type == literal_column("'cr.deployed.v1'"), c.product_id == name)  # spelled out: so the index is used
        .order_by(c.time.desc())
        .limit(each)
        .subquery()
        for name in product_ids
    ]
    return await _found(tx, asked)


async def _found(tx: Tx, asked: Sequence[Subquery]) -> dict[str, str]:
    rows = await tx.all(union_all(*(select(one) for one in asked))) if asked else []
    return {row.cr_id: row.product_id for row in rows}


async def open_crs(tx: Tx, product_id: str) -> list[str]:
    """Ids of the product's CRs for which an input may still be asked: not withdrawn, not in production."""

    def has(kind: type[Fact]) -> Any:
        return exists(select(1).where(and_(facts.c.cr_id == change_requests.c.cr_id, facts.c.type == kind.type)))

    asked = select(change_requests.c.cr_id).where(
        change_requests.c.product_id == product_id,
        ~has(CRWithdrawn),
        or_(~has(CRDeployed), has(CRRolledBack)),
    )
    return sorted((row.cr_id for row in await tx.all(asked)), key=_by_number)


def _by_number(cr_id: str) -> tuple[int, str]:
    return len(cr_id), cr_id  # CR-9 before CR-10


async def is_movable(tx: Tx) -> bool:
    """Whether this database's clock can be moved (tests, demo)."""
    return bool(await tx.scalar(text("SELECT is_movable FROM daymark.clock")))


async def strangers(tx: Tx, people: Iterable[str]) -> frozenset[str]:
    """Which of these (`issuer|subject` in the one spelling) are no principals: names that somebody claimed."""
    named = sorted(set(people))
    rows = await tx.raw.fetch(
        "SELECT who FROM unnest($1::text[]) AS who WHERE NOT EXISTS (SELECT 1 FROM access.principals"
        " WHERE lower(issuer) || '|' || lower(subject) = who)",
        named,
    )
    return frozenset(row["who"] for row in rows)


async def is_kept(tx: Tx, event_id: str) -> bool:
    return bool(await tx.scalar(select(exists(select(1).where(facts.c.event_id == event_id)))))


# -- what we say ------------------------------------------------------------------------------------------------------


async def take_desk(tx: Tx, cr_id: str) -> int:
    """Lock the row that orders what we say of a CR; its version."""
    await tx.execute(upsert(desks).values(cr_id=cr_id, version=0).on_conflict_do_nothing())
    version: int = await tx.scalar(select(desks.c.version).where(desks.c.cr_id == cr_id).with_for_update())
    return version


async def leave_desk(tx: Tx, cr_id: str, version: int) -> None:
    await tx.execute(update(desks).where(desks.c.cr_id == cr_id).values(version=version))


async def next_review_id(tx: Tx) -> str:
    return f"REV-{await tx.scalar(select(review_numbers.next_value()))}"


async def next_answer_id(tx: Tx) -> str:
    return f"GATE-{await tx.scalar(select(answer_numbers.next_value()))}"


async def sign_in(db: Any, link: bytes, session: bytes, session_id: str) -> bool:
    """Turn a one-time link into a session. False when the link is unknown, used or over."""
    async with db.connection() as (_, raw):
        return bool(await raw.fetchval("SELECT access.sign_in($1, $2, $3)", link, session, session_id))


async def sign_out(db: Any, session: bytes) -> None:
    async with db.connection() as (_, raw):
        await raw.execute("SELECT access.sign_out($1)", session)
