"""Fit the tables and limits that ship: `python -m tests.judge.fit [--cache FILE]` (about a quarter of an hour).

What is fitted on what: views' answers of rows.py; injected SLIs are positives with the side that they moved to,
SLIs of quiet days and untouched SLIs are negatives. Real faults name no SLI, only a day: in a second pass the three
SLIs of such a day that the first pass finds most deviating become positives of small weight (multiple-instance
learning, Andrews et al. 2003, one step). The limits come from folds by entity: `crossval.py` measures them.
"""

import argparse
import pickle
import time
from pathlib import Path

import numpy as np

from services.snapshotter.judge.tables import Fitted
from services.snapshotter.judge.views import FREE, NAMES
from tests.judge import boost
from tests.judge.fitted_file import rounded, write_modules
from tests.judge.rows import build, data_folder, source_of

FAULT_WEIGHTS = (0.12, 0.072, 0.048)
# Family-wise false alarms that a limit may have on held-out normal days, by earlier days. The rest of 0.05 goes to
# the rules beside the tables; one and two days are held to less because their limits travel less well.
BUDGET = {1: 0.03, 2: 0.03, 3: 0.04}
SERIES = 20  # the number of SLIs at which `limits` are stated
MONOTONE = np.array([n not in FREE for n in NAMES])
FOLDS = 5


def tell(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def folds_by_entity(entities, k=FOLDS, seed=0):
    names = sorted(set(entities))
    np.random.default_rng(seed).shuffle(names)
    return {e: i % k for i, e in enumerate(names)}


def folds_by_source(entities):
    names = sorted({source_of(e) for e in entities})
    return {e: names.index(source_of(e)) for e in set(entities)}


def matrix(rows):
    """Answers, labels, weights and the index of the case, two rows (up, down) per SLI."""
    x, y, w, g = [], [], [], []
    for i, c in enumerate(rows):
        hit = c["truth"] == 1
        weight = np.where(c["kind"] == "inj", np.where(hit, 1.0, 0.3), 0.3 if c["sub"] == "natural_train" else 1.0)
        weight = weight * (0 if c["kind"].startswith("real") else 1)
        for answers, label in ((c["u"], c["up"]), (c["d"], c["down"])):
            x.append(answers)
            y.append(label)
            w.append(weight * ~(hit & (label == 0)))
            g.append(np.full(len(label), i))
    return (np.concatenate(v) for v in (x, y, w, g))


def train(rows, *, first=70, rounds=140, seed=0, **more):
    rows = [c for c in rows if not c["sub"].startswith("petshop")]
    x, y, w, g = matrix(rows)
    edges = boost.edges_of(x[:: max(1, len(x) // 30000)], 40)
    how = {"depth": 5, "ridge": 5.0, "features": 0.25, "binned": (edges, boost.digitise(x, edges)), "seed": seed}
    how |= {"top": min(0.08, 10000 / len(x)), "rest": min(0.12, 14000 / len(x))} | more
    seen = boost.fit(x, y, w, MONOTONE, rounds=first, rate=0.2, **how).score(x)
    fault = np.array([c["kind"].startswith("real") for c in rows])[g]
    at = np.flatnonzero(fault)
    at = at[np.lexsort((-seen[at], g[at]))]
    new = np.r_[True, g[at][1:] != g[at][:-1]]
    rank = np.arange(len(at)) - np.maximum.accumulate(np.where(new, np.arange(len(at)), 0))
    for k, weight in enumerate(FAULT_WEIGHTS):
        y[at[rank == k]], w[at[rank == k]] = 1.0, weight
    return rounded(boost.fit(x, y, w, MONOTONE, rounds=rounds, rate=0.16, **how))


def train_both(bench, more, keep=lambda _: True):
    """(one_day, several_days) on the entities that `keep` says."""

    def chosen(*parts):
        return [c for part in parts for c in part if keep(c["entity"])]

    one = train(chosen(bench["h0"], more["h0"]))
    many = [c for c in chosen(bench["h7"], more["h7"], more["d"]) if c["days"] > 1]
    return one, train(many)


def case_scores(rows, tables):
    """{case id: (highest score of its SLIs, number of SLIs)}"""
    out = {}
    for c in rows:
        if len(c["u"]):
            out[c["id"]] = (float(max(tables.score(c["u"]).max(), tables.score(c["d"]).max())), len(c["u"]))
    return out


def limits(scored, rows, keep=lambda _: True):
    """(limits by number of days, slope) from held-out scores of label-verified normal days.

    scored: {mode: {case id: (score, N)}}. The slope is the exponential tail's: of a null's highest scores above their
    median, the mean excess (Balkema and de Haan 1974, with shape 0).
    """
    nulls = {m: [c for c in rows[m] if c["sub"] == "natural_lab" and keep(c["entity"]) and c["id"] in scored[m]]
             for m in scored}  # fmt: skip
    tops = np.array([scored["h7"][c["id"]][0] for c in nulls["h7"]])
    slope = float(np.clip(np.mean(tops[tops > np.median(tops)] - np.median(tops)), 0.3, 0.5))

    def limit(days, chosen):
        v = np.sort([scored[m][c["id"]][0] - slope * np.log(scored[m][c["id"]][1] / SERIES) for m, c in chosen])
        return float(v[len(v) - 1 - int(BUDGET[days] * len(v))]) + 1e-6 if len(v) else 9.0

    many = [max(limit(3, [(m, c) for c in nulls[m] if c["days"] >= 3]), -9.0) for m in ("h7", "d7")]
    return {
        1: limit(1, [("h0", c) for c in nulls["h0"]]),
        2: limit(2, [("d1", c) for c in nulls["d1"]]),
        3: max(many),
    }, slope


def held_out(bench, more, folds):
    """Train each fold's tables on the other folds and score its cases: (tables by fold, {mode: {id: (score, N)}})."""
    scored: dict[str, dict[str, tuple[float, int]]] = {m: {} for m in bench}
    tables = {}
    for f in sorted(set(folds.values())):
        tables[f] = train_both(bench, more, lambda e, f=f: folds[e] != f)
        for mode, rows in bench.items():
            for many in (False, True):
                part = [c for c in rows if folds[c["entity"]] == f and (c["days"] > 1) == many]
                scored[mode] |= case_scores(part, tables[f][many])
        tell(f"fold {f} trained")
    return tables, scored


def prepared(cache):
    """The rows, from the cache when it is there."""
    if cache and Path(cache).exists():
        return pickle.loads(Path(cache).read_bytes())
    folder = data_folder()
    if folder is None:
        raise SystemExit("the benchmark data is not here: put it at ../shared/judge or name it in DAYMARK_JUDGE_DATA")
    out = build(folder, tell)
    if cache:
        Path(cache).write_bytes(pickle.dumps(out))
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--cache", help="file that keeps the prepared rows between runs")
    bench, more = prepared(ap.parse_args().cache)
    _, scored = held_out(bench, more, folds_by_entity(c["entity"] for c in bench["h0"]))
    by_days, slope = limits(scored, bench)
    one, several = train_both(bench, more)
    fitted = Fitted(one, several, by_days, slope, SERIES)
    folder = Path(__file__).resolve().parents[2] / "services" / "snapshotter" / "judge" / "tables"
    write_modules(folder, fitted, NAMES, "Question tables fitted on public telemetry; see tests/judge/fit.py.")
    tell(f"limits {by_days}, slope {slope:.3f}")


if __name__ == "__main__":
    main()
