"""The demo's production: three products whose SLIs move like real ones, and which react to what is deployed.

Nothing is stored: every value is computed from its time, so the past is as long as anybody asks, and always the same.
Hash noise (splitmix64 over lattice points) instead of a random generator gives any minute without the minutes before it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DAY_S = 86_400.0

#: What a change does: product, change -> SLI -> factor on its value from the deploy on. A change that is not here does
#: nothing to be seen, like most.
EFFECTS: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("epl-x", "EPLX-2.8.0"): {"p99-latency": 1.45, "error-ratio": 3.0, "pool-saturation": 1.5},
    ("scp", "SCP-1.4.0"): {"p99-duration": 1.4},
}


@dataclass(frozen=True)
class Signal:
    """How one SLI moves by itself.

    level     its value on an ordinary weekday, over the whole day, in the SLI's unit
    day       how far the day's course takes it, as a share: 0.3 = 30 % above in the afternoon, 30 % below at night
    weekend   factor on Saturdays and Sundays
    noise     sd of its short noise (minutes), as a share of the level
    drift     sd of its day-to-day drift, as a share of the level
    """

    level: float
    day: float
    weekend: float
    noise: float
    drift: float = 0.02


SIGNALS: Mapping[tuple[str, str], Signal] = {
    ("epl", "p99-latency"): Signal(240.0, 0.12, 0.95, 0.035),
    ("epl", "error-ratio"): Signal(0.0022, 0.08, 1.0, 0.12, 0.025),
    ("epl", "throughput"): Signal(310.0, 0.45, 0.60, 0.02),
    ("epl", "cpu-saturation"): Signal(0.44, 0.35, 0.68, 0.03),
    ("epl", "heap-used"): Signal(1450.0, 0.05, 0.97, 0.03),
    ("epl-x", "p99-latency"): Signal(520.0, 0.10, 0.96, 0.04),
    ("epl-x", "error-ratio"): Signal(0.0041, 0.06, 1.0, 0.10, 0.025),
    ("epl-x", "throughput"): Signal(46.0, 0.40, 0.55, 0.03),
    ("epl-x", "pool-saturation"): Signal(0.38, 0.30, 0.70, 0.04),
    ("epl-x", "partner-latency"): Signal(95.0, 0.08, 0.97, 0.05, 0.03),
    ("scp", "p99-duration"): Signal(6.5, 0.10, 0.95, 0.05),
    ("scp", "error-ratio"): Signal(0.0065, 0.05, 1.0, 0.12, 0.03),
    ("scp", "throughput"): Signal(21.0, 0.30, 0.75, 0.04),
    ("scp", "memory-saturation"): Signal(0.57, 0.06, 0.97, 0.02),
    ("scp", "consumer-lag"): Signal(640.0, 0.35, 0.70, 0.20, 0.03),
}


@dataclass(frozen=True)
class _Running:
    """That a change ran on a product over `[from_s, until_s)`, in unix seconds."""

    change: str
    from_s: float
    until_s: float = np.inf


class Plant:
    """The products, their SLIs, and what is deployed on them. Safe to use from several threads."""

    def __init__(self, effects: Mapping[tuple[str, str], Mapping[str, float]] = EFFECTS) -> None:
        self._effects = effects
        self._running: dict[str, tuple[_Running, ...]] = {}
        self._lock = threading.Lock()

    def deploy(self, product: str, change: str, at_s: float) -> None:
        """From `at_s` (unix seconds) on, `change` runs on `product`, on top of what runs there. Said again: moved."""
        with self._lock:
            others = tuple(run for run in self._running.get(product, ()) if run.change != change)
            self._running[product] = (*others, _Running(change, at_s))

    def roll_back(self, product: str, at_s: float) -> str | None:
        """Take back the last change of `product` that ran at `at_s`; returns its name, None when there was none."""
        with self._lock:
            runs = self._running.get(product, ())
            last = max((run for run in runs if run.from_s <= at_s < run.until_s), key=lambda r: r.from_s, default=None)
            if last is None:
                return None
            ended = _Running(last.change, last.from_s, at_s)
            self._running[product] = tuple(ended if run is last else run for run in runs)
            return last.change

    def values(self, product: str, sli: str, at_s: Floats) -> Floats:
        """(T,) values of an SLI at the times (T,), unix seconds. Raises KeyError for an SLI that the plant has not."""
        signal = SIGNALS[product, sli]
        seed = _seed(f"{product}/{sli}")
        # What the day and the week do to the load; the phase differs a little between products, as their users do.
        phase = 14.0 + (_seed(product) % 5) * 0.4
        day = 1 + signal.day * np.cos(2 * np.pi * (at_s / DAY_S - phase / 24))
        # Minutes that hang together over about five (queries look back that far), hours that hang together, and drift
        # from day to day. All of them shared in part by a product's SLIs, because they have causes in common.
        shared = _seed(product)
        minutes = (
            0.8 * _noise(seed, at_s, 300.0) + 0.4 * _noise(seed + 1, at_s, 60.0) + 0.3 * _noise(shared, at_s, 420.0)
        )
        hours = 0.8 * _noise(seed + 2, at_s, 7_200.0) + 0.5 * _noise(shared + 1, at_s, 7_200.0)
        drift = 0.9 * _noise(seed + 3, at_s, DAY_S) + 0.4 * _noise(shared + 2, at_s, DAY_S)
        moved = signal.noise * minutes + 0.3 * signal.noise * hours + signal.drift * drift
        return signal.level * day * _weekend(at_s, signal.weekend) * np.exp(moved) * self._effect(product, sli, at_s)

    def _effect(self, product: str, sli: str, at_s: Floats) -> Floats:
        """(T,) the factor of everything deployed: comes within two minutes of a deploy, goes within three of a rollback."""
        with self._lock:
            runs = self._running.get(product, ())
        factor = np.ones(len(at_s))
        for run in runs:
            size = self._effects.get((product, run.change), {}).get(sli, 1.0)
            if size != 1.0:
                comes = np.clip((at_s - run.from_s) / 120.0, 0.0, 1.0)
                goes = np.clip((at_s - run.until_s) / 180.0, 0.0, 1.0)
                factor *= size ** (comes - np.minimum(comes, goes))
        return factor


def _weekend(at_s: Floats, factor: float) -> Floats:
    """(T,) 1 on weekdays, `factor` on weekends, with three hours between."""
    weekday_s = (at_s + 3 * DAY_S) % (7 * DAY_S)  # since Monday 00:00 UTC; the epoch was a Thursday
    turn = 1.5 * 3600
    from_monday = np.minimum(weekday_s, 7 * DAY_S - weekday_s)
    from_saturday = np.abs(weekday_s - 5 * DAY_S)
    inside = np.where(weekday_s >= 5 * DAY_S, 1.0, -1.0) * np.minimum(from_monday, from_saturday)
    share = np.clip(inside / turn, -1.0, 1.0) / 2 + 0.5
    return 1 + (factor - 1) * share


def _noise(seed: int, at_s: Floats, lattice_s: float) -> Floats:
    """(T,) standard normal noise, smooth over `lattice_s`: independent values at lattice points, and between."""
    place = at_s / lattice_s
    left = np.floor(place)
    weight = place - left
    weight = weight * weight * (3 - 2 * weight)
    mix = (1 - weight) * _normal(seed, left) + weight * _normal(seed, left + 1)
    alike: Floats = mix / np.sqrt(
        (1 - weight) ** 2 + weight**2
    )  # otherwise quieter between lattice points than on them
    return alike


def _normal(seed: int, place: Floats) -> Floats:
    """(T,) independent standard normal values, one for each lattice point (Box-Muller over two hashes)."""
    key = place.astype(np.int64).astype(np.uint64) * np.uint64(2) + np.uint64(seed)
    first, second = _uniform(key), _uniform(key + np.uint64(1))
    normal: Floats = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
    return normal


def _uniform(key: npt.NDArray[np.uint64]) -> Floats:
    """(T,) in (0, 1]: splitmix64 (Steele, Lea, Flood 2014), its upper 53 bits."""
    z = key * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)).astype(np.float64) + 1) / 2.0**53


def _seed(name: str) -> int:
    """A number that is the same for a name in every process (Python's own hash is not): FNV-1a, 62 bits."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h >> 2
