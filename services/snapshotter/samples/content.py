"""The hash over what samples *are*. It knows nothing of how they lie.

It is over canonical bytes that anybody can build again from the numbers, in any language:

    line 1   `daymark snapshot 1`
    line 2   JSON, keys sorted, no spaces, UTF-8: {"slis": [...], "start_s": 0.0, "step_s": 60.0}; each SLI, in order of
             id, as {"id", "missing", "query", "source", "steps"}; `missing` is null or the reason; a missing one has 0 steps
    after    the values of every SLI in that order, as little-endian float64; each NaN as 0x7ff8000000000000
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.snapshotter.sources import Floats, Missing, Reading


@dataclass(frozen=True, eq=False)
class Sampled:
    """One SLI of a snapshot: what was asked, where, and what was read."""

    query: str
    source: str
    reading: Reading


def content_hash(start_s: float, step_s: float, slis: Mapping[str, Sampled]) -> str:
    """SHA-256 (hex) of a snapshot's content; `slis` by id, in any order. Warnings are not part of it.

    Bit-exact in every value except that all NaN are one. Raises ValueError for series that are not one-dimensional.
    """
    order = sorted(slis)
    body: list[bytes] = []
    heads: list[dict[str, object]] = []
    for sli in order:
        sampled = slis[sli]
        missing = sampled.reading.reason if isinstance(sampled.reading, Missing) else None
        values = b"" if isinstance(sampled.reading, Missing) else canonical(sampled.reading.values).tobytes()
        head = {"id": sli, "query": sampled.query, "source": sampled.source, "missing": missing}
        heads.append({**head, "steps": len(values) // 8})
        body.append(values)
    header = {"start_s": float(start_s), "step_s": float(step_s), "slis": heads}
    digest = hashlib.sha256(b"daymark snapshot 1\n")
    digest.update(json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
    for values in body:
        digest.update(values)
    return digest.hexdigest()


def canonical(values: Floats) -> np.ndarray:
    """(T,) little-endian float64 with one NaN, never the caller's own array."""
    if np.ndim(values) != 1:
        raise ValueError(f"a series has one dimension, not the shape {np.shape(values)}")
    own = np.array(values, dtype="<f8")
    own[np.isnan(own)] = np.nan
    return own
