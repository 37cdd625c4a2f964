"""What goes in and what comes out: windows, rules, comparisons. Frozen values, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]
Outcome = Literal["steady", "moved", "inconclusive", "no_data"]
Direction = Literal["higher_is_worse", "lower_is_worse", "both"]

_NO_NUMBERS: Mapping[str, float] = MappingProxyType({})


def read_as(unit: str) -> tuple[int, str]:
    """By what people multiply numbers of that unit, and what they call it then: shares (`ratio`, 0 to 1) are percents."""
    return (100, "%") if unit == "ratio" else (1, unit)


def said(unit: str, *numbers: float, digits: int = 4, between: str = " -> ") -> str:
    """Numbers of one unit, as people read them."""
    factor, name = read_as(unit)
    return f"{between.join(f'{factor * n:.{digits}g}' for n in numbers)} {name}".rstrip()


@dataclass(frozen=True)
class Window:
    """N series over one half-open window `[start_s, start_s + T * step_s)`.

    start_s       unix seconds of the first step
    step_s        seconds between steps, > 0
    utc_offset_s  seconds to add to UTC to get the wall clock that the load follows
    values        (N, T) floats, NaN where nothing was read; never changed by the judge
    missing       for each series None, or the capture's reason why it (or part of it) was not read

    Raises ValueError when the shapes or the step make no sense.
    """

    start_s: float
    step_s: float
    utc_offset_s: float
    values: np.ndarray
    missing: tuple[str | None, ...]

    def __post_init__(self) -> None:
        if np.ndim(self.values) != 2:
            raise ValueError(f"values must be (N, T), not of shape {np.shape(self.values)}")
        if len(self.missing) != np.shape(self.values)[0]:
            raise ValueError(f"{len(self.missing)} reasons for {np.shape(self.values)[0]} series")
        if not self.step_s > 0:
            raise ValueError(f"step_s must be positive, not {self.step_s}")

    @property
    def end_s(self) -> float:
        """Unix seconds of the end, which is not part of the window."""
        return float(self.start_s + self.step_s * np.shape(self.values)[1])


@dataclass(frozen=True)
class Rule:
    """What a policy says about one SLI.

    min_relative  smallest change that matters, as a share (0..) of the benchmark's level
    min_absolute  smallest change that matters, in `unit`; a change must pass both
    decides       False for `shadow` SLIs: judged and shown, never decisive
    target        series of one target speak together: when one of them falls silent alone, that is a finding
    """

    sli: str
    title: str
    unit: str
    direction: Direction
    min_relative: float
    min_absolute: float
    decides: bool
    target: str = ""

    def __post_init__(self) -> None:
        if self.direction not in ("higher_is_worse", "lower_is_worse", "both"):
            raise ValueError(f"unknown direction {self.direction!r} of {self.sli}")
        if not (self.min_relative >= 0 and self.min_absolute >= 0):
            raise ValueError(f"the smallest change that matters cannot be negative ({self.sli})")


@dataclass(frozen=True)
class Comparison:
    """The judge's answer for one SLI.

    sentence         one plain sentence with numbers
    view             which view decided (see `views`), None when none fired
    before, after    the number that the view compares, in the SLI's unit (or in the view's own, see the sentence)
    effect_*         after - before: absolute, and as a share of `before`
    limit            what the view's score had to pass to be `moved`
    since_s          unix seconds from when the change is seen, None when it is the whole window or there is none
    numbers          every other number that was used, by name
    """

    sli: str
    outcome: Outcome
    sentence: str
    decides: bool
    view: str | None = None
    before: float | None = None
    after: float | None = None
    effect_relative: float | None = None
    effect_absolute: float | None = None
    limit: float | None = None
    since_s: float | None = None
    numbers: Mapping[str, float] = field(default_factory=lambda: _NO_NUMBERS)


_RANK: tuple[Outcome, ...] = ("moved", "no_data", "inconclusive", "steady")


def overall(comparisons: Sequence[Comparison]) -> Outcome:
    """The worst outcome of the SLIs that decide: moved > no_data > inconclusive > steady.

    With nothing that decides the answer is `no_data`: nothing was measured that could have said `steady`.
    """
    seen = {c.outcome for c in comparisons if c.decides}
    return next((o for o in _RANK if o in seen), "no_data")
