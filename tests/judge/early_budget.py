"""What short windows raise on quiet days and find when something happened: `python -m tests.judge.early_budget`.

It prints the tables behind `domain/early.py` and the limits of `judge/early.py`. Needs `../shared/judge` beside the project
(or DAYMARK_JUDGE_DATA). A quiet pair of days is a case in which nothing is labelled. A deploy is put at a seeded hour of
its second day; the hours after it are held against the 24 hours before it, as an early look or a look at a recovery would.
"""

import json
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.snapshotter.domain import limit
from services.snapshotter.judge import Comparison, Rule, Window, judge
from services.snapshotter.judge.early import LIMIT_ALONE
from tests.judge.fit import ABOVE_ALONE, folds_by_entity
from tests.judge.rows import data_folder, library

LOOKS = (15, 30, 60, 120, 180, 360, 720)
SCHEDULES = ((15, 60, 360), LOOKS)
WINDOWS = (60, 180, 240, 480)
LATEST = 12 * 60  # minutes of the second day: so that every window ends inside of it
DAY_S, SETTLE_S = 86400, 900
TUESDAY = 1_760_400_000 - 1_760_400_000 % DAY_S  # no week-end comes between the two days
INJECTED = (
    ("level_sigma", 2, 1),
    ("level_sigma", 2, -1),
    ("level_rel", 0.5, 1),
    ("level_rel", 0.5, -1),
    ("level_rel", 1, 1),
)


