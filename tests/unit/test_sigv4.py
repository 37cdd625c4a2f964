"""The signature that Amazon computes of a request, against vectors of theirs."""

from datetime import UTC, datetime

import httpx2
import pytest

from services.snapshotter.sources._sigv4 import AmazonKeys, authorization

#: Two of AWS's own test vectors for signature version 4 (get-vanilla, post-vanilla), and one of its SDK's (with a body and
#: a query that must be escaped twice, sorted, and read as it stands).
SIGNED = [
    ("GET", "https://example.amazonaws.com/", b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("POST", "https://example.amazonaws.com/", b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    (
        "POST",
        "https://aps.example.com/workspaces/ws-1%20a/api/v1/query_range?b=2&a=%C3%A4%20x&a=1%2F2",
        b"query=up%7Ba%3D%22b%22%7D&step=60",
        "c502f18f9045a3203f68b5d071ce1b8a22bf0e52b65443cf00ac98459856613e",
    ),
]


@pytest.mark.parametrize(("method", "url", "body", "signature"), SIGNED)
def test_amazon_is_asked_with_the_signature_that_amazon_computes(
    method: str, url: str, body: bytes, signature: str
) -> None:
    keys = AmazonKeys.model_validate(
        {
            "region": "us-east-1",
            "service": "service",
            "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        }
    )
    request = httpx2.Request(method, url, content=body)
    found = authorization(request, keys, datetime(2015, 8, 30, 12, 36, tzinfo=UTC))
    assert found == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
        f" SignedHeaders=host;x-amz-date, Signature={signature}"
    )
