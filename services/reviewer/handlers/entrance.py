"""Coming in by a one-time link, and going out."""

from __future__ import annotations

import secrets

from services.reviewer import store
from services.reviewer.handlers.seen import Deps
from shared.access import hashed


async def sign_in(deps: Deps, link: str) -> str | None:
    """The secret of a new session; None when the link is unknown, used or over."""
    session = secrets.token_urlsafe(32)
    is_in = await store.sign_in(deps.db, hashed(link), hashed(session), f"session_{secrets.token_hex(6)}")
    return session if is_in else None


async def sign_out(deps: Deps, session: str) -> None:
    await store.sign_out(deps.db, hashed(session))
