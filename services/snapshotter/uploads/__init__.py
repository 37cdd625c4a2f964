"""Readings that come as a file. One file per format, found by lying here.

To add a format: a file `<name>.py` with `MEDIA`, the content types that it reads, and `read(raw) -> Iterator[Sample | Problem]`,
and its test. A reader is pure and says of every sample where it stood, and of every row that it cannot read what is wrong
with it. It raises `Unusable` where it cannot read on, and does not judge what it can read: `collect` does that for all
formats, and takes everything or nothing.

A number is a finite float in decimal; an empty value, `NaN` or null is a step without a number. Infinity, and what is too
large to be anything else (1e400), is refused: no source measures it, and no judge can weigh it.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, cast

import numpy as np

from services.snapshotter.sources import Floats

MOST_BYTES = 32 * 1024 * 1024
MOST_SAMPLES = 2_000_000
#: Longer lines are refused before any parser looks at them.
MOST_LINE = 4_000
#: Problems beyond these are counted, not listed.
MOST_PROBLEMS = 100
#: After so many rows that cannot be read, the rest is not tried: this is another format, or no readings at all.
MOST_UNREADABLE = 1_000
_TOLD_EVERY = 5_000  # samples

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_LATEST_S = 32_503_680_000.0  # the year 3000: what is later is milliseconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of one SLI. `where`: `row 17`, as a person would look for it."""

    where: str
    sli: str
    at_s: float
    value: float


@dataclass(frozen=True, slots=True)
class Problem:
    where: str
    reason: str


class Unusable(Exception):
    """What stands here cannot be read: one row for a reader that goes on, the rest of the file where it leaves a reader."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.problem = Problem(where, reason)


class Reader(Protocol):
    MEDIA: tuple[str, ...]

    def read(self, raw: bytes) -> Iterator[Sample | Problem]: ...


@dataclass(slots=True)
class Collected:
    """What was read: (T,) per SLI, NaN where there is no number; and everything that was wrong."""

    values: dict[str, Floats] = field(default_factory=dict)
    samples: int = 0
    problems: list[Problem] = field(default_factory=list)
    problems_total: int = 0


def named_source(format: str) -> str:
    """What stands for the source of a reading that came as a file; no policy can name a source so."""
    return f"upload:{format}"


def is_uploaded(source: str) -> bool:
    return source.startswith("upload:")


def formats() -> Mapping[str, Reader]:
    """name -> reader: the files here."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return {name: cast(Reader, importlib.import_module(f"{__name__}.{name}")) for name in names}


def collect(
    samples: Iterable[Sample | Problem],
    slis: Iterable[str],
    *,
    start_s: float,
    step_s: int,
    steps: int,
    told: Callable[[int], None] = lambda _: None,
) -> Collected:
    """Every sample in its step, or the reason why not. `told`: how many were read, now and then."""
    known, found, unreadable = set(slis), Collected(), 0
    filled: dict[str, np.ndarray] = {}

    def wrong(where: str, reason: str) -> None:
        found.problems_total += 1
        if len(found.problems) < MOST_PROBLEMS:
            found.problems.append(Problem(where, reason))

    try:
        for sample in samples:
            if isinstance(sample, Problem):
                wrong(sample.where, sample.reason)
                unreadable += 1
                if unreadable >= MOST_UNREADABLE:
                    raise Unusable("the file", f"{MOST_UNREADABLE:,} rows cannot be read: the rest was not tried")
                continue
            found.samples += 1
            if found.samples > MOST_SAMPLES:
                raise Unusable(sample.where, f"more than {MOST_SAMPLES:,} samples")
            if found.samples % _TOLD_EVERY == 0:
                told(found.samples)
            if sample.sli not in known:
                wrong(sample.where, f"the policy has no SLI {sample.sli[:64]!r}")
                continue
            if math.isinf(sample.value):
                wrong(sample.where, "the value is not finite")
                continue
            step = math.floor((sample.at_s - start_s) / step_s + 1e-9)
            if not 0 <= step < steps:
                wrong(sample.where, "the time lies outside the window")
                continue
            if sample.sli not in filled:
                filled[sample.sli] = np.zeros(steps, bool)
                found.values[sample.sli] = np.full(steps, np.nan)
            if filled[sample.sli][step]:
                wrong(sample.where, f"{sample.sli} has two values for one step of {step_s} s")
                continue
            filled[sample.sli][step] = True
            found.values[sample.sli][step] = sample.value
    except Unusable as error:
        wrong(error.problem.where, error.problem.reason)
    if not found.samples and not found.problems:
        wrong("the file", "it holds no sample")
    return found


# -- what readers share ---------------------------------------------------------------------------------------------------


def lines(raw: bytes) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end). Raises Unusable for what is not UTF-8, has NUL, or a line too long."""
    text = _text(raw)
    rows = text.split("\n")
    for number, line in enumerate(rows[:-1] if rows[-1] == "" else rows, 1):
        if len(line) > MOST_LINE:
            raise Unusable(f"row {number}", f"longer than {MOST_LINE:,} characters")
        yield number, line.removesuffix("\r")


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise Unusable(f"row {row}", "not UTF-8") from None
    if "\0" in text:
        raise Unusable(f"row {text.count(chr(10), 0, text.index(chr(0))) + 1}", "it holds the character NUL")
    return text


def number(where: str, said: str) -> float:
    """A value as it was written; NaN for none. Raises Unusable."""
    said = said.strip()
    if not said or said.lower() == "nan":
        return math.nan
    if not _NUMBER.fullmatch(said):
        raise Unusable(where, f"{said[:40]!r} is no number")
    return float(said)


def moment(where: str, said: str) -> float:
    """Unix seconds: a number of them, or a time with its zone. Raises Unusable."""
    said = said.strip()
    if _NUMBER.fullmatch(said):
        return seconds(where, float(said))
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        raise Unusable(where, f"{said[:40]!r} is no time: unix seconds, or 2026-11-23T09:00:00Z") from None
    if at.tzinfo is None:
        raise Unusable(where, "a time needs its zone, for example 2026-11-23T09:00:00Z")
    return seconds(where, at.timestamp())


def seconds(where: str, at_s: float) -> float:
    """Raises Unusable for what is no time in seconds."""
    if not 0 <= at_s < _LATEST_S:
        raise Unusable(where, "the time is not in unix seconds")
    return at_s
