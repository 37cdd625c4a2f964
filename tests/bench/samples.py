"""How many bytes a stored sample takes, against Parquet with zstd, on real series of real systems."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from services.snapshotter.samples import bundle, unpack

#: Measured series of servers and services, one snapshot a day; they lie beside the clone, not in it.
REAL = Path(__file__).resolve().parents[3] / "shared" / "judge" / "dev" / "series.npz"
DAYS = 120


def _snapshots() -> list[np.ndarray]:
    """(SLIs, steps) of whole days, chosen by chance, always the same ones."""
    if not REAL.exists():
        pytest.skip("no real series beside this clone (../shared/judge/dev)")
    held = np.load(REAL)
    found = []
    for entity, about in json.loads(str(held["entities"])).items():
        values = np.atleast_2d(held[f"{entity}|x"]).astype(np.float64)
        a_day = int(86_400 / about["step_s"])
        found += [values[:, first : first + a_day] for first in range(0, values.shape[1] - a_day + 1, a_day)]
    chosen = np.random.default_rng(1).permutation(len(found))[:DAYS]
    return [found[i] for i in chosen]


def _ours(snapshot: np.ndarray) -> int:
    made = bundle(snapshot)
    for values, place in zip(snapshot, made.places, strict=True):
        assert place is not None
        back = unpack(made.data[place.first : place.first + place.length], values.size)
        assert back.tobytes() == np.where(np.isnan(values), np.nan, values).tobytes()
    # What a row says of each: the hash of its payload, where it begins and how long it is.
    return len(made.data) + sum(len(each.payload) // 2 + 8 for each in made.places if each)


def _parquet(snapshot: np.ndarray) -> int:
    """The smallest of the layouts that one would choose."""
    sizes = []
    wide = pa.table({f"sli_{i}": values for i, values in enumerate(snapshot)})
    split = {"use_dictionary": False, "column_encoding": dict.fromkeys(wide.column_names, "BYTE_STREAM_SPLIT")}
    rows = pa.array(np.repeat(np.arange(len(snapshot), dtype=np.int32), snapshot.shape[1]))
    long = pa.table({"sli": rows, "value": snapshot.ravel()})
    split_long = {"use_dictionary": ["sli"], "column_encoding": {"value": "BYTE_STREAM_SPLIT"}}
    for table, options in ((wide, {}), (wide, split), (long, {}), (long, split_long)):
        into = io.BytesIO()
        parquet.write_table(table, into, compression="zstd", compression_level=9, **options)
        sizes.append(into.tell())
    return min(sizes)


def bytes_per_sample() -> dict[str, Any]:
    snapshots = _snapshots()
    samples = sum(each.size for each in snapshots)
    return {
        "ours": sum(map(_ours, snapshots)) / samples,
        "limit": sum(map(_parquet, snapshots)) / samples,
        "unit": "bytes",
        "n": len(snapshots),
        "what": "a stored sample, lossless, against the smallest of four Parquet layouts with zstd 9 a snapshot (<= 1)",
    }


BENCHES = {"bytes_per_sample": bytes_per_sample}
