"""Cross-validation by entity: `python -m tests.judge.crossval [--cache FILE] [--by source] [--out DIR]`.

Each fold's tables are fitted on the other folds, its limits on the other folds' held-out scores; its cases go through
the scorer's own code and the adapter; the folds are pooled and reported by the scorer. (The limits of a fold come from
scores of tables that were fitted on entities of other folds, the judged fold among them: a limit is one number a
fold, and fitting it doubly nested would take five times as long.)
"""

import os
import pickle
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from services.snapshotter.judge.tables import Fitted
from tests.judge.fit import (
    BESIDE,
    SERIES,
    SLOPE,
    arguments,
    everything,
    extremes,
    fit_all,
    folds_by_entity,
    folds_by_source,
    limits,
    prepared,
    tell,
)
from tests.judge.fitted_file import save
from tests.judge.rows import data_folder, library

RUNS = (("no history", 0, False), ("7 days", 7, False), ("detached, 7 days", 7, True), ("detached, 1 day", 1, True))


def main():
    ap = arguments(__doc__)
    ap.add_argument("--by", choices=("entity", "source"), default="entity")
    ap.add_argument("--out", default=None, help="folder for pooled runs (default: a temporary one)")
    args = ap.parse_args()
    bench, more = prepared(args.cache, args.jobs)
    entities = {c["entity"] for c in bench["h0"]}
    folds = (folds_by_entity if args.by == "entity" else folds_by_source)(entities)
    runs = {"entity": RUNS, "source": RUNS[:2]}[args.by]
    out = Path(args.out or tempfile.mkdtemp())
    out.mkdir(exist_ok=True, parents=True)
    tables, scored = fit_all(bench, more, folds, args.jobs, args.folds if args.by == "entity" else args.out)
    for f in sorted(set(folds.values())):
        others = lambda e, f=f: folds[e] != f  # noqa: E731
        by_days, older = limits(scored, everything(bench, more), others)
        beyond = extremes(everything(bench, more), others)
        save(out / f"fold{f}.npz", Fitted(tables[f][0], tables[f][1], by_days, SLOPE, SERIES, beyond, older, BESIDE))
        tell(f"fold {f}: limits {by_days}, older {older}")
    pooled(out, folds, runs, args.jobs)


def pooled(out, folds, runs, jobs):
    folder = data_folder()
    assert folder is not None
    score = library(folder, "score")
    _, cases = library(folder, "benchlib").load(str(folder / "dev"))
    suspect = set((folder / "dev" / "suspect.txt").read_text().split())
    names = sorted(set(folds.values()))
    for f in names:  # entities that no full-day case has (few, petshop) go with the first fold's tables
        ids = "\n".join(c["id"] for c in cases if folds.get(c["entity"], names[0]) == f)
        (out / f"fold{f}.txt").write_text(ids)
    with ProcessPoolExecutor(jobs) as pool:
        scoring = {name: [pool.submit(_scored, folder, out, f, days, detached) for f in names]
                   for name, days, detached in runs}  # fmt: skip
        for name, parts in scoring.items():
            found = sorted((r for part in parts for r in part.result()), key=lambda r: r["id"])
            (out / f"{name.replace(', ', '-').replace(' ', '-')}.pkl").write_bytes(pickle.dumps(found))
            score.report(found, name, suspect)
            for goal, those in goals(found).items():
                if those:
                    print("GOAL  {:41} {:.3f} [{:.3f}, {:.3f}] n={}".format(goal, *share(those, score), len(those)))
            sys.stdout.flush()


def _scored(folder, out, f, days, detached):
    """One fold's cases through the scorer's own code, with the fold's tables."""
    os.environ["DAYMARK_JUDGE_FITTED"] = str(out / f"fold{f}.npz")
    return library(folder, "score").run(SimpleNamespace(
        part=str(folder / "dev"), judge=f"{Path(__file__).with_name('candidate.py')}:judge",
        only=str(out / f"fold{f}.txt"), history=days, detached=detached, limit=0))  # fmt: skip


BIG = {"level_sigma": 2, "level_rel": 0.5, "delayed": 2, "trend": 2}


def goals(pool):
    """{name of a goal: [(entity, found?) of each thing to find]}"""
    inj = [c for c in pool if c["kind"] == "inj"]
    real = [c for c in pool if c["kind"] == "real" and not c["sub"].startswith("petshop")]
    big = [c for c in inj if c["size"] >= BIG.get(c["sub"].removesuffix("_few"), 99)]
    still = [c for c in inj if c["sub"] == "stuck" or (c["sub"] == "zero" and c["size"] >= 6)]

    def metrics(cases):
        return [(c["entity"], bool(v)) for c in cases for v in c["flag"][c["truth"] == 1]]

    def days(cases):
        return [(c["entity"], bool(c["overall"])) for c in cases]

    return {
        "injected metrics found": metrics(inj),
        "injected cases found": days(inj),
        "real labelled faults found": days(real),
        "level kinds of 2 sigma or +50 % and more": metrics(big),
        "  of these: steps at the deploy": metrics(c for c in big if c["sub"].startswith("level")),
        "  of these: late steps": metrics(c for c in big if c["sub"] == "delayed"),
        "  of these: slow rises": metrics(c for c in big if c["sub"] == "trend"),
        "zero >= 6 h and stuck": metrics(still),
    }


def share(found, score):
    """(share found, its 90 % interval by entity)"""
    lo, hi = score.boot([e for e, _ in found], [x for _, x in found])
    return float(np.mean([x for _, x in found])), float(lo), float(hi)


if __name__ == "__main__":
    main()
