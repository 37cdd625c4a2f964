"""Many packed series as one payload: stored once, wherever it lies, and read in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from services.snapshotter.samples.packing import pack
from services.snapshotter.sources import Floats

#: From this size on a payload lies in the object store, where there is one: smaller ones are cheaper as rows, and a
#: snapshot of five SLIs with a week of history is such a row.
LARGE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where one packed series lies: in the payload of this hash, `length` bytes from byte `first` on."""

    payload: str
    first: int
    length: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A payload on its way to where it will lie. `hash` is SHA-256 (hex) of `data`: the same series, the same payload.

    places   of the series that were bundled, in their order; None for a series that is missing
    key      of the object in the object store once it is uploaded; None: it becomes a row in the database
    """

    hash: str
    data: bytes
    places: tuple[Place | None, ...]
    key: str | None = None

    def uploaded(self, key: str) -> Bundle:
        return replace(self, key=key)


def bundle(series: Iterable[Floats | None]) -> Bundle:
    """Pack series, each (T,), into one payload. CPU work: call it in a thread. Raises ValueError for other shapes."""
    data = bytearray()
    spans: list[tuple[int, int] | None] = []
    for values in series:
        if values is None:
            spans.append(None)
            continue
        packed = pack(values)
        spans.append((len(data), len(packed)))
        data += packed
    hashed = hashlib.sha256(data).hexdigest()
    return Bundle(hashed, bytes(data), tuple(None if span is None else Place(hashed, *span) for span in spans))
