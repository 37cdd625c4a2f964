"""Where incidents, cases and investigations are kept; rows <-> values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    UniqueConstraint,
    and_,
    or_,
    select,
    update,
)
from sqlalchemy import (
    Sequence as DBSequence,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from services.incidents.domain import Case, Expected, Incident, Investigation, Look, Release
from shared.db import Tx, plumbing
from shared.errors import Stale

metadata = MetaData(schema="incidents")
plumbing(metadata)
Moment = DateTime(timezone=True)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("cr_id", Text),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("deviation_id", Text, unique=True),  # a deviation is one incident, however often it is heard
    Column("opened_at", Moment, nullable=False),
    Column("closed_at", Moment),
    Column("closed_reason", Text),
    Column("version", BigInteger, nullable=False),
    Index("incidents_product", "product_id", "opened_at", "id"),
)
cases = Table(
    "cases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("incident_id", Text, nullable=False, index=True),
    Column("product_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("release_id", Text),
    Column("state", Text, nullable=False),
    Column("incident_opened_at", Moment, nullable=False),
    Column("red_commit", Text),
    Column("red_result", Text),
    Column("green_commit", Text),
    Column("green_result", Text),
    Column("is_withdrawn", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Index("cases_product", "product_id", "state"),
)
investigations = Table(
    "investigations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("cr_id", Text, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("deployment", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("look", Text, nullable=False, server_default="after"),
    Column("deviation_id", Text),
    Column("incident_id", Text),
    Column("severity", Text, nullable=False),
    Column("owner", Text),
    Column("because", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("acknowledge_by", Moment, nullable=False),
    Column("explain_by", Moment, nullable=False),
    Column("decide_by", Moment, nullable=False),
    Column("policy_version", Text),
    Column("acknowledged_at", Moment),
    Column("acknowledged_by", Text),
    Column("explained_at", Moment),
    Column("explained_by", Text),
    Column("explanation", Text),
    Column("decided_at", Moment),
    Column("decided_by", Text),
    Column("decision", Text),
    Column("reason", Text),
    Column("escalated", ARRAY(Text), nullable=False),
    Column("evidence", ARRAY(Text), nullable=False, server_default="{}"),
    Column("version", BigInteger, nullable=False),
    # Deploys and rollbacks count their revisions apart: a recovery of revision 1 is not the look of revision 1.
    UniqueConstraint("cr_id", "deployment", "revision", "kind", "look", name="investigations_once"),
)
# As much of others' things as is needed here; newest by sequence.
releases = Table(
    "releases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("product_id", Text, nullable=False, index=True),
    Column("planned_at", Moment, nullable=False),
    Column("state", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
change_requests = Table(
    "change_requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("ptask", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
# That a deployment was taken back: whatever is heard of its look after that has lost its object.
rollbacks = Table(
    "rollbacks",
    metadata,
    Column("cr_id", Text, primary_key=True),
    Column("deployment", Integer, primary_key=True),
)
# Looks that must come, and the highest revision that an answer was heard for: what is silent is found by nobody else.
expected = Table(
    "expected",
    metadata,
    Column("cr_id", Text, primary_key=True),
    Column("deployment", Integer, primary_key=True),
    Column("look", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("starts_at", Moment),
    Column("ends_at", Moment),
    Column("answer_by", Moment),
    Column("policy_version", Text),
    Column("answered", Integer, nullable=False),
)
_numbers = {name: DBSequence(f"{name}_number", metadata=metadata) for name in ("incident", "case", "investigation")}

_TABLES: dict[type, Table] = {Incident: incidents, Case: cases, Investigation: investigations}
V = TypeVar("V", Incident, Case, Investigation)


async def next_id(tx: Tx, kind: str) -> str:
    """`INC-1`, `CASE-1`, `INV-1`."""
    number = await tx.scalar(select(_numbers[kind].next_value()))
    return f"{ {'incident': 'INC', 'case': 'CASE', 'investigation': 'INV'}[kind] }-{number}"


def _value(kind: type[V], row: Row[Any]) -> V:
    found = dict(row._mapping)
    if kind is Investigation:
        found |= {name: tuple(found[name]) for name in ("escalated", "evidence")}
    return kind(**{field.name: found[field.name] for field in fields(kind)})


def _row(value: Incident | Case | Investigation) -> dict[str, Any]:
    row = asdict(value)
    if isinstance(value, Investigation):
        row |= {"escalated": list(value.escalated), "evidence": list(value.evidence)}
    return row


async def load(tx: Tx, kind: type[V], id: str, *, lock: bool = False) -> V | None:
    """One by its id; `lock` for whoever will change it."""
    table = _TABLES[kind]
    query = select(table).where(table.c.id == id)
    row = await tx.one(query.with_for_update() if lock else query)
    return None if row is None else _value(kind, row)


async def save(tx: Tx, value: V, *, was: int) -> None:
    """Insert when `was` is 0, else update where the version is still `was`. Raises Stale."""
    table = _TABLES[type(value)]
    if was == 0:
        await tx.execute(table.insert().values(_row(value)))
        return
    changed = await tx.execute(update(table).where(table.c.id == value.id, table.c.version == was).values(_row(value)))
    if changed != 1:
        raise Stale(f"{value.id} has changed since it was read.")


async def incident_of_deviation(tx: Tx, deviation_id: str) -> Incident | None:
    row = await tx.one(select(incidents).where(incidents.c.deviation_id == deviation_id).with_for_update())
    return None if row is None else _value(Incident, row)


async def cases_of(tx: Tx, *, incident_ids: Collection[str]) -> Sequence[Case]:
    rows = await tx.all(select(cases).where(cases.c.incident_id.in_(incident_ids)).order_by(cases.c.id))
    return [_value(Case, row) for row in rows]


async def locked_cases(tx: Tx, ids: Collection[str]) -> dict[str, Case]:
    """These cases, locked in the order of their ids (so that two letters never wait for each other)."""
    rows = await tx.all(select(cases).where(cases.c.id.in_(ids)).order_by(cases.c.id).with_for_update())
    return {row.id: _value(Case, row) for row in rows}


async def unproven(tx: Tx, product_id: str) -> Sequence[Case]:
    """The product's debt, locked."""
    rows = await tx.all(
        select(cases)
        .where(cases.c.product_id == product_id, cases.c.state != "green", ~cases.c.is_withdrawn)
        .order_by(cases.c.id)
        .with_for_update()
    )
    return [_value(Case, row) for row in rows]


