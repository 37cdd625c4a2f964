"""A product's release history: did one release move a level for good, or do small steps add up?

What is looked at is one level per release (the median of its verified day), and of that the increments from release to
release. Levels of production wander: as independent noise at one end, as a random walk at the other. The mean increment
and the one increment that sticks out are tested against the scatter of the increments themselves, which is right for a
random walk and strict for everything steadier, so that wandering alone is no finding (Apache Otava tests the levels,
as if they were independent). Student's t, exact for normal increments, divided by places and SLIs (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.snapshotter.judge.alarms import SHARES
from services.snapshotter.judge.values import Comparison, Floats, Rule, said

LEAST = 6  # releases below which nothing is said
STAYED = 2  # releases after a jump that must have kept it: one odd release is no change of level


def across_releases(
    levels: Floats, rules: Sequence[Rule], names: Sequence[str] = (), share: float = SHARES["releases"]
) -> tuple[Comparison, ...]:
    """One comparison per rule: `moved` by view `creep over releases` or `jump at a release`, else `steady`.

    levels  (R, N) one level per release and SLI, oldest first, in the SLIs' units; NaN where there is none
    names   of the R releases, for the sentence; numbered from 1 when not given
    share   probability of any alarm, over all SLIs together, on a history in which nothing happened

    Fewer than six levels are `inconclusive`, none at all is `no_data`. Raises ValueError when shapes disagree.
    """
    if np.ndim(levels) != 2 or np.shape(levels)[1] != len(rules):
        raise ValueError(f"levels must be (releases, {len(rules)}), not of shape {np.shape(levels)}")
    if len(names) not in (0, len(levels)):
        raise ValueError(f"{len(names)} names for {len(levels)} releases")
    labels = list(names) or [f"release {k + 1}" for k in range(len(levels))]
    alpha = share / max(1, len(rules))
    return tuple(_one(np.asarray(levels, float)[:, j], r, labels, alpha) for j, r in enumerate(rules))


def _one(level: Floats, rule: Rule, names: list[str], alpha: float) -> Comparison:
    known = np.flatnonzero(np.isfinite(level))
    if not len(known):
        return Comparison(rule.sli, "no_data", f"{rule.title}: no release has a level", rule.decides)
    if len(known) < LEAST:
        text = f"{rule.title}: {len(known)} releases have a level, {LEAST} are needed to tell drift from wandering"
        return Comparison(rule.sli, "inconclusive", text, rule.decides)
    v = level[known] / (size := float(np.abs(level[known]).max()) or 1.0)
    d = np.diff(v)
    tests = [t for t in (_creep(v, d), _jump(v, d)) if t is not None]
    least = [max(rule.min_absolute / size, rule.min_relative * abs(was)) for _, _, was, _, _ in tests]
    sided = 2.0 if rule.direction == "both" else 1.0
    numbers: dict[str, float] = {"releases": float(len(known))}
    found: list[tuple[float, Comparison]] = []
    for (view, p, was, now, at), minded in zip(tests, least, strict=True):
        p = min(1.0, p * sided * 2)  # two tests share the budget
        numbers[f"p of {view}"] = p
        worse = {"higher_is_worse": now > was, "lower_is_worse": now < was, "both": True}[rule.direction]
        if p < alpha and worse and abs(now - was) >= minded:
            found.append((p, _told(rule, view, was * size, now * size, names[known[at]], names[known[0]], alpha)))
    if found:
        best = min(found, key=lambda f: f[0])[1]
        return Comparison(**{**vars(best), "numbers": numbers})
    was, now = float(v[0]) * size, float(v[-1]) * size
    text = f"{rule.title} wanders over {len(known)} releases as it always did: {said(rule.unit, was, now)}"
    return Comparison(
        rule.sli, "steady", text, rule.decides, None, was, now, (now - was) / abs(was) if was else None, now - was,
        alpha, None, numbers,
    )  # fmt: skip


_Test = tuple[str, float, float, float, int]  # view, one-sided p, level before, level now, place


def _creep(v: Floats, d: Floats) -> _Test:
    """The mean increment against zero."""
    n, scatter = len(d), float(np.std(d, ddof=1))
    t = abs(float(d.mean())) / max(scatter / np.sqrt(n), 1e-12)
    return "creep over releases", _tail(t, n - 1), float(v[0]), float(v[-1]), 0


def _jump(v: Floats, d: Floats) -> _Test | None:
    """The increment that sticks out furthest of all the others, if later releases kept at least half of it."""
    n = len(d)
    total, squares = d.sum(), (d * d).sum()
    rest = (total - d) / (n - 1)
    spread = np.sqrt(np.maximum((squares - d * d) / (n - 1) - rest * rest, 0.0) * (n - 1) / (n - 2))
    t = np.abs(d - rest) / np.maximum(spread * np.sqrt(1 + 1 / (n - 1)), 1e-12)
    k = int(t[: n - STAYED].argmax())
    was, now = float(np.median(v[: k + 1])), float(np.median(v[k + 1 :]))
    kept = (v[k + 1 :] - was) * np.sign(d[k]) >= 0.5 * abs(d[k])
    if not kept.all():
        return None
    return "jump at a release", min(1.0, _tail(float(t[k]), n - 2) * n), was, now, k + 1


def _tail(t: float, freedom: int) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, -t))


def _told(rule: Rule, view: str, was: float, now: float, at: str, first: str, alpha: float) -> Comparison:
    share = (now - was) / abs(was) if was else None
    size = said(rule.unit, was, now) + (f" ({share:+.0%})" if share is not None else "")
    verb = "rose" if now > was else "fell"
    if view.startswith("creep"):
        text = f"{rule.title} {verb} little by little since {first}: {size}, though perhaps no release alone moved it"
    else:
        text = f"{rule.title} {verb} with {at} and stayed there: {size}"
    return Comparison(rule.sli, "moved", text, rule.decides, view, was, now, share, now - was, alpha)
