"""What stays of samples for pages when the raw ones have expired: four numbers an hour."""

from __future__ import annotations

import numpy as np

from services.snapshotter.sources import Floats

HOUR_S = 3600
#: Each is one of the samples (nearest rank), so that it packs as well as they do.
RANKS = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}


def steps_an_hour(step_s: int) -> int:
    """Steps that are rolled up into one."""
    return max(1, HOUR_S // step_s)


def roll_up(values: Floats, step_s: int) -> Floats:
    """(T,) -> (4, H): min, median, p95 and max of each hour from the first step on; NaN where an hour has no number."""
    block = steps_an_hour(step_s)
    hours = -(-values.size // block)
    laid: Floats = np.full(hours * block, np.nan)
    laid[: values.size] = values
    ordered = np.sort(laid.reshape(hours, block), axis=1)  # NaN last
    count = np.isfinite(ordered).sum(axis=1)
    place = [np.clip(np.ceil(rank * count).astype(np.intp) - 1, 0, None) for rank in RANKS.values()]
    rolled: Floats = np.stack([ordered[np.arange(hours), each] for each in place])
    return rolled
