"""The adapter between the judge and the scorer of the shared benchmark: `judge(pre, post, step_s, meta)`.

Of `meta` only the history, where it ends, whether the windows pair, and the time of day of `pre_start_s` are read.
`DAYMARK_JUDGE_FITTED` may name an .npz written by `crossval.py`: the tables and limits of one fold.
"""

import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from services.snapshotter.judge import Rule, Window, overall
from services.snapshotter.judge import judge as decide
from services.snapshotter.judge.tables.shipped import SHIPPED
from tests.judge.fitted_file import load

TUESDAY = 1_760_400_000 - 1_760_400_000 % 86400  # the 14th of October 2025: so that no week-end comes between
DAY = 86400
_FITTED = load(os.environ["DAYMARK_JUDGE_FITTED"]) if "DAYMARK_JUDGE_FITTED" in os.environ else SHIPPED


def windows(pre, post, step_s, meta):
    """(before, after, history, deployed_at_s) as the judge takes them."""
    start = TUESDAY + meta["pre_start_s"] % DAY
    detached = meta["history_ends"] == "post"
    deployed = start + (2 * DAY if detached else DAY)
    full = pre.shape[1] * step_s == DAY

    def window(values, at):
        return Window(float(at), float(step_s), 0.0, values, (None,) * len(values))

    before, after = window(pre, start), window(post, deployed)
    history = []
    if meta.get("history") is not None:
        past = meta["history"]
        history.append(window(past, (deployed if detached else start) - past.shape[1] * step_s))
    if not detached and full and meta["paired"]:
        history.append(before)  # here the benchmark itself runs up to the deploy
    return before, after, tuple(history), float(deployed)


def judge(pre, post, step_s, meta):
    before, after, history, deployed = windows(pre, post, step_s, meta)
    rules = [Rule(f"m{i}", f"m{i}", "", "both", 0.0, 0.0, True) for i in range(len(pre))]
    found = decide(before, after, rules, deployed_at_s=deployed, history=history, fitted=_FITTED)
    flag = np.array([c.outcome == "moved" for c in found], bool)
    score = np.array([_margin(c) for c in found])
    return {"flag": flag, "score": score, "person": overall(found) not in ("steady", "moved")}


def _margin(c):
    """How far the score is beyond its limit; what was decided without one is far on its side."""
    if "score" in c.numbers and c.limit is not None:
        return max(c.numbers["score"] - c.limit, c.numbers.get("gross", 0.0) - 1)
    return 10.0 if c.outcome == "moved" else -20.0
