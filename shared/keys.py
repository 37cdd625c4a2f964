"""Making principals, keys and sign-in links. Only `daymark keys` and the first start of an instance do this, as admin."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

import asyncpg

from shared.access import ROLES, hashed, new_key, person
from shared.errors import Invalid, NotFound

_LINK_MINUTES = 60


async def grant(
    admin: asyncpg.Connection,
    subject: str,
    *,
    name: str,
    roles: Iterable[str],
    product: str = "*",
    issuer: str = "local",
) -> int:
    """Make the principal (issuer, subject) where it is new, with these roles on `product`; its row's id.

    Kept in the spelling in which payloads name persons, so that who acts and who is named as author compare equal.
    """
    wanted = list(roles)
    issuer, _, subject = person(f"{issuer}|{subject}").partition("|")
    if not issuer.strip() or not subject.strip():
        raise Invalid("A principal has an issuer and a subject.")
    if unknown := sorted(set(wanted) - set(ROLES)):
        raise Invalid(f"There is no role {', '.join(unknown)}; roles are {', '.join(ROLES)}.")
    principal: int = await admin.fetchval(
        "INSERT INTO access.principals (issuer, subject, name) VALUES ($1, $2, $3)"
        " ON CONFLICT (issuer, subject) DO UPDATE SET name = excluded.name RETURNING id",
        issuer,
        subject,
        name,
    )
    await admin.executemany(
        "INSERT INTO access.grants (principal_id, product_id, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        [(principal, product, role) for role in wanted],
    )
    return principal


async def create_key(
    admin: asyncpg.Connection, principal: int, *, scopes: Sequence[str] | None = None, days: float | None = None
) -> tuple[str, str]:
    """(public id, secret) of a new key. The secret is not kept: show it once. `days`: how long it is good; None = no end."""
    secret, key_id = new_key(), f"key_{secrets.token_hex(6)}"
    await admin.execute(
        "INSERT INTO access.keys (hash, id, kind, principal_id, scopes, made_at, expires_at) VALUES"
        " ($1, $2, 'key', $3, $4, daymark_now(), daymark_now() + make_interval(secs => $5::float8 * 86400))",
        hashed(secret),
        key_id,
        principal,
        list(scopes) if scopes is not None else None,
        days,
    )
    return key_id, secret


async def create_link(admin: asyncpg.Connection, principal: int) -> str:
    """The secret of a sign-in link: good once, for an hour."""
    secret = new_key()
    await admin.execute(
        "INSERT INTO access.keys (hash, id, kind, principal_id, made_at, expires_at) VALUES"
        " ($1, $2, 'link', $3, daymark_now(), daymark_now() + make_interval(mins => $4))",
        hashed(secret),
        f"link_{secrets.token_hex(6)}",
        principal,
        _LINK_MINUTES,
    )
    return secret


async def revoke(admin: asyncpg.Connection, key_id: str) -> None:
    """End a key, session or signing key at once: it is read inside every command's transaction. Raises NotFound."""
    ended = [
        await admin.fetchval(
            f"UPDATE access.{table} SET revoked_at = daymark_now() WHERE id = $1 AND revoked_at IS NULL RETURNING id",
            key_id,
        )
        for table in ("keys", "signing_keys")
    ]
    if not any(ended):
        raise NotFound(f"There is no key {key_id} that is still good.")


async def register_signing_key(
    admin: asyncpg.Connection, principal: int, public_key: bytes, *, scopes: Sequence[str] | None = None
) -> str:
    """The id under which records on `daymark.inbound` signed by this Ed25519 key (32 raw bytes) are taken as the principal's."""
    if len(public_key) != 32:
        raise Invalid("An Ed25519 public key has 32 bytes.")
    key_id = f"sig_{secrets.token_hex(6)}"
    await admin.execute(
        "INSERT INTO access.signing_keys (id, principal_id, public_key, scopes, made_at)"
        " VALUES ($1, $2, $3, $4, daymark_now())",
        key_id,
        principal,
        public_key,
        list(scopes) if scopes is not None else None,
    )
    return key_id
