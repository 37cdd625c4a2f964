"""One series as compact bytes that say how to read them, and back. Lossless to the last bit; all NaN are one.

The first byte says how the rest lies; the rest is one zstd frame with a checksum, so that damage is noticed:

    1   float64, little-endian                    2   the same, bytes sorted by significance (plane by plane)
    3   float32 that are exactly these numbers    4   the same, by planes
    5   whole numbers and a power of ten: `head` below, then where numbers are missing (when some are), then the numbers

Measured numbers are seldom what they seem: a ratio with four digits, a count, a float32 that travelled as float64. Each
way is tried, what does not give back exactly the same bits is dropped, and the shortest is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import zstandard

from services.snapshotter.samples.content import canonical
from services.snapshotter.sources import Floats

DOUBLE, DOUBLE_PLANES, SINGLE, SINGLE_PLANES, DECIMAL = b"1", b"2", b"3", b"4", b"5"
#: Level 9 is 1 % shorter on the measured series, and takes twice as long.
LEVEL = 3
#: power of ten, flags, bytes a number, first number or least one
_HEAD = struct.Struct("<BBBq")
_IS_SINGLE, _IS_STEPS, _IS_PLANES, _HAS_GAPS = 1, 2, 4, 8
_MOST_POWER, _MOST_WHOLE = 12, 2**52

Bytes = npt.NDArray[np.uint8]


def pack(values: Floats) -> bytes:
    """(T,) -> bytes. Raises ValueError when `values` is not one-dimensional."""
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    raw = canonical(values)
    return min((way + compressor.compress(plain) for way, plain in _ways(raw)), key=len)


def unpack(packed: bytes, n: int) -> Floats:
    """The (n,) float64 that were packed, the caller's own.

    Raises ValueError when the bytes are damaged, or hold another number of values.
    """
    way, frame = bytes(packed[:1]), packed[1:]
    sizes = {DOUBLE: 8 * n, DOUBLE_PLANES: 8 * n, SINGLE: 4 * n, SINGLE_PLANES: 4 * n}
    try:
        size = zstandard.frame_content_size(frame)  # before a byte is unpacked, so that damage cannot fill memory
        if way == DECIMAL and not 0 <= size - _HEAD.size <= 9 * n + 1:
            raise ValueError(f"these samples are not {n} values")
        if way in sizes and size != sizes[way]:
            raise ValueError(f"these samples are not {n} values")
        if way not in (*sizes, DECIMAL):
            raise ValueError(f"these samples are kept in a way that is not known here: {way!r}")
        plain = zstandard.ZstdDecompressor().decompress(frame) if size else b""
    except zstandard.ZstdError as error:
        raise ValueError(f"these samples are damaged: {error}") from error
    if way == DECIMAL:
        return _from_decimal(plain, n)
    kind = "<f8" if way in (DOUBLE, DOUBLE_PLANES) else "<f4"
    flat = np.frombuffer(plain, dtype=np.uint8)
    if way in (DOUBLE_PLANES, SINGLE_PLANES):
        flat = _from_planes(flat, np.dtype(kind).itemsize)
    return flat.view(kind).astype(np.float64)


def _ways(raw: Floats) -> Iterator[tuple[bytes, bytes]]:
    """Every way in which these numbers can lie: its first byte, and what is to be compressed."""
    yield DOUBLE, raw.tobytes()
    yield DOUBLE_PLANES, _planes(raw)
    with np.errstate(over="ignore", under="ignore"):
        single = raw.astype("<f4")
    is_single = bool((_bits(single.astype(np.float64)) == _bits(raw)).all())
    if is_single:
        yield SINGLE, single.tobytes()
        yield SINGLE_PLANES, _planes(single)
    gaps = np.isnan(raw)
    there = raw[~gaps]
    # A float32 of a decimal number is a whole number over a power of ten as well, once it is rounded to float32 again.
    for as_single in (False, True) if is_single else (False,):
        found = _decimal(there, as_single)
        if found is not None:
            power, whole = found
            yield from ((DECIMAL, plain) for plain in _decimal_ways(whole, gaps, power, as_single))
            return


def _decimal(there: Floats, as_single: bool) -> tuple[int, npt.NDArray[np.int64]] | None:
    """(power, whole numbers) with `whole / 10^power` exactly these numbers, bit for bit; None when there are none."""
    if not there.size or not (np.abs(there) < _MOST_WHOLE).all():
        return None
    for power in range(_MOST_POWER + 1):
        rounded = np.rint(there * 10.0**power)
        if np.abs(rounded).max() > _MOST_WHOLE:
            return None
        whole = rounded.astype(np.int64)  # by way of the integers, which know no -0.0
        if (_bits(_over(whole, power, as_single)) == _bits(there)).all():
            return power, whole
    return None


def _decimal_ways(
    whole: npt.NDArray[np.int64], gaps: npt.NDArray[np.bool_], power: int, single: bool
) -> Iterator[bytes]:
    """The numbers as distances from the least one, and as steps from one to the next; plain and by planes."""
    missing = np.packbits(gaps).tobytes() if gaps.any() else b""
    step = np.diff(whole, prepend=whole[:1])
    for is_steps, base, numbers in (
        (0, int(whole.min()), whole - whole.min()),
        (_IS_STEPS, int(whole[0]), (step << 1) ^ (step >> 63)),  # small steps up and down are small numbers
    ):
        width = next(w for w in (1, 2, 4, 8) if int(numbers.max()) < 1 << (8 * w - (w == 8)))
        laid = numbers.astype(f"<u{width}")
        flags = (_IS_SINGLE if single else 0) | is_steps | (_HAS_GAPS if missing else 0)
        yield _HEAD.pack(power, flags, width, base) + missing + laid.tobytes()
        if width > 1:
            yield _HEAD.pack(power, flags | _IS_PLANES, width, base) + missing + _planes(laid)


def _from_decimal(plain: bytes, n: int) -> Floats:
    power, flags, width, base = _HEAD.unpack_from(plain)
    at = _HEAD.size
    gaps = np.zeros(n, dtype=bool)
    if flags & _HAS_GAPS:
        mask = np.frombuffer(plain, dtype=np.uint8, count=(n + 7) // 8, offset=at)
        gaps = np.unpackbits(mask, count=n).astype(bool)
        at += mask.size
    flat = np.frombuffer(plain, dtype=np.uint8, offset=at)
    if width not in (1, 2, 4, 8) or flat.size != width * int(n - gaps.sum()):
        raise ValueError(f"these samples are not {n} values")
    if flags & _IS_PLANES:
        flat = _from_planes(flat, width)
    numbers = flat.view(f"<u{width}").astype(np.int64)
    if flags & _IS_STEPS:
        numbers = np.cumsum((numbers >> 1) ^ -(numbers & 1))
    values: Floats = np.full(n, np.nan)
    values[~gaps] = _over(numbers + base, power, bool(flags & _IS_SINGLE))
    return values


def _over(whole: npt.NDArray[np.int64], power: int, as_single: bool) -> Floats:
    back: Floats = whole.astype(np.float64) / 10.0**power
    return back.astype(np.float32).astype(np.float64) if as_single else back


def _bits(values: Floats) -> npt.NDArray[np.int64]:
    return np.ascontiguousarray(values, dtype=np.float64).view(np.int64)


def _planes(laid: npt.NDArray[np.generic]) -> bytes:
    """First bytes of all numbers, second bytes of all, ..."""
    return laid.view(np.uint8).reshape(-1, laid.dtype.itemsize).T.tobytes()


def _from_planes(flat: Bytes, width: int) -> Bytes:
    return np.ascontiguousarray(flat.reshape(width, -1).T).reshape(-1)