async def releases_of(tx: Tx, product_id: str) -> Sequence[Release]:
    rows = await tx.all(select(releases).where(releases.c.product_id == product_id))
    return [Release(row.id, row.product_id, row.planned_at, row.state) for row in rows]


async def put_release(tx: Tx, release: Release, sequence: int) -> bool:
    """Whether this was news: an older repeat changes nothing."""
    row = await tx.raw.fetchval(
        "INSERT INTO releases AS r (id, product_id, planned_at, state, sequence) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (id) DO UPDATE SET planned_at = excluded.planned_at, state = excluded.state,"
        " sequence = excluded.sequence WHERE r.sequence < excluded.sequence RETURNING id",
        release.id,
        release.product_id,
        release.planned_at,
        release.state,
        sequence,
    )
    return row is not None


async def lock_product(tx: Tx, product_id: str) -> None:
    """One at a time per product, where releases and debt meet: held to the end of the transaction."""
    await tx.raw.execute("SELECT pg_advisory_xact_lock(hashtext('incidents'), hashtext($1))", product_id)


def put_change_request(tx: Tx, *, id: str, product_id: str, ptask: str, title: str, sequence: int) -> None:
    row = {"id": id, "product_id": product_id, "ptask": ptask, "title": title, "sequence": sequence}
    tx.put(change_requests, row, newer="sequence")


def put_rollback(tx: Tx, cr_id: str, deployment: int) -> None:
    tx.put(rollbacks, {"cr_id": cr_id, "deployment": deployment})


async def was_rolled_back(tx: Tx, cr_id: str, deployment: int) -> bool:
    """Whether a rollback of that deployment was heard."""
    found = select(rollbacks.c.cr_id).where(rollbacks.c.cr_id == cr_id, rollbacks.c.deployment == deployment)
    return await tx.one(found) is not None


