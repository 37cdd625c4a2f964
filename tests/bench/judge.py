"""The judge's time: against one `np.sort` pass over the same arrays, and against scipy's Mann-Whitney loop.

Made data: a daily season, noise, coarse metrics and counts, one working part of each; ours and theirs are measured
alternately in the same run, in processor time of this one thread, and the best of each counts.
"""

import time
import tracemalloc

import numpy as np
from scipy.stats import mannwhitneyu

from services.snapshotter.judge import Rule, Window, judge

DAY = 86400.0
STEP = 60.0
DEPLOYED = 1_760_400_000.0
ROUNDS = 5


def _day(rng, n):
    t = np.arange(1440) / 1440
    values = (
        100 * (1 + 0.3 * np.sin(2 * np.pi * (t + rng.random((n, 1))))) * (1 + 0.05 * rng.standard_normal((n, 1440)))
    )
    values[::4] = np.round(values[::4])
    values[1::8] = rng.poisson(0.05, (len(values[1::8]), 1440))
    return values


def _setting(n, days):
    rng = np.random.default_rng(n + days)
    past = [Window(DEPLOYED - (k + 1) * DAY, STEP, 0.0, _day(rng, n), (None,) * n) for k in range(days, 0, -1)]
    before = Window(DEPLOYED - DAY, STEP, 0.0, _day(rng, n), (None,) * n)
    after = Window(DEPLOYED, STEP, 0.0, _day(rng, n), (None,) * n)
    rules = [Rule(f"s{i}", f"S{i}", "ms", "both", 0.0, 0.0, True) for i in range(n)]
    return before, after, rules, (*past, before)


def _best(calls):
    """The best time of each call, measured alternately."""
    best = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            start = time.process_time()
            call()
            best[i] = min(best[i], time.process_time() - start)
    return best


def _measured(n, days, against):
    """Our time and that of another over the same arrays."""
    before, after, rules, history = _setting(n, days)
    arrays = [w.values for w in history] + [after.values]

    def ours():
        judge(before, after, rules, deployed_at_s=DEPLOYED, history=history)

    def sort():
        for a in arrays:
            np.sort(a, axis=-1)

    def scipy_loop():
        for a, b in zip(before.values, after.values, strict=True):
            mannwhitneyu(a, b)

    return _best([ours, {"sort": sort, "scipy": scipy_loop}[against]])


def _vs_sort(n, days):
    mine, sorting = _measured(n, days, "sort")
    what = f"{n} SLIs, 24 h at 60 s, {days} earlier days; one np.sort pass over the same arrays; wanted <= 20"
    return {"ours": mine, "limit": sorting, "unit": "s", "n": ROUNDS, "what": what}


def _vs_scipy(n, days):
    mine, theirs = _measured(n, days, "scipy")
    what = f"{n} SLIs, 24 h at 60 s, {days} earlier days; scipy's mannwhitneyu loop over the pairs / the judge; "
    return {"ours": theirs, "limit": mine, "unit": "s", "n": ROUNDS, "what": f"{what}wanted >= {2 if days else 4}"}


def _grows(many, few):
    """The time of one of `many` SLIs against one of `few`: 1 when it grows linearly, less where few share what a call costs."""
    large, small = _best([_hourly(many), _hourly(few)])
    what = f"judging one of {many:,} SLIs against one of {few:,}, 24 h at 5 min, 1 earlier day; wanted <= 1.2"
    return {"ours": large / many * 1e6, "limit": small / few * 1e6, "unit": "us/SLI", "n": ROUNDS, "what": what}


def _memory():
    """What 10,000 SLIs need beyond their samples, against what 1,000 need: groups are judged one after the other."""
    peaks = []
    for call in (_hourly(10_000), _hourly(1_000)):
        tracemalloc.start()
        call()
        peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
    what = "most memory in use while 10,000 SLIs are judged, against 1,000 (the answers themselves grow with N)"
    return {"ours": peaks[0], "limit": peaks[1], "unit": "MiB", "n": 1, "what": what}


def _hourly(n):
    rng = np.random.default_rng(n)
    day = 100 + 5 * rng.standard_normal((3, n, 288))
    past, before, after = (Window(DEPLOYED + (k - 2) * DAY, 300.0, 0.0, day[k], (None,) * n) for k in range(3))
    rules = [Rule(f"s{i}", f"S{i}", "ms", "both", 0.0, 0.0, True) for i in range(n)]
    return lambda: judge(before, after, rules, deployed_at_s=DEPLOYED, history=(past, before))


BENCHES = {
    "judge_vs_sort": lambda: _vs_sort(1000, 0),
    "judge_vs_sort_7d": lambda: _vs_sort(500, 7),
    "judge_vs_scipy": lambda: _vs_scipy(1000, 0),
    "judge_vs_scipy_7d": lambda: _vs_scipy(500, 7),
    "judge_grows": lambda: _grows(10_000, 1_000),
    "judge_grows_1000": lambda: _grows(1_000, 100),
    "judge_grows_100": lambda: _grows(100, 10),
    "judge_memory": _memory,
}
