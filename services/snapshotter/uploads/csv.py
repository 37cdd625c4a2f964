"""CSV with a head: the columns `sli`, `time` and `value` in any order, one sample a row (RFC 4180, comma, UTF-8)."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from services.snapshotter.uploads import Problem, Sample, Unusable, lines, moment, number

MEDIA = ("text/csv",)
_COLUMNS = ("sli", "time", "value")


def read(raw: bytes) -> Iterator[Sample | Problem]:
    """One sample a row. Raises Unusable."""
    place: list[int] | None = None
    for at, line in lines(raw):
        where = f"row {at}"
        if not line.strip():
            continue
        if place is None:
            head = [cell.strip().lower() for cell in _cells(where, line)]
            if sorted(head) != sorted(_COLUMNS):
                raise Unusable(where, "the head must name the columns sli, time and value, and no others")
            place = [head.index(name) for name in _COLUMNS]
            continue
        try:
            yield _sample(where, _cells(where, line), place)
        except Unusable as error:
            yield error.problem


def _cells(where: str, line: str) -> list[str]:
    """Line by line, so that a quote that is never closed swallows one row and not the file. Raises Unusable."""
    try:
        (cells,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError):
        raise Unusable(where, "not CSV: a quote is not closed, or stands where none may") from None
    return cells


def _sample(where: str, cells: list[str], place: list[int]) -> Sample:
    if len(cells) != len(place):
        raise Unusable(where, f"{len(cells)} cells, the head has {len(place)}")
    sli, time, value = (cells[column] for column in place)
    return Sample(where, sli.strip(), moment(where, time), number(where, value))
