"""Signature version 4 of AWS, for Prometheus' API as Amazon serves it (Managed Prometheus, CloudWatch).

Long-lived keys only: whoever runs with a role's short-lived ones puts AWS's own signing proxy in between.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Generator
from datetime import datetime
from urllib.parse import parse_qsl, quote

import httpx2
from pydantic import BaseModel, ConfigDict, SecretStr

from shared.clock import wall

_ALGORITHM = "AWS4-HMAC-SHA256"


class AmazonKeys(BaseModel):
    """Whose keys, in which region, for which service: `aps` is Managed Prometheus, `monitoring` CloudWatch."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    region: str
    access_key_id: SecretStr
    secret_access_key: SecretStr
    service: str = "aps"


class Signed(httpx2.Auth):
    """Signs each request as it leaves: method, path, query, host, time, and what it carries."""

    requires_request_body = True

    def __init__(self, keys: AmazonKeys) -> None:
        self._keys = keys

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """The one request, with its two headers."""
        at = wall()
        request.url = httpx2.URL(str(request.url).replace("+", "%20"))  # a blank, which Amazon reads no other way
        request.headers["X-Amz-Date"] = f"{at:%Y%m%dT%H%M%SZ}"
        request.headers["Authorization"] = authorization(request, self._keys, at)
        yield request


def authorization(request: httpx2.Request, keys: AmazonKeys, at: datetime) -> str:
    """The header for a request whose body is read and whose `X-Amz-Date` says `at` (UTC)."""
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parse_qsl(query, True))
    stamp, day = f"{at:%Y%m%dT%H%M%SZ}", f"{at:%Y%m%d}"
    canonical = "\n".join(
        (
            request.method,
            quote(path, safe="/-_.~"),  # what was escaped once already is once more: all services but S3 want that
            "&".join(f"{name}={value}" for name, value in pairs),
            f"host:{request.headers['Host']}",
            f"x-amz-date:{stamp}",
            "",
            "host;x-amz-date",
            hashlib.sha256(request.content).hexdigest(),
        )
    )
    scope = f"{day}/{keys.region}/{keys.service}/aws4_request"
    to_sign = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{keys.secret_access_key.get_secret_value()}".encode()
    for part in (day, keys.region, keys.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    who = keys.access_key_id.get_secret_value()
    return f"{_ALGORITHM} Credential={who}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}"