async def expected_looks(tx: Tx, cr_id: str, deployment: int) -> dict[Look, Expected]:
    """The looks at a deployment that were heard of. Read under the product's lock by whoever changes them."""
    c = expected.c
    rows = await tx.all(select(expected).where(c.cr_id == cr_id, c.deployment == deployment))
    return {row.look: Expected(**row._mapping) for row in rows}


async def save_expected(tx: Tx, look: Expected) -> None:
    row = asdict(look)
    keys = ["cr_id", "deployment", "look"]
    await tx.execute(upsert(expected).values(row).on_conflict_do_update(index_elements=keys, set_=row))


async def change_request(tx: Tx, cr_id: str) -> Row[Any] | None:
    """id, product_id, ptask, title of a CR as last heard."""
    return await tx.one(select(change_requests).where(change_requests.c.id == cr_id))


async def investigations_of(
    tx: Tx, cr_id: str, *, deployment: int | None = None, revision: int | None = None, look: Look | None = None
) -> Sequence[Investigation]:
    """Of one CR, oldest first, locked."""
    query = select(investigations).where(investigations.c.cr_id == cr_id)
    if deployment is not None:
        query = query.where(investigations.c.deployment == deployment)
    if revision is not None:
        query = query.where(investigations.c.revision == revision)
    if look is not None:
        query = query.where(investigations.c.look == look)
    rows = await tx.all(query.order_by(investigations.c.opened_at, investigations.c.id).with_for_update())
    return [_value(Investigation, row) for row in rows]


async def list_incidents(
    tx: Tx,
    *,
    products: Collection[str] | None,
    product: str | None,
    cr: str | None,
    is_open: bool | None,
    after: tuple[Any, str] | None,
    limit: int,
) -> Sequence[Incident]:
    """Newest first; `after` is (opened_at, id) of the last one seen."""
    query = select(incidents)
    if products is not None:
        query = query.where(incidents.c.product_id.in_(products))
    if product is not None:
        query = query.where(incidents.c.product_id == product)
    if cr is not None:
        query = query.where(incidents.c.cr_id == cr)
    if is_open is not None:
        query = query.where(incidents.c.closed_at.is_(None) if is_open else incidents.c.closed_at.is_not(None))
    if after is not None:
        at, id = after
        query = query.where(or_(incidents.c.opened_at < at, and_(incidents.c.opened_at == at, incidents.c.id < id)))
    rows = await tx.all(query.order_by(incidents.c.opened_at.desc(), incidents.c.id.desc()).limit(limit))
    return [_value(Incident, row) for row in rows]


async def list_cases(
    tx: Tx, *, products: Collection[str] | None, product: str | None, release: str | None, is_debt: bool | None
) -> Sequence[Case]:
    query = select(cases).where(~cases.c.is_withdrawn)
    if products is not None:
        query = query.where(cases.c.product_id.in_(products))
    if product is not None:
        query = query.where(cases.c.product_id == product)
    if release is not None:
        query = query.where(cases.c.release_id == release)
    if is_debt is not None:
        query = query.where(cases.c.state != "green" if is_debt else cases.c.state == "green")
    rows = await tx.all(query.order_by(cases.c.incident_opened_at, cases.c.id).limit(1000))
    return [_value(Case, row) for row in rows]


async def list_investigations(
    tx: Tx, *, products: Collection[str] | None, cr: str | None, is_open: bool | None
) -> Sequence[Investigation]:
    query = select(investigations)
    if products is not None:
        query = query.where(investigations.c.product_id.in_(products))
    if cr is not None:
        query = query.where(investigations.c.cr_id == cr)
    if is_open is not None:
        ended = investigations.c.state.in_(("decided", "closed"))
        query = query.where(~ended if is_open else ended)
    rows = await tx.all(query.order_by(investigations.c.opened_at.desc(), investigations.c.id).limit(500))
    return [_value(Investigation, row) for row in rows]


async def withdraw_cases(tx: Tx, incident_id: str) -> None:
    """Its incident was none: what it owed is no debt any more (said by `incident.closed` with `is_withdrawn`)."""
    await tx.execute(update(cases).where(cases.c.incident_id == incident_id).values(is_withdrawn=True))
