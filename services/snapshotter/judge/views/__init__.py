"""The views: each asks one question about "did it go up?"; the mirrored days ask the same about down.

`look` answers all of them at once as a table of numbers, (N, len(NAMES)), NaN where a question cannot be asked
(no earlier days, no history that runs up to the deploy).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.snapshotter.judge.measures import Days
from services.snapshotter.judge.values import Floats
from services.snapshotter.judge.views import earlier as past
from services.snapshotter.judge.views import level, shape
from services.snapshotter.judge.views.scale import Scale, ratio, scale_of

View = Callable[[Days, int, Days, Scale], dict[str, Floats]]


def _character(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """What kind of series it is; these questions weigh the others and say nothing by themselves."""
    u = s.usual
    kinds = {"nA": s.noise, "sdA": s.body, "wA": s.width, "levA": s.level, "tickA": s.tick, "hopA": s.hop}
    days = np.full(len(u), float(len(earlier.read)))
    return {k: ratio(v, u) for k, v in kinds.items()} | {
        "zb": earlier.zeros[benchmark],
        "stb": earlier.still[benchmark],
        "D": days,
    }


# name of the view as people read it -> (function, needs history up to the deploy, needs two earlier days)
VIEWS: dict[str, tuple[View, bool, bool]] = {
    "character": (_character, False, False),
    "level": (level.level, False, False),
    "border": (level.border, True, False),
    "late start": (level.late, False, False),
    "slow leak": (level.leak, False, False),
    "spread": (shape.spread, False, False),
    "upper tail": (shape.tail, False, False),
    "bursts": (shape.bursts, False, False),
    "frozen or dead": (shape.still, False, False),
    "rare events": (shape.rare, False, False),
    "earlier days": (past.beyond, False, True),
    "earlier hours": (past.hours_beyond, False, True),
    "border of earlier days": (past.border_beyond, True, True),
}


def _names() -> dict[str, str]:
    """Every question and the view it belongs to, learned by asking them once of an empty pair of days."""
    from services.snapshotter.judge.measures import measure

    with np.errstate(all="ignore"):
        two, one = measure(np.zeros((2, 1, 24)), 24), measure(np.zeros((1, 1, 24)), 24)
        s = scale_of(two, 1, one)
        return {name: view for view, (ask, _, _) in VIEWS.items() for name in ask(two, 1, one, s)}


VIEW_OF = _names()
NAMES = tuple(VIEW_OF)
# Numbers that may count either way; all others may only speak louder when they grow.
FREE = frozenset(
    "nA sdA wA levA tickA hopA zb stb D late_share bef_A start_A Jfrac still_y unstill".split()  # noqa: SIM905
)


def look(earlier: Days, benchmark: int, after: Days, at_border: bool) -> Floats:
    """All questions about "up": (N, len(NAMES)).

    earlier    D >= 1 days, oldest first; the last one runs up to the deploy when `at_border`
    benchmark  which of them is the benchmark
    after      one day
    """
    n = after.read.shape[1]
    days = len(earlier.read)
    unknown = np.full(n, np.nan)
    answers: dict[str, Floats] = {}
    with np.errstate(all="ignore"):
        s = scale_of(earlier, benchmark, after)
        for ask, needs_border, needs_days in VIEWS.values():
            if (at_border or not needs_border) and (days > 1 or not needs_days):
                answers |= ask(earlier, benchmark, after, s)
    return np.stack([answers.get(name, unknown) for name in NAMES], axis=-1)
