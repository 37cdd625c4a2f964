"""Who knocks: the credential, the Idempotency-Key and the digest of what was asked, for the choke point to judge."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.datastructures import UploadFile

from shared.access import Call, hashed
from shared.doors.problems import request_id
from shared.errors import Malformed, Unauthenticated

COOKIE = "daymark_session"
_CREDENTIAL = "daymark.credential"
_ONCE = re.compile(r"[\x21-\x7e]{1,200}")


class _Key(SecurityBase):
    """The dependency of every door that needs a key: in the documents a bearer key; the judging is ours."""

    model = HTTPBearer(description="An API key: `daymark keys create`.")
    scheme_name = "HTTPBearer"

    async def __call__(self, request: Request) -> Call:
        """The call at this door. Raises Unauthenticated without any credential, Malformed for an unusable Idempotency-Key.

        The browser's cookie is taken for reading only, so that no other site can make a browser change anything.
        """
        once = request.headers.get("idempotency-key")
        if once is not None and not _ONCE.fullmatch(once):
            raise Malformed("An Idempotency-Key is 1 to 200 visible ASCII characters.")
        reads = request.method in ("GET", "HEAD")
        return Call(
            credential=credential(request),
            route=f"{request.method} {getattr(request.scope.get('route'), 'path', request.url.path)}",
            digest=b"" if reads else await _digest(request),
            once=None if reads else once,
            cause=once or request_id(request.scope),
        )


call = _Key()


def credential(request: Request) -> bytes:
    """The hash of the key or session presented, made once a request. Raises Unauthenticated when there is none."""
    known: bytes | None = request.scope.get(_CREDENTIAL)
    if known is None:
        known = request.scope[_CREDENTIAL] = _credential(request)
    return known


def _credential(request: Request) -> bytes:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return hashed(secret.strip())
    session = request.cookies.get(COOKIE)
    if session and request.method in ("GET", "HEAD"):
        return hashed(session)
    raise Unauthenticated


async def _digest(request: Request) -> bytes:
    """SHA-256 over method, path, query and body; of a form, over its parts: a boundary differs at every try."""
    seen = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        for name, value in (await request.form()).multi_items():
            seen.update(f"\n{name}=".encode("utf-8", "surrogatepass"))
            if isinstance(value, UploadFile):
                seen.update(hashlib.sha256(await value.read()).digest())
                await value.seek(0)
            else:
                seen.update(value.encode("utf-8", "surrogatepass"))
    else:
        seen.update(await request.body())
    return seen.digest()


async def deps_of(request: Request) -> Any:
    """What the service's handlers are given, made when it started. (A plain function FastAPI would run in a thread.)"""
    return request.app.state.deps


Caller = Annotated[Call, Security(call)]
