"""Fit the tables and limits that ship: `python -m tests.judge.fit [--cache FILE]` (about a quarter of an hour).

What is fitted on what: views' answers of rows.py; injected SLIs are positives with the side that they moved to,
SLIs of quiet days and untouched SLIs are negatives. Real faults name no SLI, only a day: in a second pass the three
SLIs of such a day that the first pass finds most deviating become positives of small weight (multiple-instance
learning, Andrews et al. 2003, one step). The limits come from folds by entity: `crossval.py` measures them.
"""

import argparse
import math
import pickle
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from services.snapshotter.judge.plain import EXTREMES
from services.snapshotter.judge.tables import Fitted
from services.snapshotter.judge.views import ALONE, FREE, NAMES, VIEW_OF
from tests.judge import boost
from tests.judge.fitted_file import rounded, write_modules
from tests.judge.rows import build, data_folder, source_of

QUIET = ("natural_lab", "null")  # label-verified normal days, of the benchmark and drawn
# The share of normal days, drawn ones included, that a limit leaves above: with one earlier day, with several. So many that
# tables and plain rules together alarm on less than `alarms.ALARMS` of the label-verified ones.
ABOVE_ALONE, ABOVE_SEVERAL = 0.044, 0.038
# Of a thousand normal days so many may have a number beyond its extreme.
PER_THOUSAND = {"mean_A": 1, "tail_r100": 1, "zeros_d": 1, "overh_w": 1, "g_q100": 2, "endh_A": 1, "ex_end": 1}
MARGIN = {
    2: 1.0
}  # added to the limit for so many earlier days, the benchmark the older: learned from fewest normal days
GROUPS = (range(2, 3), range(3, 6), range(6, 9))  # numbers of earlier days that share a limit
FAULT_WEIGHTS = (0.3, 0.18, 0.12)
# For tables of one day, late steps and slow rises of 2 sigma and more count so many times: of all that is large they are missed
# most. With several days neither this nor the view that they are seen by is used: it found more injected changes, and fewer faults.
HIDDEN, HIDDEN_WEIGHT = ("delayed", "trend"), 2.0
# How the limit grows with ln(N). Of normal days the highest score of N SLIs has an exponential tail (Balkema and de Haan
# 1974) of mean excess 0.6 to 0.8; SLIs of one product move together, so that N of them are worth fewer.
SLOPE = 0.5
SERIES = 20  # the number of SLIs at which `limits` are stated
BESIDE = 1.0  # taken off the limit once another SLI moved: as much as leaves four of five flags in injected cases true
MONOTONE = np.array([n not in FREE for n in NAMES])
FOLDS = 5
BINS = 48


