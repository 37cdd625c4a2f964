"""The views: each asks one question about "did it go up?". They are given every series twice, as it is and behind all
of them upside down (row N + j mirrors row j), so that the same questions ask about down.

`look` answers all of them at once as a table of numbers, (N, len(NAMES)), NaN where a question cannot be asked
(no earlier days, no history that runs up to the deploy).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.snapshotter.judge.measures import Days
from services.snapshotter.judge.order import median
from services.snapshotter.judge.values import Floats
from services.snapshotter.judge.views import earlier as past
from services.snapshotter.judge.views import level, shape
from services.snapshotter.judge.views.alike import alike
from services.snapshotter.judge.views.scale import Scale, both_ways, ratio, scale_of

View = Callable[[Days, int, Days, Scale], dict[str, Floats]]


def _character(earlier: Days, benchmark: int, after: Days, s: Scale) -> dict[str, Floats]:
    """What kind of series it is; these questions weigh the others and say nothing by themselves."""
    u = s.usual
    kinds = {"nA": s.noise, "sdA": s.body, "wA": s.width, "levA": s.level, "tickA": s.tick, "hopA": s.hop}
    days = np.full(len(u), float(len(earlier.read)))
    return {k: ratio(v, u) for k, v in kinds.items()} | {
        **_rhythm(earlier.hour_mid[benchmark], after.hour_mid[0], s),
        "zb": earlier.zeros[benchmark],
        "stb": earlier.still[benchmark],
        "D": days,
    }


def _rhythm(b: Floats, y: Floats, s: Scale) -> dict[str, Floats]:
    """How alike the two days run: correlation of their hours, and what their difference scatters by."""
    d = y - b
    known = ~np.isnan(d)
    n = np.maximum(known.sum(-1), 1)[:, None]
    u, v = (np.where(known, h - np.where(known, h, 0.0).sum(-1)[:, None] / n, 0.0) for h in (b, y))
    season = ratio((u * v).sum(-1), np.sqrt((u * u).sum(-1) * (v * v).sum(-1)))
    return {"season": season, "scatA": ratio(median(np.abs(d - median(d)[:, None])), s.usual)}


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
    "earlier pairs": (past.pairs_beyond, False, True),
    "earlier hours": (past.hours_beyond, False, True),
    "border of earlier days": (past.border_beyond, True, True),
    "one fit": (alike, False, False),
}


ALONE = (
    "one fit"  # asked where one earlier day is known; with several they say more, and the tables for them do not ask it
)


def _names() -> dict[str, str]:
    """Every question and the view it belongs to, learned by asking them once of an empty pair of days."""
    from services.snapshotter.judge.measures import measure

    with np.errstate(all="ignore"):
        two, one = (both_ways(measure(np.zeros((d, 1, 24)), 24)) for d in (2, 1))
        s = scale_of(two, 1, one)
        return {name: view for view, (ask, _, _) in VIEWS.items() for name in ask(two, 1, one, s)}


VIEW_OF = _names()
NAMES = tuple(VIEW_OF)
# Numbers that may count either way; all others may only speak louder when they grow.
FREE = frozenset(
    "nA sdA wA levA tickA hopA zb stb D late_share bef_A start_A Jfrac still_y unstill ls_share season scatA".split()  # noqa: SIM905
) | {"fs_rep", "fl_rep", "fc_rep", "fl_fs", "fs_fc"}


# Under which view people read a question that more than one view asks.
_READ_AS = {"border": "level", "earlier hours": "level", "border of earlier days": "level"}
_BEYOND = {"q95": "upper tail", "q100": "bursts", "r97": "upper tail", "r995": "bursts", "r100": "bursts",
           "sp": "spread", "no": "spread", "nz": "rare events", "sm": "level", "late": "late start",
           "gap": "late start", "end": "slow leak", "last": "slow leak", "sn": "spread", "top": "upper tail",
           "up": "upper tail"}  # fmt: skip
_NAMED = {"q95_A": "upper tail", "q100_A": "bursts"}
_FITTED = {"fs": "late start", "fl": "slow leak", "fc": "level"}


def view_of(name: str) -> str:
    """The view under which people read a number."""
    if VIEW_OF[name] in ("earlier days", "earlier pairs"):
        return _BEYOND.get(name.partition("_")[2], "level")
    if VIEW_OF[name] == ALONE:
        return _FITTED[name.partition("_")[0]]
    return _NAMED.get(name) or _READ_AS.get(VIEW_OF[name], VIEW_OF[name])


def look(earlier: Days, benchmark: int, after: Days, at_border: bool) -> Floats:
    """All questions about "up", and below them all about "down": (2N, len(NAMES)).

    earlier    D >= 1 days, oldest first; the last one runs up to the deploy when `at_border`
    benchmark  which of them is the benchmark
    after      one day
    """
    x, y = both_ways(earlier), both_ways(after)
    n, days = y.read.shape[1], len(x.read)
    unknown = np.full(n, np.nan)
    answers: dict[str, Floats] = {}
    with np.errstate(all="ignore"):
        s = scale_of(x, benchmark, y)
        for name, (ask, needs_border, needs_days) in VIEWS.items():
            if (at_border or not needs_border) and (days > 1 or not needs_days) and (days == 1 or name != ALONE):
                answers |= ask(x, benchmark, y, s)
    return np.stack([answers.get(name, unknown) for name in NAMES]).T  # a number's answers lie side by side
