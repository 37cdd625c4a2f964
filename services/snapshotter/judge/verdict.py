"""The judge: windows and rules in, comparisons out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from services.snapshotter.judge.values import Comparison, Floats, Rule, Window

# Of the steps that both days should have, this share must have been read before anything can be `steady`.
MIN_ANSWERED = 0.5


def judge(
    before: Window,
    after: Window,
    rules: Sequence[Rule],
    *,
    deployed_at_s: float,
    settle_s: float = 0.0,
    references: Sequence[Window] = (),
    history: Sequence[Window] = (),
) -> tuple[Comparison, ...]:
    """Say for each SLI whether production moved. One comparison per rule, in the order of the rules.

    before, after   (N, T) windows; row i belongs to rules[i]
    deployed_at_s   unix seconds; the nominal after window is `[deployed_at_s, deployed_at_s + 24 h)`
    settle_s        the first seconds after the deploy that are not judged: set to missing here, in the after window and
                    at the same clock minutes of the benchmark (a caller may set them to NaN itself as well)
    references      earlier approved snapshots (the anchor) that the after window is also held against
    history         earlier days that run up to the deploy, oldest first

    Raises ValueError when the number of rows and rules differ.
    """
    for name, w in (("before", before), ("after", after)):
        if np.shape(w.values)[0] != len(rules):
            raise ValueError(f"{name} has {np.shape(w.values)[0]} series for {len(rules)} rules")
    a, b = _aligned(before, after, deployed_at_s, settle_s)
    return tuple(_compare(r, a[i], b[i], before.missing[i], after.missing[i]) for i, r in enumerate(rules))


def _aligned(before: Window, after: Window, deployed_at_s: float, settle_s: float) -> tuple[Floats, Floats]:
    """Both windows on the after window's clock: (N, T) twice, infinities and unpaired steps as NaN."""
    a = np.array(before.values, np.float64)
    b = np.array(after.values, np.float64)
    a[~np.isfinite(a)] = np.nan
    b[~np.isfinite(b)] = np.nan
    b[:, after.start_s + after.step_s * np.arange(b.shape[1]) < deployed_at_s + settle_s] = np.nan
    if before.step_s != after.step_s or a.shape[1] == 0:
        return np.full_like(b, np.nan), b
    day = round(86400 / after.step_s)
    shift = round((after.start_s + after.utc_offset_s - before.start_s - before.utc_offset_s) / after.step_s)
    at = (np.arange(b.shape[1]) + shift) % max(day, a.shape[1])
    paired = np.where(at < a.shape[1], a[:, np.minimum(at, a.shape[1] - 1)], np.nan)
    paired[:, np.isnan(b).all(axis=0)] = np.nan
    return paired, b


def _compare(rule: Rule, a: Floats, b: Floats, why_a: str | None, why_b: str | None) -> Comparison:
    n = max(1, a.size)
    got_a, got_b = np.isfinite(a).sum() / n, np.isfinite(b).sum() / n
    name = rule.title or rule.sli
    if not got_a or not got_b:
        side, why = ("benchmark", why_a) if not got_a else ("after window", why_b)
        return Comparison(
            rule.sli, "no_data", f"{name}: no data in the {side} ({why or 'nothing was read'})", rule.decides
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        blocks = max(1, min(24, a.size // 4))
        hours = [
            (np.nanmedian(p), np.nanmedian(q))
            for p, q in zip(np.array_split(a, blocks), np.array_split(b, blocks), strict=True)
        ]
    d = np.array([q - p for p, q in hours if np.isfinite(p) and np.isfinite(q)])
    was, now = float(np.nanmedian(a)), float(np.nanmedian(b))
    numbers = {"answered_before": float(got_a), "answered_after": float(got_b)}
    if min(got_a, got_b) < MIN_ANSWERED or d.size == 0:
        text = f"{name}: only {got_a:.0%} of the benchmark and {got_b:.0%} of the after window were read"
        return Comparison(rule.sli, "inconclusive", text, rule.decides, numbers=numbers)
    shift = float(np.median(d))
    noise = float(1.4826 * np.median(np.abs(d - shift)))
    limit = max(rule.min_absolute, rule.min_relative * abs(was), 0.15 * abs(was), 3.0 * noise)
    worse = {"higher_is_worse": shift, "lower_is_worse": -shift, "both": abs(shift)}[rule.direction]
    relative = shift / abs(was) if was else None
    moved = worse > limit and np.quantile(d * np.sign(shift), 0.25) > limit / 2
    change = f"{was:.4g} -> {now:.4g} {rule.unit}".strip()
    text = f"{name} {'moved' if moved else 'stayed'}: {change}; a shift of {limit:.3g} would have counted"
    return Comparison(
        rule.sli,
        "moved" if moved else "steady",
        text,
        rule.decides,
        "level" if moved else None,
        was,
        now,
        relative,
        shift,
        limit,
        None,
        numbers,
    )
