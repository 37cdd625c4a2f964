"""What each part of the judge spends on label-verified normal days: `python -m tests.judge.spent --folds DIR`.

DIR is where `crossval.py --out DIR` left its folds: a day is judged with tables and limits that never saw its entity. It
prints the share of days on which a part alone, or with others, raised something, beside the share of `alarms.SHARES`, and
the view that was named.
"""

import argparse
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

from services.snapshotter.judge import Comparison, Rule, judge
from services.snapshotter.judge.alarms import SHARES
from tests.judge.candidate import windows
from tests.judge.crossval import RUNS
from tests.judge.fit import folds_by_entity
from tests.judge.fitted_file import load
from tests.judge.rows import data_folder, library


def parts(c: Comparison) -> set[str]:
    """Which parts raised it."""
    found = {"final look"} if c.limit is not None and c.numbers.get("score", c.limit) > c.limit else set()
    found |= {"plain rules"} if c.numbers.get("gross", 0.0) > 1 else set()
    return found or {"guards"}


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--folds", required=True, type=Path)
    args = ap.parse_args()
    warnings.simplefilter("ignore")  # of the benchmark's own loader, on series that are all gaps
    folder = data_folder()
    if folder is None:
        raise SystemExit("the days to measure on are not here: set DAYMARK_JUDGE_DATA")
    benchlib = library(folder, "benchlib")
    series, cases = benchlib.load(str(folder / "dev"))
    # The folds are those of the entities that have a full day and are compared with a day of their own.
    folds = folds_by_entity(
        c["entity"] for c in cases if not c.get("post_entity") and c["n"] * series[c["entity"]]["step_s"] == 86400
    )
    # What is named beside another SLI spends nothing: that day has alarmed.
    fitted = {f: replace(load(args.folds / f"fold{f}.npz"), beside=0.0) for f in set(folds.values())}
    for name, days, detached in RUNS:
        raised: list[set[str]] = []
        views: Counter[str] = Counter()
        for case in cases:
            if (case["kind"], case["sub"]) != ("null", "natural_lab") or (detached and case["hist"] < 1):
                continue
            if case["n"] * series[case["entity"]]["step_s"] != 86400:
                continue
            c = benchlib.materialise(case, series, max(days, 1) if detached else days)
            c = benchlib.detach(c, days) if detached else c
            before, after, history, deployed = windows(c.pre, c.post, c.step_s, dict(c.meta, history=c.history))
            rules = [Rule(f"m{i}", f"m{i}", "", "both", 0.0, 0.0, True) for i in range(len(c.pre))]
            found = judge(
                before, after, rules, deployed_at_s=deployed, history=history, fitted=fitted[folds[case["entity"]]]
            )
            moved = [each for each in found if each.outcome == "moved"]
            raised.append(set().union(*map(parts, moved)))
            views.update({each.view or "" for each in moved})
        total = len(raised)
        spent = {part: sum(part in day for day in raised) / total for part in ("final look", "plain rules", "guards")}
        alone = {part: sum(day == {part} for day in raised) / total for part in spent}
        print(f"{name}: {sum(map(bool, raised)) / total:.3f} of {total} days")
        for part, share in spent.items():
            print(f"  {part:12} {share:.3f}, alone {alone[part]:.3f} (its share: {SHARES.get(part, 0.0):.3f})")
        print("  views: " + ", ".join(f"{view} {n / total:.3f}" for view, n in views.most_common()), flush=True)


if __name__ == "__main__":
    main()
