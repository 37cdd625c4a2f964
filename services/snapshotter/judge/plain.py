"""Plain rules beside the tables, for what no learned doubt may excuse: each is 1 at its limit.

The tables learn from injected deviations and doubt what looks like none of them; these rules need no likeness. Frozen
and dead, a level far away, rare events where there were none, and numbers that hardly any normal day ever had.
"""

from __future__ import annotations

import numpy as np

from services.snapshotter.judge.tables import Fitted
from services.snapshotter.judge.values import Floats, Ints
from services.snapshotter.judge.views import NAMES, view_of

# A level away from the benchmark in the weakest quarter of the day and beyond every earlier day, in usual day-to-day
# movements. (Without a history that runs up to the deploy the tables are half blind, so it asks for less.)
FAR, FAR_BLIND = 3.8, 2.2
# On a baseline of almost nothing: many times as many as on any earlier day, beyond Poisson's spread, and in a quarter of
# the hours larger than any before.
RARE_ZEROS, RARE_TIMES, RARE_SIGMAS, RARE_HOURS = 0.95, 10.0, 6.0, 0.25
# One value for 3.6 h longer than ever, where none ever lasted 45 min; 0 for 50 min longer than ever, where there was none.
FROZEN, LIVELY = 0.15, 0.03
DEAD, NEVER_ZERO = 0.035, 0.002
# The numbers that are held against the extremes of normal days (their limits: `Fitted.extremes`).
EXTREMES = (
    "mean_A", "tail_r100", "q5_A", "late_jump_A", "spread", "overh_w", "zeros_d", "tail_A97", "g_q100", "late_q_A",
    "z_q95", "h_q25", "endh_A", "ex_end",
)  # fmt: skip
VIEWS = ("level", "rare events", "frozen or dead", "frozen or dead", *(view_of(name) for name in EXTREMES))
SERIES, HEAVY, LIGHT = 20, 1 / 3, 0.02


def rules(answers: Floats, fitted: Fitted, days: int, at_border: bool, n: int) -> tuple[Floats, Ints]:
    """(2N, F) answers about up and, below, about down -> how far the furthest rule is, and which of VIEWS it is.

    Beyond 20 SLIs the limits of rare and extreme grow by the cube root of `n / 20`, as the highest of n draws from a
    heavy tail (of index 3) does; that of far, whose weakest quarter of the day has no such tail, by 2 % of `ln(n / 20)`.
    """
    column = {name: answers[:, NAMES.index(name)] for name in _USED}
    is_down = np.arange(len(answers)) >= len(answers) // 2
    beyond = column["ex_weak_A"]
    weak = np.where(np.isnan(beyond), column["weak_A"], beyond)
    far = weak / np.where(np.isnan(beyond) & (not at_border), FAR_BLIND, FAR)
    times = np.where(np.isnan(column["g_nz"]), column["cnt_r"], column["g_nz"]) / np.log(RARE_TIMES)
    is_rare = (column["zb"] >= RARE_ZEROS) & (column["overh"] >= RARE_HOURS)
    rare = np.where(is_rare, np.fmin(times, column["cnt_z"] / RARE_SIGMAS), 0.0)
    # Standing at 0 is no finding for one who asks whether it went up.
    counts = is_down | (column["dead_d"] < 0.9 * column["still_d"])
    frozen = np.where(counts & (column["stb"] < LIVELY), column["still_d"] / FROZEN, 0.0)
    dead = np.where(is_down & (column["zb"] <= NEVER_ZERO), column["dead_d"] / DEAD, 0.0)
    limits = [fitted.extremes[name][min(days, 3) - 1] if name in fitted.extremes else np.inf for name in EXTREMES]
    extreme = [column[name] / limit for name, limit in zip(EXTREMES, limits, strict=True)]
    many = max(1.0, n / SERIES)
    growth = many**HEAVY
    found = np.nan_to_num(
        np.stack([far / (1 + LIGHT * np.log(many)), rare / growth, frozen, dead, *(e / growth for e in extreme)])
    )
    which = found.argmax(axis=0)
    return found[which, np.arange(len(answers))], which


_USED = frozenset(
    ("ex_weak_A", "weak_A", "g_nz", "cnt_r", "cnt_z", "zb", "overh", "stb", "still_d", "dead_d", *EXTREMES)
)