@dataclass(frozen=True)
class Quiet:
    """(N, T) everything up to the end of the day, and the step at which something was deployed."""

    values: np.ndarray
    at: int
    step_s: int
    seed: int

    @property
    def per_day(self) -> int:
        return DAY_S // self.step_s

    def after(self, minutes: int) -> np.ndarray:
        return self.values[:, self.at : self.at + minutes * 60 // self.step_s].copy()

    def asked(self, after: np.ndarray, days: int, settle_s: float, least: float) -> tuple[Comparison, ...]:
        """Some whole number of times as many rows as there are series: each is held against its own past."""
        past = np.vstack([self.values[:, : self.at]] * (len(after) // len(self.values)))
        none: tuple[None, ...] = (None,) * len(after)

        def window(values: np.ndarray, end_s: float) -> Window:
            return Window(end_s - values.shape[1] * self.step_s, self.step_s, 0.0, values, none)

        history = [
            window(past[:, end - self.per_day : end], TUESDAY - back * DAY_S)
            for back in range(days - 1, -1, -1)
            if (end := self.at - back * self.per_day) >= self.per_day
        ]
        rules = [Rule(f"s{i}", f"s{i}", "", "both", least, 0.0, True) for i in range(len(after))]
        before = window(past[:, -self.per_day :], TUESDAY)
        now = Window(TUESDAY, self.step_s, 0.0, after, none)
        return judge(before, now, rules, deployed_at_s=TUESDAY, settle_s=settle_s, history=history)


def quiet_pairs() -> Iterator[Quiet]:
    folder = data_folder()
    if folder is None:
        sys.exit("the days to measure on are not here: set DAYMARK_JUDGE_DATA")
    benchlib = library(folder, "benchlib")
    series, cases = benchlib.load(str(folder / "dev"))
    for case in cases:
        step = series[case["entity"]]["step_s"]
        if (case["kind"], case["sub"]) != ("null", "natural_lab") or case["n"] * step != DAY_S:
            continue
        c = benchlib.materialise(case, series, 7)
        values = np.hstack([*([] if c.history is None else [c.history]), c.pre, c.post])
        seed = zlib.crc32(case["id"].encode())
        first = values.shape[1] - DAY_S // step
        yield Quiet(values, first + int(np.random.default_rng(seed).integers(LATEST * 60 // step + 1)), step, seed)


def looked(q: Quiet) -> list[float]:
    """The largest score that moved in each early look; these know no earlier days."""
    row = []
    for minutes in LOOKS:
        answers = q.asked(q.after(minutes), 0, min(SETTLE_S, minutes * 60 / 4), 0.1)
        row.append(max((a.numbers.get("score", 0.0) for a in answers if a.outcome == "moved"), default=0.0))
    return row


def found(q: Quiet, minutes: int, days: int) -> tuple[bool, bool, np.ndarray, str]:
    """Whether a quiet window moved, whether it needs a person, (injections, N) what moved when each SLI was changed, and by
    which view the quiet window moved: a view that is scored counts before one that is not (`constant`)."""
    benchlib, rng = library(data_folder(), "benchlib"), np.random.default_rng(q.seed)  # type: ignore[arg-type]
    quiet = q.after(minutes)
    same = q.values[:, q.at - q.per_day : q.at - q.per_day + quiet.shape[1]]
    changed = [
        np.array([benchlib.inject(rng, a, b, {"type": kind, "size": size, "sign": sign}, q.step_s)
                  for a, b in zip(quiet, same, strict=True)])
        for kind, size, sign in INJECTED
    ]  # fmt: skip
    answers = q.asked(np.vstack([quiet, *changed]), days, 0.0, 0.0)
    outcomes = np.array([a.outcome for a in answers]).reshape(1 + len(INJECTED), -1)
    raised = [a for a in answers[: len(quiet)] if a.outcome == "moved"]
    by = max(raised, key=lambda a: a.numbers.get("score", 0.0)).view if raised else None
    varies = np.nanstd(quiet, axis=1) > 0
    moved = bool((outcomes[0] == "moved").any())
    return moved, not moved and bool((outcomes[0] != "steady").any()), (outcomes[1:, varies] == "moved"), by or ""


def alone() -> Iterator[tuple[str, float, float]]:
    """Quiet windows of 1 to 3 h of every entity against the same hours a day before, nothing else known: (entity, how far
    the farthest SLI is in usual movements, the same when one SLI doubled)."""
    folder = data_folder()
    benchlib = library(folder, "benchlib")  # type: ignore[arg-type]
    for entity, e in benchlib.load(str(folder / "dev"))[0].items():  # type: ignore[operator]
        rng, day, drawn = np.random.default_rng([3, zlib.crc32(entity.encode())]), DAY_S // e["step_s"], 0
        for _ in range(0 if entity.startswith("pet") else 400):
            n = int(rng.integers(1, 4)) * 3600 // e["step_s"]
            first = int(rng.integers(0, max(1, e["x"].shape[1] - day - n)))
            at = slice(first, first + n), slice(first + day, first + day + n)
            if len(e["label"][at[1]]) < n or any((e["label"][part] != 0).any() for part in at):
                continue
            before, after = (e["x"][:, part].astype(np.float64) for part in at)
            doubled = after.copy()
            doubled[rng.integers(len(after))] *= 2
            yield entity, *(_farthest(before, v, e["step_s"]) for v in (after, doubled))
            if (drawn := drawn + 1) == 30:
                break


def _farthest(before: np.ndarray, after: np.ndarray, step_s: int) -> float:
    """In usual movements; infinite when something else than a level moved."""
    none: tuple[None, ...] = (None,) * len(after)
    rules = [Rule(f"s{i}", f"s{i}", "", "both", 0.0, 0.0, True) for i in range(len(after))]
    start = float(TUESDAY - DAY_S)
    found = judge(
        Window(start, step_s, 0.0, before, none), Window(float(TUESDAY), step_s, 0.0, after, none), rules,
        deployed_at_s=float(TUESDAY),
    )  # fmt: skip
    if any(c.outcome == "moved" and not (c.view or "").startswith("level") for c in found):
        return float("inf")
    return max((c.numbers.get("score", 0.0) * LIMIT_ALONE for c in found), default=0.0)


def tell_alone() -> None:
    """What windows by themselves raise, and the limit that the other folds' windows ask for."""
    rows = list(alone())
    entity, quiet, doubled = (
        np.array([r[0] for r in rows]),
        np.array([r[1] for r in rows]),
        np.array([r[2] for r in rows]),
    )
    fold = np.vectorize(folds_by_entity(entity.tolist()).get)(entity)
    limits = {int(f): float(np.quantile(quiet[fold != f], 1 - ABOVE_ALONE, method="higher")) for f in np.unique(fold)}
    held = np.mean(quiet > np.vectorize(limits.get)(fold))
    print(
        f"windows of 1 to 3 h, nothing else known: {len(rows)} quiet ones; {LIMIT_ALONE:g} usual movements are passed by"
        f" {np.mean(quiet > LIMIT_ALONE):.2%}, by {np.mean(doubled > LIMIT_ALONE):.2%} when one SLI doubled; {ABOVE_ALONE:.1%} pass"
        f" {np.quantile(quiet, 1 - ABOVE_ALONE):.2f}; limits by entity {sorted(limits.values())} pass {held:.2%}"
    )


def main() -> None:
    warnings.simplefilter("ignore")  # of the benchmark's own loader, on series that are all gaps
    pairs = list(quiet_pairs())
    slis = np.array([len(q.values) for q in pairs])
    table = np.array([looked(q) for q in pairs])

    def rate(looks: tuple[int, ...]) -> float:
        least = np.array([limit(len(looks), n) for n in slis])
        return float(np.mean(table[:, [LOOKS.index(each) for each in looks]].max(axis=1) >= least))

    tell_alone()
    print(f"{len(pairs)} quiet pairs of days, {slis.min()} to {slis.max()} SLIs each")
    for minutes in LOOKS:
        print(f"  one look after {minutes:4} min: {rate((minutes,)):6.2%}")
    for looks in SCHEDULES:
        print(f"  {len(looks)} looks {looks}: {rate(looks):6.2%}")
    print("windows by themselves: " + json.dumps([f"{k} {size:g} {'+' if s > 0 else '-'}" for k, size, s in INJECTED]))
    for days in (0, 7):
        for minutes in WINDOWS:
            rows = [found(q, minutes, days) for q in pairs]
            hits = np.concatenate([r[2] for r in rows], axis=1)
            share = " ".join(f"{v:.3f}" for v in hits.mean(axis=1))
            print(
                f"  {minutes:3} min, {days} days: moved {np.mean([r[0] for r in rows]):6.2%}, a person"
                f" {np.mean([r[1] for r in rows]):6.2%} of {len(rows)}; found {share} of {hits.shape[1]};"
                f" moved by {dict(Counter(r[3] for r in rows if r[0]))}"
            )


if __name__ == "__main__":
    main()
