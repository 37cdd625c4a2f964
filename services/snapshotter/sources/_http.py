"""What every source over HTTP needs: a client with bounds, answers of bounded size and time, faults as values."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.snapshotter import sources
from services.snapshotter.sources import Missing

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)


class Limits(BaseModel):
    """Settings of every source over HTTP."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    timeout_s: float = Field(default=30, gt=0, le=600)  #: for one request, from first byte sent to last received
    at_once: int = Field(default=8, ge=1, le=64)  #: requests under way at the same time
    gzip: bool = False  #: for a source beyond a slow line: packing answers costs it more time than a local net needs
    max_bytes: int = Field(default=32_000_000, ge=1_000)  #: of one answer, unpacked
    ca_file: str | None = None  #: a PEM file to trust instead of the system's authorities


class Fault(Exception):
    """Carries a `Missing` out of the depth of an answer; never leaves a source."""

    def __init__(self, reason: str, *, retry: bool, fault: sources.Fault = "failed") -> None:
        super().__init__(reason)
        self.missing = Missing(reason, retry, fault)


def fitting(kind: type[S], name: str, settings: Mapping[str, Any]) -> S:
    """The settings of source `name`. Raises ValueError, without the values, when they do not fit."""
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ValueError(f"source {name}: {wrong}") from None


def client(
    headers: Mapping[str, str],
    limits: Limits,
    transport: httpx2.AsyncBaseTransport | None = None,
    auth: httpx2.Auth | None = None,
) -> httpx2.AsyncClient:
    """A client that goes nowhere but where the settings say. `auth`: signs each request."""
    return httpx2.AsyncClient(
        transport=transport,
        auth=auth,
        headers={"Accept-Encoding": "gzip" if limits.gzip else "identity", **headers},
        timeout=limits.timeout_s,
        follow_redirects=False,  # a redirect could carry the credentials elsewhere
        trust_env=False,  # only the settings say how a source is reached
        verify=ssl.create_default_context(cafile=limits.ca_file) if limits.ca_file else True,
        limits=httpx2.Limits(max_connections=limits.at_once),
    )


async def in_time(work: Awaitable[T], timeout_s: float) -> T:
    """What a request brings. Raises Fault for all that can happen on the way."""
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except (TimeoutError, httpx2.TimeoutException):
        raise Fault(f"the source did not answer within {timeout_s:g} s", retry=True) from None
    except httpx2.ConnectError as error:
        raise Fault(f"the source cannot be reached: {plain(str(error))}", retry=True) from None
    except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
        raise Fault(f"the connection broke off: {plain(str(error) or type(error).__name__)}", retry=True) from None


async def received(asking: httpx2.AsyncClient, request: httpx2.Request, max_bytes: int) -> tuple[int, Any, bytes]:
    """(HTTP status, headers, body). Raises Fault for a body that is too large, and httpx2's errors."""
    response = await asking.send(request, stream=True)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > max_bytes:
                raise Fault(f"the answer is larger than {max_bytes:,} bytes", retry=False)
        return response.status_code, response.headers, bytes(body)
    finally:
        await response.aclose()


def plain(words: object) -> str:
    """One line that is safe to keep and to show: a source's words are a stranger's."""
    line = "".join(c if c.isprintable() else " " for c in str(words))
    return line if len(line) <= 300 else line[:299] + "…"
