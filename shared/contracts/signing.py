"""How an integration signs what it puts on the topic `daymark.inbound`: Ed25519 over one canonical text.

Written to be copied: it needs only the `cryptography` package. Register the public key with `daymark keys`, keep the
private one, and send the CloudEvent in binary mode (`ce_id`, `ce_source`, `ce_type`, `ce_time`, ... as record headers)
with two headers more: `daymark-key` (the key's id) and `daymark-signature` (base64).
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_HEADER = "daymark-key"
SIGNATURE_HEADER = "daymark-signature"
#: How far an event's time may lie in the database's future, in seconds.
TOLERANCE_S = 300.0
#: How far back an event's time may lie: as long as the topic keeps it. What was sent while we were down is not lost.
KEPT_S = 7 * 86400.0


def canonical(*, source: str, id: str, time: str, type: str, subject: str, data: bytes) -> bytes:
    """What is signed: a name for this rule and the six parts, one a line. `time` as written; `subject` may be empty."""
    lines = ("daymark-inbound-v1", source, id, time, type, subject, hashlib.sha256(data).hexdigest())
    return "\n".join(lines).encode()


def sign(key: Ed25519PrivateKey, *, source: str, id: str, time: str, type: str, subject: str = "", data: bytes) -> str:
    """The value of `daymark-signature`, base64."""
    signed = key.sign(canonical(source=source, id=id, time=time, type=type, subject=subject, data=data))
    return base64.b64encode(signed).decode()


def signed_headers(
    key: Ed25519PrivateKey, key_id: str, *, source: str, id: str, time: str, type: str, subject: str = "", data: bytes
) -> tuple[tuple[str, bytes], ...]:
    """All headers of a signed record in CloudEvents binary mode; `data` is the record's value, to the byte."""
    signature = sign(key, source=source, id=id, time=time, type=type, subject=subject, data=data)
    named = {
        "ce_specversion": "1.0",
        "ce_id": id,
        "ce_source": source,
        "ce_type": type,
        "ce_time": time,
        "ce_subject": subject,
        "content-type": "application/json",
        KEY_HEADER: key_id,
        SIGNATURE_HEADER: signature,
    }
    return tuple((name, value.encode()) for name, value in named.items() if value)


def is_signed(
    public_key: bytes, signature: str, *, source: str, id: str, time: str, type: str, subject: str, data: bytes
) -> bool:
    """Whether `signature` (base64) is the owner of `public_key`'s (32 bytes) over exactly this."""
    try:
        raw = base64.b64decode(signature, validate=True)
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(raw, canonical(source=source, id=id, time=time, type=type, subject=subject, data=data))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
