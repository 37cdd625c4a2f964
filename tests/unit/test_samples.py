"""What is kept of a snapshot, and the hash that says that it is still the same."""

import hashlib
import struct

import numpy as np
import pytest

from services.snapshotter.samples import Sampled, content_hash, pack, unpack
from services.snapshotter.sources import Missing, Reading, Series

NOISE = np.random.default_rng(7)
DAY = np.arange(1440)
MEASURED = 0.2 * (1 + 0.3 * np.sin(DAY / 229)) * np.exp(0.05 * NOISE.standard_normal(1440))
HOLES = np.where(NOISE.random(1440) < 0.1, np.nan, MEASURED)


def sampled(values: object, query: str = "up", source: str = "main") -> Sampled:
    reading: Reading = values if isinstance(values, Missing) else Series(np.asarray(values, dtype=np.float64))
    return Sampled(query, source, reading)


SNAPSHOT = {"p99": sampled([1.0, np.nan, 3.0]), "errors": sampled([0.0, 0.5, -0.0]), "load": sampled(Missing("down"))}


def test_the_hash_is_what_anybody_can_compute_again_from_the_numbers() -> None:
    header = (
        '{"slis":[{"id":"errors","missing":null,"query":"up","source":"main","steps":3},'
        '{"id":"load","missing":"down","query":"up","source":"main","steps":0},'
        '{"id":"p99","missing":null,"query":"up","source":"main","steps":3}],"start_s":600.0,"step_s":60.0}'
    )
    body = struct.pack("<3d", 0.0, 0.5, -0.0)
    body += struct.pack("<d", 1.0) + bytes.fromhex("000000000000f87f") + struct.pack("<d", 3.0)
    by_hand = hashlib.sha256(b"daymark snapshot 1\n" + header.encode() + b"\n" + body).hexdigest()
    assert content_hash(600, 60, SNAPSHOT) == by_hand


def test_the_hash_does_not_depend_on_the_order_or_on_how_numbers_lie_in_memory() -> None:
    backwards = dict(reversed(SNAPSHOT.items()))
    backwards["errors"] = Sampled("up", "main", Series(np.array([0.0, 9, 0.5, 9, -0.0, 9])[::2]))
    backwards["p99"] = Sampled("up", "main", Series(np.array([1.0, np.nan, 3.0], dtype=">f8")))
    assert content_hash(600.0, 60.0, backwards) == content_hash(600, 60, SNAPSHOT)


def test_every_nan_is_one_nan() -> None:
    odd = np.array([0xFFF8000000000123], dtype=np.uint64).view(np.float64)
    assert content_hash(0, 60, {"a": sampled(odd)}) == content_hash(0, 60, {"a": sampled([np.nan])})
    assert pack(odd) == pack(np.array([np.nan]))


@pytest.mark.parametrize(
    "other",
    [
        {**SNAPSHOT, "p99": sampled([1.0, np.nan, np.nextafter(3.0, 4)])},
        {**SNAPSHOT, "p99": sampled([1.0, np.nan, 3.0], query="up ")},
        {**SNAPSHOT, "p99": sampled([1.0, np.nan, 3.0], source="other")},
        {**SNAPSHOT, "p99": sampled([1.0, np.nan])},
        {**SNAPSHOT, "errors": sampled([0.0, 0.5, 0.0])},
        {**SNAPSHOT, "load": sampled(Missing("gone"))},
        {**SNAPSHOT, "load": sampled([])},
        {**SNAPSHOT, "p99": SNAPSHOT["errors"], "errors": SNAPSHOT["p99"]},
        {sli: SNAPSHOT[sli] for sli in ("p99", "errors")},
    ],
)
def test_any_difference_in_content_is_another_hash(other: dict[str, Sampled]) -> None:
    assert content_hash(600, 60, other) != content_hash(600, 60, SNAPSHOT)


def test_another_window_is_another_hash() -> None:
    hashes = {content_hash(start, step, SNAPSHOT) for start in (600, 600.001, 660) for step in (60, 30)}
    assert len(hashes) == 6


@pytest.mark.parametrize(
    "values",
    [
        MEASURED,
        HOLES,
        np.round(MEASURED, 3),
        NOISE.poisson(3, 1440) / 300,
        np.zeros(1440),
        np.full(1440, np.nan),
        np.array([]),
        np.array([5e-324, -0.0, 1.7976931348623157e308, -1e-300, np.inf, -np.inf, np.nan]),
        NOISE.integers(0, 2**63, 4096).astype(np.uint64).view(np.float64),
        MEASURED[::-3],
    ],
)
def test_packed_samples_come_back_bit_for_bit(values: np.ndarray) -> None:
    back = unpack(pack(values), len(values))
    assert back.dtype == np.float64
    expected = np.where(np.isnan(values), np.nan, values)
    assert back.tobytes() == expected.tobytes()
    back[:1] = 0  # what is read can be worked on


def test_a_day_of_minutes_takes_less_room_than_its_numbers() -> None:
    assert len(pack(MEASURED)) < 0.85 * MEASURED.nbytes
    assert len(pack(np.round(MEASURED, 3))) < 0.3 * MEASURED.nbytes
    assert len(pack(np.zeros(1440))) < 64


@pytest.mark.parametrize("n", [0, 1, 1439, 1441, 10**12])
def test_samples_of_another_length_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=r"not \d+ values"):
        unpack(pack(MEASURED), n)


def test_damaged_samples_are_refused() -> None:
    packed = pack(MEASURED)
    for place in range(0, len(packed), 101):
        for harm in (packed[:place], packed[:place] + bytes([packed[place] ^ 0x55]) + packed[place + 1 :]):
            with pytest.raises(ValueError, match="samples"):
                unpack(harm, len(MEASURED))


def test_a_series_has_one_dimension() -> None:
    with pytest.raises(ValueError, match="one dimension"):
        pack(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="one dimension"):
        content_hash(0, 60, {"a": sampled(np.zeros((2, 2)))})
