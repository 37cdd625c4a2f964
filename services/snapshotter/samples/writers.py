"""Lines as JSON, CSV and an Arrow stream, piece by piece: no answer is ever whole in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import nanoarrow as na
import numpy as np
import orjson
from nanoarrow.ipc import StreamWriter

from services.snapshotter.samples.plots import Line


@dataclass(frozen=True, eq=False, slots=True)
class Shown:
    """One SLI of an answer: what is said of it in JSON, its line, and the line of the other snapshot on the same grid.

    A missing one has no line.
    """

    sli: str
    about: Mapping[str, Any]
    line: Line | None
    other: Line | None = None


class Writer(Protocol):
    """Turns an answer into bytes: `begin`, then `piece` for each SLI, then `end`. CPU work: call it in a thread."""

    media_type: str

    def begin(self) -> bytes: ...

    def piece(self, shown: Shown) -> bytes: ...

    def end(self) -> bytes: ...


class JsonWriter:
    """One document; NaN is null."""

    media_type = "application/json"

    def __init__(self, head: Mapping[str, Any]) -> None:
        self._head, self._is_first = head, True

    def begin(self) -> bytes:
        return orjson.dumps(dict(self._head))[:-1] + b',"series":['

    def piece(self, shown: Shown) -> bytes:
        document = {**shown.about, **_lists(shown.line)}
        if shown.other is not None or "with" in shown.about:
            document["with"] = {**shown.about.get("with", {}), **_lists(shown.other)}
        comma, self._is_first = (b"" if self._is_first else b","), False
        return comma + orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)

    def end(self) -> bytes:
        return b"]}"


def _lists(line: Line | None) -> dict[str, Any]:
    columns = {} if line is None else dict(line.columns)
    return {"values": columns.pop("value", []), **columns}


class _Rows:
    """Rows (sli, at, numbers...): the columns are the same for every SLI of an answer."""

    def __init__(self, columns: tuple[str, ...], *, is_paired: bool) -> None:
        self._columns = columns
        self._names = (*columns, *(f"with_{name}" for name in columns)) if is_paired else columns

    def _numbers(self, shown: Shown, count: int) -> list[np.ndarray]:
        nothing = np.full(count, np.nan)
        mine = [nothing if shown.line is None else shown.line.columns[name] for name in self._columns]
        if len(self._names) > len(self._columns):
            mine += [nothing if shown.other is None else shown.other.columns[name] for name in self._columns]
        return mine


class CsvWriter(_Rows):
    """RFC 4180, in UTF-8: a row per SLI and step; nothing between the commas where there is no number."""

    media_type = "text/csv; charset=utf-8"

    def begin(self) -> bytes:
        return ",".join(("sli", "at", *self._names)).encode() + b"\r\n"

    def piece(self, shown: Shown) -> bytes:
        grid = _grid_of(shown)
        if grid is None:
            return b""
        at = np.datetime_as_string(_times(shown), unit="ms")
        # orjson's digits are the shortest that give the same number back; it writes NaN as null.
        texts = [
            orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].replace(b"null", b"").split(b",")
            for column in self._numbers(shown, grid.count)
        ]
        sli = shown.sli.encode()
        rows = zip([sli] * grid.count, [f"{each}Z".encode() for each in at.tolist()], *texts, strict=True)
        return b"\r\n".join(map(b",".join, rows)) + b"\r\n"

    def end(self) -> bytes:
        return b""


class ArrowWriter(_Rows):
    """An Arrow IPC stream, one record batch per SLI: sli (utf8), at (timestamp, us, UTC), float64 columns; NaN stays NaN."""

    media_type = "application/vnd.apache.arrow.stream"

    def __init__(self, columns: tuple[str, ...], *, is_paired: bool) -> None:
        super().__init__(columns, is_paired=is_paired)
        fields = {"sli": na.string(), "at": na.timestamp("us", "UTC"), **dict.fromkeys(self._names, na.float64())}
        self._schema = na.struct(fields, nullable=False)
        self._into = io.BytesIO()
        self._writer = StreamWriter.from_writable(self._into)

    def begin(self) -> bytes:
        nothing = [na.c_array_from_buffers(na.string(), 0, [None, np.zeros(1, np.int32), b""])]
        nothing.append(na.c_array_from_buffers(na.timestamp("us", "UTC"), 0, [None, np.zeros(0, np.int64)]))
        nothing += [na.c_array_from_buffers(na.float64(), 0, [None, np.zeros(0)]) for _ in self._names]
        self._writer.write_array(na.c_array_from_buffers(self._schema, 0, [None], children=nothing))
        return self._taken()

    def piece(self, shown: Shown) -> bytes:
        grid = _grid_of(shown)
        if grid is None:
            return b""
        name, count = shown.sli.encode(), grid.count
        ends = np.arange(count + 1, dtype=np.int32) * len(name)
        at = _times(shown).astype("datetime64[us]").view(np.int64)
        children = [
            na.c_array_from_buffers(na.string(), count, [None, ends, name * count]),
            na.c_array_from_buffers(na.timestamp("us", "UTC"), count, [None, at]),
        ]
        for column in self._numbers(shown, count):
            children.append(na.c_array_from_buffers(na.float64(), count, [None, np.ascontiguousarray(column)]))
        self._writer.write_array(na.c_array_from_buffers(self._schema, count, [None], children=children))
        return self._taken()

    def end(self) -> bytes:
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        written = self._into.getvalue()
        self._into.seek(0)
        self._into.truncate()
        return written


def _grid_of(shown: Shown) -> Any:
    line = shown.line or shown.other
    return None if line is None else line.grid


def _times(shown: Shown) -> np.ndarray:
    grid = _grid_of(shown)
    milliseconds = np.rint(1000 * (grid.start_s + grid.step_s * np.arange(grid.count))).astype(np.int64)
    return milliseconds.view("datetime64[ms]")
