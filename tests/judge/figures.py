"""The tables of figures in docs/judge.md, from what `crossval --out DIR` left: `python -m tests.judge.figures DIR [--write]`.

Prints them; with --write they take the place of those between the marks in docs/judge.md. With `--by source` runs in DIR there
are two columns.
"""

import argparse
import pickle
from pathlib import Path

import numpy as np

from tests.judge.crossval import RUNS, goals, share
from tests.judge.rows import data_folder, library

DOCS = Path(__file__).resolve().parents[2] / "docs" / "judge.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end -->\n"
WANTED = {
    "injected metrics found": ".50 / .56",
    "injected cases found": ".63 / .68",
    "real labelled faults found": ".31 / .34",
    "level kinds of 2 sigma or +50 % and more": ".65 / .70",
    "zero >= 6 h and stuck": ".97 / .97",
}
KINDS = (
    "level_sigma", "level_rel", "trend", "delayed", "var", "tail", "tail_add", "burst_a5", "burst_a10", "sparse", "stuck",
    "zero",
)  # fmt: skip


def number(v):
    return "-" if np.isnan(v) else f"{v:.3f}".lstrip("0")


def interval(found, score):
    return "{} [{}, {}]".format(*map(number, share(found, score))) if found else "-"


def precision(pool):
    wrong, all_ = np.sum(
        [((c["flag"] & (c["truth"] == 0)).sum(), c["flag"].sum()) for c in pool if c["kind"] == "inj"], 0
    )
    return 1 - wrong / max(1, all_)


def nulls(pool, sub):
    return [c for c in pool if c["kind"] == "null" and c["sub"] == sub]


def mean(cases, value):
    return float(np.mean([value(c) for c in cases])) if cases else float("nan")


def table(runs, score):
    """Lines of the table: runs is {name: pooled cases}."""

    def row(name, value, wanted=""):
        return f"| {name} | " + " | ".join(value(pool) for pool in runs.values()) + f" | {wanted} |"

    yield "| | " + " | ".join(runs) + " | wanted |"
    yield "|---" * (len(runs) + 2) + "|"
    alarms = [lambda pool: interval([(c["entity"], c["overall"]) for c in nulls(pool, "natural_lab")], score)]
    yield row("false alarms on label-verified normal days, any SLI", alarms[0], "<= .05")
    for sub, name, limit in (
        ("exch", "exact nulls (hour blocks of two days swapped)", "<= .02"), ("few", "windows of 1 to 3 h", "<= .05"),
    ):  # fmt: skip
        yield row(
            f"the same, on {name}", lambda pool, sub=sub: number(mean(nulls(pool, sub), lambda c: c["overall"])), limit
        )
    yield row(
        "normal days whose overall is neither steady nor moved",
        lambda pool: number(mean(nulls(pool, "natural_lab"), lambda c: c["person"] and not c["overall"])),
        "<= .15",
    )
    yield row("precision of flags inside injected cases", lambda pool: number(precision(pool)), ">= .75")
    for goal in goals(next(iter(runs.values()))):
        yield row(goal.strip(), lambda pool, goal=goal: interval(goals(pool)[goal], score), WANTED.get(goal, ""))
    yield ""
    yield "By kind, injected metrics found (all sizes, from half a sigma and 5 % on):"
    yield ""
    yield "| | " + " | ".join(KINDS) + " |"
    yield "|---" * (len(KINDS) + 1) + "|"
    for name, pool in runs.items():
        found = {
            k: [v for c in pool if c["kind"] == "inj" and c["sub"] == k for v in c["flag"][c["truth"] == 1]]
            for k in KINDS
        }
        yield f"| {name} | " + " | ".join(number(float(np.mean(v))) if v else "-" for v in found.values()) + " |"


def peer(name, pool):
    """The line beside the peers: as shipped, and at a limit above which lie 5 % of normal days."""
    scores = np.sort([c["cscore"] for c in nulls(pool, "natural_lab")])
    limit = scores[len(scores) - 1 - int(0.05 * len(scores))]
    inj, real = ([c for c in pool if c["kind"] == k and not c["sub"].startswith("petshop")] for k in ("inj", "real"))
    found = [
        np.concatenate([hit(c)[c["truth"] == 1] for c in inj]).mean()
        for hit in (_flagged, lambda c: c["score"] > limit)
    ]
    cases, faults = (mean(part, lambda c: c["cscore"] > limit) for part in (inj, real))
    shipped = number(mean(nulls(pool, "natural_lab"), lambda c: c["overall"]))
    return (
        f"| **Daymark**, by entity, {name} | {shipped} | {number(found[0])} / {number(found[1])} | {number(cases)} | "
        f"{number(mean(real, lambda c: c['overall']))} / {number(faults)} |"
    )


def _flagged(c):
    return c["flag"] & c["overall"]


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("folder", type=Path)
    ap.add_argument("--write", action="store_true", help="into docs/judge.md")
    args = ap.parse_args()
    data = data_folder()
    if data is None:
        raise SystemExit("the scorer is not here: set DAYMARK_JUDGE_DATA")
    runs = {}
    for name, _, _ in RUNS:
        file = args.folder / f"{name.replace(', ', '-').replace(' ', '-')}.pkl"
        if file.exists():
            runs[name] = pickle.loads(file.read_bytes())
    lines = "\n".join(table(runs, library(data, "score")))
    peers = {name: peer(name, runs[run]) for name, run in (("no history", "no history"), ("up to 7 days", "7 days"))}
    print(lines, *peers.values(), sep="\n")
    if args.write:
        text = DOCS.read_text()
        at = text.index(BEGIN) + len(BEGIN)
        first = text[at : text.index("\n\n", at)]  # the sentence that says what the columns are stays
        text = f"{text[:at]}{first}\n\n{lines}\n{text[text.index(END, at) :]}"
        for name, line in peers.items():
            old = next(each for each in text.splitlines() if each.startswith(f"| **Daymark**, by entity, {name} |"))
            text = text.replace(old, line)
        DOCS.write_text(text)


if __name__ == "__main__":
    main()
