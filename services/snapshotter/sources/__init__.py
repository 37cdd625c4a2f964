"""Where samples come from. One file per kind of source, found by lying here.

To add a kind: a file `<kind>.py` with `def open_source(name, settings) -> Source`, and its test. A policy names a source;
what lies behind the name (kind, address, credentials) is a deploy-time setting, `DAYMARK_SOURCES`:

    {"main": {"kind": "prometheus", "url": "https://prometheus.internal", "headers": {"Authorization": "Bearer ..."}}}

A source never raises for a fault of its own and never guesses: it answers a whole series, or `Missing` with the reason.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """One number per step of a window.

    values    (T,) float64, finite or NaN; NaN where the source has nothing for that step
    warnings  what a reader of the numbers should know, plain sentences; none of them says that something was left away
    """

    values: Floats
    warnings: tuple[str, ...] = ()


#: What a query brought instead of one series of numbers; `failed`: it was not answered at all.
Fault = Literal["nothing", "several", "no_numbers", "refused", "failed"]


@dataclass(frozen=True)
class Missing:
    """Why there is no series. `retry`: asking again later may bring it (the source was down, not the query wrong).

    silent  the source answered completely and without a warning, and has nothing of this series in the whole window: if it
            spoke before, it fell silent. Every other silence may be the source's own
    """

    reason: str
    retry: bool = False
    fault: Fault = field(default="failed", compare=False)
    silent: bool = field(default=False, compare=False)


Reading = Series | Missing


class Source(Protocol):
    """A place that can be asked for a series."""

    async def read(
        self, query: str, start_s: float, end_s: float, step_s: int, match: Mapping[str, str] | None = None
    ) -> Reading:
        """The values of `query` at start, start + step, ... before end (unix seconds; the window is half-open).

        `match`: labels that every part of the query is to match on, put into it by a parser of its language. Every fault of
        the source, and a query that this cannot be done to, is a `Missing`. Raises ValueError only when the window itself
        makes no sense.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. The source cannot be read afterwards."""
        ...


def steps(start_s: float, end_s: float, step_s: int) -> int:
    """T, the number of steps in `[start, end)`. Raises ValueError when the window is empty or the step not positive."""
    if not (step_s > 0 and math.isfinite(start_s) and math.isfinite(end_s) and end_s > start_s):
        raise ValueError(f"no window: from {start_s} to {end_s} in steps of {step_s} s")
    return max(1, math.ceil((end_s - start_s) / step_s - 1e-6))


def kinds() -> tuple[str, ...]:
    """The kinds of source there are: the names of the files here."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def open_source(name: str, settings: Mapping[str, Any]) -> Source:
    """The source that policies call `name`. Nothing is connected yet.

    Raises ValueError when the settings name no known kind, or do not fit it; the message holds no credential.
    """
    kind = settings.get("kind")
    if kind not in kinds():
        raise ValueError(f"source {name}: its kind is {kind!r}, and must be one of {', '.join(kinds())}")
    return cast(Source, importlib.import_module(f"{__name__}.{kind}").open_source(name, settings))


__all__ = ["Floats", "Missing", "Reading", "Series", "Source", "kinds", "open_source", "steps"]