def tell(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def folds_by_entity(entities, k=FOLDS, seed=0):
    names = sorted(set(entities))
    np.random.default_rng(seed).shuffle(names)
    return {e: i % k for i, e in enumerate(names)}


def folds_by_source(entities):
    names = sorted({source_of(e) for e in entities})
    return {e: names.index(source_of(e)) for e in set(entities)}


@dataclass
class Prepared:
    """Rows ready to be learned from: two (up, down) for each SLI of each case."""

    cases: list
    edges: list
    code: np.ndarray  # (F, rows)
    label: np.ndarray
    weight: np.ndarray
    case: np.ndarray  # index into `cases`
    fold: np.ndarray  # of each row's entity


def ready(cases, folds, several):
    """(The thresholds to choose from are quantiles of all rows, whatever their fold: they know no label.)"""
    cases = [c for c in cases if not c["sub"].startswith("petshop")]
    x, y, w, g = [], [], [], []
    for i, c in enumerate(cases):
        hit = c["truth"] == 1
        found = HIDDEN_WEIGHT if not several and c["sub"] in HIDDEN and c["size"] >= 2 else 1.0
        weight = np.where(c["kind"] == "inj", np.where(hit, found, 0.3), 0.1 if c["sub"] == "natural_train" else 1.0)
        weight = weight * (0 if c["kind"].startswith("real") else 1)
        for answers, label in ((c["u"], c["up"]), (c["d"], c["down"])):
            x.append(answers)
            y.append(label)
            w.append(weight * ~(hit & (label == 0)))
            g.append(np.full(len(label), i))
    seen, case = np.concatenate(x), np.concatenate(g)
    edges = boost.edges_of(seen[:: max(1, len(seen) // 25000)], BINS, MONOTONE)
    fold = np.array([folds[c["entity"]] for c in cases])[case]
    columns = sum(not several or VIEW_OF[n] != ALONE for n in NAMES)  # that view is the last
    seen, edges = seen[:, :columns], edges[:columns]
    return Prepared(cases, edges, boost.digitise(seen, edges), np.concatenate(y), np.concatenate(w), case, fold)


def train(p, without=None, *, first=40, rounds=300, rate=0.07, **how):
    """Tables from all prepared rows, or from those outside one fold."""
    at = np.flatnonzero(p.fold != without)
    code, y, w, g = np.ascontiguousarray(p.code[:, at]), p.label[at].copy(), p.weight[at].copy(), p.case[at]
    _, seen = boost.fit(code, p.edges, y, w, MONOTONE[: len(code)], rounds=first, rate=0.2, bins=BINS, **how)
    fault = np.flatnonzero(np.array([c["kind"].startswith("real") for c in p.cases])[g])
    fault = fault[np.lexsort((-seen[fault], g[fault]))]
    new = np.r_[True, g[fault][1:] != g[fault][:-1]]
    rank = np.arange(len(fault)) - np.maximum.accumulate(np.where(new, np.arange(len(fault)), 0))
    for k, weight in enumerate(FAULT_WEIGHTS):
        y[fault[rank == k]], w[fault[rank == k]] = 1.0, weight
    return rounded(boost.fit(code, p.edges, y, w, MONOTONE[: len(code)], rounds=rounds, rate=rate, bins=BINS, **how)[0])


def both_ready(bench, more, folds):
    """What the tables for one day learn from, and what those for several days do."""
    several = [c for part in (bench["h7"], bench["d7"], more["h7"], more["d"]) for c in part if c["days"] > 1]
    return ready(bench["h0"] + more["h0"], folds, False), ready(several, folds, True)


def case_scores(rows, tables):
    """{(mode, case id): (highest score of its SLIs, number of SLIs)}"""
    out = {}
    for c in rows:
        if len(c["u"]):
            out[c["id"]] = (float(max(tables.score(c["u"]).max(), tables.score(c["d"]).max())), len(c["u"]))
    return out


def limits(scored, rows, keep=lambda _: True):
    """(limits by number of earlier days, what is added to them where the benchmark is older than the last of those days)
    from held-out scores of label-verified normal days, the drawn ones included.

    Against the last day as benchmark all normal days with two earlier days or more share one limit: with few they score
    no higher, and there are too few of them for a quantile of their own.
    scored: {mode: {case id: (score, N)}}, rows: {mode: [row]}.
    """

    def tops(group, is_older=False):
        return np.array([
            scored[m][c["id"]][0] - SLOPE * np.log(scored[m][c["id"]][1] / SERIES)
            for m, cases in rows.items() for c in cases
            if c["days"] in group and c["sub"] in QUIET and keep(c["entity"]) and c["id"] in scored[m]
            and m.endswith("h0") == (c["days"] == 1) and m.removeprefix("more ").startswith("d") == is_older
        ])  # fmt: skip

    one, last = _quantile(tops(range(1, 2)), ABOVE_ALONE), _quantile(tops(range(2, 9)), ABOVE_SEVERAL)
    by_days = {1: one} | {min(g): last for g in GROUPS}
    older = {min(g): _quantile(tops(g, True), ABOVE_SEVERAL) + MARGIN.get(min(g), 0.0) - last for g in GROUPS}
    return by_days, older


def extremes(rows, keep=lambda _: True):
    """{number: (limit with one earlier day, with two, with more)}: what PER_THOUSAND of a thousand normal days exceed, + 5 %."""

    def top(c):
        return np.fmax(np.fmax.reduce(c["u"], axis=0), np.fmax.reduce(c["d"], axis=0))

    out = []
    for several in (False, True):
        quiet = [c for m, cases in rows.items() for c in cases
                 if c["sub"] in (*QUIET, "exch") and keep(c["entity"]) and len(c["u"])
                 and m.endswith("h0") != several and (c["days"] > 1) == several]  # fmt: skip
        tops = np.array([top(c) for c in quiet])
        found = {}
        for name in EXTREMES:
            v = np.sort(tops[:, NAMES.index(name)])
            v = v[~np.isnan(v)]
            above = round(PER_THOUSAND.get(name, 0) * len(v) / 1000)
            found[name] = float(f"{1.05 * v[-1 - above]:.4g}") if len(v) else math.inf
        out.append(found)
    one, more = out
    # Two days are too few to know what earlier days do, and their normal days too few to learn limits from.
    two = {n: math.inf if math.isinf(one[n]) else max(one[n], more[n]) for n in EXTREMES}
    return {name: (one[name], two[name], more[name]) for name in EXTREMES}


def _quantile(tops, above):
    """The highest score that this share of normal days lies above."""
    v = np.sort(tops)
    return float(v[len(v) - 1 - int(above * len(v))]) if len(v) else 9.0


def everything(bench, more):
    """{mode: [row]} of both parts."""
    return bench | {f"more {m}": rows for m, rows in more.items()}


_SHARED: dict[str, Any] = {}  # what the processes of a pool are born with


def _fit(task):
    """(fold or None for all, for several days?) -> tables, and what they score on the fold's cases."""
    f, many = task
    prepared_rows, rows, folds = _SHARED["it"]
    tables = train(prepared_rows[many], f)
    scored = {}
    for mode, cases in rows.items():
        part = [c for c in cases if folds[c["entity"]] == f and (c["days"] > 1) == many]
        scored[mode] = case_scores([c for c in part if not c["sub"].startswith("petshop")], tables)
    tell(f"fitted: fold {f}, {'several days' if many else 'one day'}")
    return tables, scored


def fit_all(bench, more, folds, jobs=1, folder=None):
    """Each fold's tables trained on the other folds, and tables trained on all.

    Returns ({fold or None: (one_day, several_days)}, {mode: {case id: (score by its own fold's tables, N)}}).
    With a `folder` what was done is kept there and taken from there.
    """
    kept = Path(folder) / "fitted.pkl" if folder else None
    if kept and kept.exists():
        return pickle.loads(kept.read_bytes())
    names = [*sorted(set(folds.values())), None]
    _SHARED["it"] = (both_ready(bench, more, folds), everything(bench, more), folds)
    scored: dict[str, dict[str, tuple[float, int]]] = {m: {} for m in everything(bench, more)}
    tables: dict[int | None, list] = {f: [] for f in names}
    tasks = [(f, many) for many in (False, True) for f in names]
    with ProcessPoolExecutor(jobs, get_context("fork")) as pool:
        for (f, _), (t, part) in zip(tasks, pool.map(_fit, tasks), strict=True):
            tables[f].append(t)
            for mode, v in part.items():
                scored[mode] |= v
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps((tables, scored)))
    return tables, scored


def arguments(about):
    """What `fit` and `crossval` both take."""
    ap = argparse.ArgumentParser(description=about)
    ap.add_argument("--cache", help="file that keeps the prepared rows between runs")
    ap.add_argument("--folds", help="folder that keeps what the folds by entity learned; fit and crossval share it")
    ap.add_argument("--jobs", type=int, default=1, help="processes")
    return ap


def prepared(cache, jobs=1):
    """The rows, from the cache when it is there."""
    if cache and Path(cache).exists():
        return pickle.loads(Path(cache).read_bytes())
    folder = data_folder()
    if folder is None:
        raise SystemExit("the benchmark data is not here: put it at ../shared/judge or name it in DAYMARK_JUDGE_DATA")
    out = build(folder, tell, jobs)
    if cache:
        Path(cache).write_bytes(pickle.dumps(out))
    return out


def main():
    args = arguments(__doc__).parse_args()
    bench, more = prepared(args.cache, args.jobs)
    folds = folds_by_entity(c["entity"] for c in bench["h0"])
    tables, scored = fit_all(bench, more, folds, args.jobs, args.folds)
    by_days, older = limits(scored, everything(bench, more))
    beyond = extremes(everything(bench, more))
    fitted = Fitted(tables[None][0], tables[None][1], by_days, SLOPE, SERIES, beyond, older, BESIDE)
    folder = Path(__file__).resolve().parents[2] / "services" / "snapshotter" / "judge" / "tables"
    write_modules(folder, fitted, NAMES, "Question tables fitted on public telemetry; see tests/judge/fit.py.")
    tell(f"limits {by_days}, older {older}")


if __name__ == "__main__":
    main()
