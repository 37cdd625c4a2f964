"""Who is calling, and what they may do: principals, roles per product, scopes of a key.

A key belongs to a principal (issuer, subject), never to a role; "two people" means two principals.
`Tx.may` in `shared.db` is the one choke point: it asks `judge` here, inside the command's own transaction.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.errors import Forbidden

Role = Literal["engineer", "ptask", "operations", "release_manager", "integration", "auditor"]
ROLES: tuple[Role, ...] = ("engineer", "ptask", "operations", "release_manager", "integration", "auditor")
EVERYBODY: frozenset[Role] = frozenset(ROLES)

#: action -> roles that may do it, on the product it is about. Each service declares its own in its domain.
Rights = Mapping[str, frozenset[str]]

#: A grant on this product holds for all products.
ANY = "*"
_PREFIX = "dmk_"


@dataclass(frozen=True, slots=True)
class Principal:
    """One person or program that acts."""

    issuer: str
    subject: str
    name: str
    grants: frozenset[tuple[str, str]] = frozenset()  #: (product or "*", role)
    scopes: frozenset[str] | None = None  #: actions this key is limited to; None: whatever the roles allow

    @property
    def id(self) -> str:
        return f"{self.issuer}|{self.subject}"

    def roles(self, product: str | None) -> frozenset[str]:
        """Roles on one product; on any product at all when `product` is None."""
        return frozenset(role for where, role in self.grants if product is None or where in (ANY, product))

    def products(self) -> frozenset[str] | None:
        """Products this principal may read of; None = all."""
        where = frozenset(product for product, _ in self.grants)
        return None if ANY in where else where


@dataclass(frozen=True, slots=True)
class Call:
    """A command or a question at a door, before anybody knows who asks."""

    credential: bytes | None  #: SHA-256 of the key or session
    route: str  #: `POST /intake/v1/change-requests`
    digest: bytes = b""  #: SHA-256 over path and body: the same key with another digest is refused
    once: str | None = None  #: the caller's Idempotency-Key
    cause: str | None = None  #: what all that follows names as its cause: that key, or else the id in `X-Request-Id`


def judge(who: Principal, rights: Rights, action: str, product: str | None) -> None:
    """Return when `who` may do `action` on `product`; raise Forbidden with the sentence that says why not."""
    roles = rights[action]
    if who.scopes is not None and action not in who.scopes:
        raise Forbidden(f"This key is not scoped for {action}.")
    if not (who.roles(product) & roles):
        where = f" for {product}" if product else ""
        raise Forbidden(f"{action} is for {' or '.join(sorted(roles))}{where}; {who.id} is not.")


def person(claim: str, issuer: str = "local") -> str:
    """`issuer|subject` of a person named in a payload, in one spelling: NFKC, case folded, our issuer when none is said."""
    text = unicodedata.normalize("NFKC", claim).strip().casefold()
    said, bar, subject = text.partition("|")
    return f"{said.strip()}|{subject.strip()}" if bar else f"{issuer}|{text}"


def subject(who: str) -> str:
    """The person behind a name, for rules that keep two hands apart: its subject, whoever vouches for it.

    A name in a payload costs nothing: `ldap|olga` as author must not let `local|olga` review. So two names with one subject
    are one person to every rule that says *not the same person*; no rule that says *only this person* is met by it.
    """
    return person(who).partition("|")[2]


def new_key() -> str:
    """A fresh secret of 256 bits. Shown once; only its hash is kept."""
    return _PREFIX + secrets.token_urlsafe(32)


def hashed(secret: str) -> bytes:
    """What is kept of a secret. Plain SHA-256 is right for 256 random bits (nothing to guess)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
