"""CSV with a head: the columns `sli`, `time` and `value` in any order, one sample a row (RFC 4180, comma, UTF-8)."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from services.snapshotter.uploads import Sample, Unusable, lines, moment, number

MEDIA = ("text/csv",)
_COLUMNS = ("sli", "time", "value")


def read(raw: bytes) -> Iterator[Sample]:
    """One sample a row. Raises Unusable."""
    rows = lines(raw)
    head: list[str] | None = None
    for at, line in rows:
        if not line.strip():
            continue
        # Line by line, so that a quote that is never closed swallows one row and not the file.
        try:
            (cells,) = csv.reader([line], strict=True)
        except (csv.Error, ValueError):
            raise Unusable(f"row {at}", "not CSV: a quote is not closed, or stands where none may") from None
        if head is None:
            head = [cell.strip().lower() for cell in cells]
            if sorted(head) != sorted(_COLUMNS):
                raise Unusable(f"row {at}", "the head must name the columns sli, time and value, and no others")
            place = [head.index(name) for name in _COLUMNS]
            continue
        where = f"row {at}"
        if len(cells) != len(head):
            raise Unusable(where, f"{len(cells)} cells, the head has {len(head)}")
        sli, time, value = (cells[column] for column in place)
        yield Sample(where, sli.strip(), moment(where, time), number(where, value))
