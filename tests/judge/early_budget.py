"""What early looks would raise on quiet days: `python -m tests.judge.early_budget` prints the table behind `domain/early.py`.

Needs `../shared/judge` beside the project (or DAYMARK_JUDGE_DATA). A quiet pair of days is a case in which nothing is
labelled; its first hours are held against the same hours of the day before, as an early look would, with the limits that
`domain.limit` gives for so many looks at so many SLIs.
"""

import json
import sys

import numpy as np

from services.snapshotter.domain import limit
from services.snapshotter.judge import Rule, Window, judge
from tests.judge.rows import data_folder

LOOKS = (15, 30, 60, 120, 180, 360, 720)
SCHEDULES = ((15, 60, 360), LOOKS)
DAY_S, SETTLE_S = 86400, 900


def scores() -> tuple[np.ndarray, np.ndarray]:
    """(pairs, looks) the largest score that moved in each look, NaN where it has too few steps; and SLIs of each pair."""
    folder = data_folder()
    if folder is None:
        sys.exit("the days to measure on are not here: set DAYMARK_JUDGE_DATA")
    series = np.load(folder / "dev" / "series.npz")
    entities = json.loads(str(series["entities"]))
    cases = [json.loads(line) for line in (folder / "dev" / "cases.jsonl").read_text().splitlines()]
    found, slis, held = [], [], ("", np.empty((0, 0)))
    for case in cases:
        step = entities[case["entity"]]["step_s"]
        per_day = DAY_S // step
        if (case["kind"], case["sub"]) != ("null", "natural_lab") or case["n"] < per_day:
            continue
        if held[0] != case["entity"]:
            held = (case["entity"], series[f"{case['entity']}|x"].astype(float))
        n, first = len(held[1]), case["t0"]
        none: tuple[None, ...] = (None,) * n
        rules = [Rule(f"s{i}", f"s{i}", "", "both", 0.1, 0.0, True) for i in range(n)]
        before = Window(0.0, step, 0.0, held[1][:, first : first + per_day], none)
        row = []
        for minutes in LOOKS:
            steps = minutes * 60 // step
            after = Window(DAY_S, step, 0.0, held[1][:, first + per_day : first + per_day + steps], none)
            settle = min(SETTLE_S, minutes * 60 / 4)
            answers = judge(before, after, rules, deployed_at_s=DAY_S, settle_s=settle)
            moved = [a.numbers.get("score", 0.0) for a in answers if a.outcome == "moved"]
            row.append(max(moved, default=0.0))
        found.append(row)
        slis.append(n)
    return np.array(found), np.array(slis)


def main() -> None:
    table, slis = scores()

    def rate(looks: tuple[int, ...]) -> float:
        least = np.array([limit(len(looks), n) for n in slis])
        return float(np.mean(table[:, [LOOKS.index(each) for each in looks]].max(axis=1) >= least))

    print(f"{len(table)} quiet pairs of days, {slis.min()} to {slis.max()} SLIs each")
    for minutes in LOOKS:
        print(f"  one look after {minutes:4} min: {rate((minutes,)):6.2%}")
    for looks in SCHEDULES:
        print(f"  {len(looks)} looks {looks}: {rate(looks):6.2%}")


if __name__ == "__main__":
    main()
