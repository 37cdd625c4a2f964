"""What is kept of a snapshot, and the hash that says that it is still the same."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.snapshotter.samples import (
    Bucket,
    Sampled,
    bundle,
    content_hash,
    open_bucket,
    pack,
    roll_up,
    unpack,
)
from services.snapshotter.sources import Floats, Missing, Reading, Series

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
        NOISE.poisson(3, 1440) * 1.0,
        np.round(HOLES, 4),
        np.cumsum(NOISE.poisson(900, 1440)) * 1e6,
        np.round(-1e9 * MEASURED),
        MEASURED.astype(np.float32).astype(np.float64),
        np.round(HOLES, 3).astype(np.float32).astype(np.float64),
        np.array([0.1, 0.3, -0.0]),
        np.array([2.0**52, -(2.0**52), 0.5]),
        np.array([0.1 + 0.2, 1e-13, 123456789.123456]),
        np.array([np.nan, 7.0, np.nan]),
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
    counts: Floats = NOISE.poisson(30, 1440).astype(np.float64)
    assert len(pack(counts)) < 0.85 * 1440 and len(pack(counts / 1000)) < 0.85 * 1440  # less than a byte each
    single: Floats = MEASURED.astype(np.float32).astype(np.float64)
    assert len(pack(single)) < 0.45 * MEASURED.nbytes


@given(st.lists(st.one_of(st.floats(), st.integers(-(10**6), 10**6).map(lambda n: n / 1000)), max_size=60))
def test_whatever_the_numbers_are_they_come_back_to_the_last_bit(numbers: list[float]) -> None:
    values = np.array(numbers, dtype=np.float64)
    assert unpack(pack(values), len(values)).tobytes() == np.where(np.isnan(values), np.nan, values).tobytes()


def test_a_rollup_is_four_of_the_samples_of_each_hour() -> None:
    rolled = roll_up(np.array([*range(60), *[np.nan] * 60, 5.0]), 60)
    assert rolled.shape == (4, 3)
    assert rolled[:, 0].tolist() == [0, 29, 56, 59] and rolled[:, 2].tolist() == [5] * 4
    assert np.isnan(rolled[:, 1]).all() and roll_up(np.arange(3.0), 3600).shape == (4, 3)


def test_a_bundle_says_where_each_series_lies_and_is_named_by_what_it_holds() -> None:
    series = [MEASURED, None, np.zeros(3)]
    made = bundle(series)
    assert made == bundle(series) and made.places[1] is None
    for values, place in zip(series, made.places, strict=True):
        if values is not None and place is not None:
            part = made.data[place.first : place.first + place.length]
            assert place.payload == hashlib.sha256(made.data).hexdigest()
            assert unpack(part, len(values)).tobytes() == values.tobytes()
    assert bundle([None]).data == b""


@pytest.mark.parametrize("url", ["ftp://x/y", "/plain/folder", "memory:///", ""])
def test_an_object_store_of_another_kind_is_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match="DAYMARK_SAMPLES_URL must begin with one of s3://, gs://, az://, file://"):
        open_bucket(url)


def test_the_clouds_are_known_by_their_schemes_and_nothing_is_connected_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("s3://samples/epl", "gs://samples", "az://samples/here"):
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "ours")
        assert isinstance(open_bucket(url), Bucket)


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
