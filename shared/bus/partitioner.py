"""Which partition a key belongs to: the same on both buses, and for any Kafka client that keeps Kafka's default."""

from __future__ import annotations

import struct
from functools import lru_cache

_SEED, _M, _MASK = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit hash of a key, unsigned. Source: org.apache.kafka.common.utils.Utils.murmur2."""
    whole = len(data) & ~3
    h = _SEED ^ len(data)
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        k = k * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def key_bytes(key: str) -> bytes:
    """A letter's key as it lies on the bus. Foreign bytes that are no UTF-8 stand in it as lone surrogates: see `key_of`."""
    return key.encode("utf-8", "surrogateescape")


def key_of(raw: bytes | None) -> str:
    """The key of a letter that is to lie where a record lay. A record without a key gets an empty one."""
    return (raw or b"").decode("utf-8", "surrogateescape")


@lru_cache(maxsize=4096)
def partition_of(key: str, partitions: int) -> int:
    """The partition (0-based) of a key in a topic of so many partitions."""
    return (murmur2(key_bytes(key)) & 0x7FFFFFFF) % partitions
