"""What the doors for signed and repeated events ask: who signed, who is somebody, and what was answered before."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from shared.access import Principal
from shared.answers import Answer
from shared.db import Tx
from shared.errors import Busy, Conflict

_GRANTS = "ARRAY(SELECT g.product_id || ' ' || g.role FROM access.grants g WHERE g.principal_id = p.id) AS grants"
_SIGNER = (
    f"SELECT p.issuer, p.subject, p.name, k.scopes, k.public_key, {_GRANTS}"  # noqa: S608
    " FROM access.signing_keys k JOIN access.principals p ON p.id = k.principal_id"
    " WHERE k.id = $1 AND k.revoked_at IS NULL AND NOT p.is_disabled"
)
_PRINCIPAL = (
    f"SELECT p.issuer, p.subject, p.name, {_GRANTS} FROM access.principals p"  # noqa: S608
    " WHERE lower(p.issuer) = $1 AND lower(p.subject) = $2 AND NOT p.is_disabled"
)
_WITH_ROLE = (
    "SELECT DISTINCT p.issuer, p.subject FROM access.principals p JOIN access.grants g ON g.principal_id = p.id"
    " WHERE p.subject = ANY($1) AND NOT p.is_disabled AND g.role = $2 AND g.product_id IN ('*', $3)"
)
_ROLES = (
    "SELECT array_agg(DISTINCT g.role) FROM access.principals p JOIN access.grants g ON g.principal_id = p.id"
    " WHERE lower(p.issuer) = $1 AND lower(p.subject) = $2 AND g.product_id IN ('*', $3)"
)


async def signer(tx: Tx, key_id: str) -> tuple[Principal, bytes] | None:
    """Whose signing key this is, and the public key; None when it is unknown or revoked. Read at each use."""
    row = await tx.raw.fetchrow(_SIGNER, key_id)
    if row is None:
        return None
    scopes = frozenset(row["scopes"]) if row["scopes"] is not None else None
    return Principal(row["issuer"], row["subject"], row["name"], _grants(row), scopes), bytes(row["public_key"])


async def principal(tx: Tx, who: str) -> Principal | None:
    """The principal `issuer|subject`; None when there is none, or they are disabled. Read at each use."""
    issuer, _, subject = who.partition("|")
    row = await tx.raw.fetchrow(_PRINCIPAL, issuer, subject)
    return None if row is None else Principal(row["issuer"], row["subject"], row["name"], _grants(row))


def _grants(row: Any) -> frozenset[tuple[str, str]]:
    return frozenset((product, role) for product, _, role in (grant.partition(" ") for grant in row["grants"]))


async def roles_of(tx: Tx, person: str, product_id: str) -> frozenset[str]:
    """Roles of a person named `issuer|subject` on a product; none when we do not know them."""
    issuer, _, subject = person.partition("|")
    return frozenset(await tx.raw.fetchval(_ROLES, issuer, subject, product_id) or ())


async def namesakes(tx: Tx, subjects: Collection[str], role: str, product_id: str) -> list[tuple[str, str]]:
    """(issuer, subject) of every principal by one of these subjects, whoever vouches for them, with that role on a product."""
    return [tuple(row) for row in await tx.raw.fetch(_WITH_ROLE, list(subjects), role, product_id)]


async def first_delivery(tx: Tx, source: str, delivery: str, body: bytes) -> str:
    """Under which id a body (its SHA-256) with a valid signature came first: this one, when it is new.

    The signature covers the body and not the id that stands beside it: under a new id, what somebody overheard would be
    heard again, and an old deployment would pass for a correction of the present one.
    """
    scope = f"body:{tx.actor}|{source}"
    fresh = await tx.raw.fetchval(
        "INSERT INTO inbox (scope, id, digest, status, headers, body, at) VALUES ($1, $2, $3, 202, '[]', '', $4)"
        " ON CONFLICT DO NOTHING RETURNING true",
        scope,
        body.hex(),
        delivery.encode(),
        tx.now,
    )
    if fresh:
        return delivery
    first = await tx.raw.fetchval("SELECT digest FROM inbox WHERE scope = $1 AND id = $2", scope, body.hex())
    return bytes(first).decode()


async def first_answer(tx: Tx, source: str, event_id: str, digest: bytes) -> Answer | None:
    """Take (source, id) as heard from this caller; None the first time, the first answer when it says the same again.

    A source is what somebody calls themselves: another caller's events under the same one are other events. Waits for a
    twin under way. Raises Conflict when the same id says something else. On the first time the letters of this transaction
    get ids that follow from caller, source and id, and its answer is kept with the row.
    """
    scope = f"event:{tx.actor}|{source}"
    fresh = await tx.raw.fetchval(
        "INSERT INTO inbox (scope, id, digest, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING true",
        scope,
        event_id,
        digest,
        tx.now,
    )
    tx.cause = event_id[:200]
    if fresh:
        tx.once, tx.id_seed = (scope, event_id), f"{scope}|{event_id}"
        return None
    row = await tx.raw.fetchrow(
        "SELECT digest, status, headers, body FROM inbox WHERE scope = $1 AND id = $2", scope, event_id
    )
    if row is None or row["status"] is None:
        raise Busy("A twin of this event is under way.", retry_after_s=1)
    if row["digest"] != digest:
        raise Conflict(f"Event {event_id[:100]} of {source[:100]} was taken with other content; the first one stays.")
    return Answer(row["status"], row["body"], tuple((name, value) for name, value in row["headers"]))
