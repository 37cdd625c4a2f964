"""Fit a sum of small question tables (gradient boosting with oblivious trees), numpy alone.

A table asks the same few yes/no questions of every row and looks its points up (Kohavi's oblivious
decision graphs; the form CatBoost uses; Friedman 2001 for the boosting). It is exported as three plain arrays:
which feature, which threshold, which points. `monotone` features may only ever add points when they grow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tables:
    feature: np.ndarray  # (R, depth) int
    threshold: np.ndarray  # (R, depth)
    points: np.ndarray  # (R, 2**depth)
    start: float


def edges_of(x: np.ndarray, bins: int, monotone: np.ndarray) -> list[np.ndarray]:
    """At most bins - 1 thresholds a column, closer together the nearer they are to the top, where deviations lie.

    Columns that are not monotone say what kind of series it is: with five thresholds they can tell kinds apart, but
    not recognise a series. Thresholds lie halfway between two values that were seen, so that rounding decides nothing.
    """
    out = []
    fine, coarse = 1 - np.geomspace(0.98, 0.001, bins - 1), np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    for col, is_fine in zip(x.T, monotone, strict=True):
        at = fine if is_fine else coarse
        seen = np.unique(col[np.isfinite(col)].astype(np.float64))
        if len(seen) < 2:
            out.append(np.zeros(1))
            continue
        q = np.unique(np.quantile(col[np.isfinite(col)].astype(np.float64), at))
        k = np.clip(np.searchsorted(seen, q, "right"), 1, len(seen) - 1)
        out.append(np.unique((seen[k - 1] + seen[k]) / 2))
    return out


def digitise(x: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """(n, F) -> (F, n) uint8: how many edges lie strictly below the value; NaN is 0."""
    return np.stack(
        [
            np.where(np.isnan(c), 0, np.searchsorted(e, c, "left")).astype(np.uint8)
            for c, e in zip(x.T, edges, strict=True)
        ]
    )


def _sums(code: np.ndarray, leaf: np.ndarray, leaves: int, bins: int, *values: np.ndarray) -> list[np.ndarray]:
    """Sums of `values` by (leaf, feature, bin); code (C, n). Feature by feature, so that it stays in the cache."""
    out = [np.empty((leaves, len(code), bins)) for _ in values]
    start = leaf * bins
    for c, column in enumerate(code):
        at = column + start
        for total, v in zip(out, values, strict=True):
            total[:, c] = np.bincount(at, v, leaves * bins).reshape(leaves, bins)
    return out


def _monotone(points: np.ndarray, weight: np.ndarray, bits: list[int]) -> np.ndarray:
    p = points.copy()
    for _ in range(8):
        for k in bits:
            for i in range(len(p)):
                j = i | (1 << k)
                if j != i and p[j] < p[i]:
                    p[i] = p[j] = (p[i] * weight[i] + p[j] * weight[j]) / (weight[i] + weight[j])
    return p


def fit(
    code: np.ndarray,
    edges: list[np.ndarray],
    y: np.ndarray,
    w: np.ndarray,
    monotone: np.ndarray,
    *,
    rounds: int,
    rate: float,
    bins: int,
    depth: int = 5,
    ridge: float = 8.0,
    seed: int = 0,
    features: float = 0.25,
    top: int = 8000,
    rest: int = 10000,
) -> tuple[Tables, np.ndarray]:
    """Logistic loss, rows sampled by gradient (Ke et al. 2017, GOSS), features sampled per table.

    code (F, n) from `digitise`; `top` rows of the largest gradients and `rest` others are looked at for each table.
    Returns the tables and what they score on these rows.
    """
    rng = np.random.default_rng(seed)
    width, n = code.shape
    ends = np.array([len(e) for e in edges])
    base = np.clip((w * y).sum() / w.sum(), 1e-6, 1 - 1e-6)
    score = np.full(n, np.log(base / (1 - base)))
    start = float(score[0])
    fs, ts, ps = [], [], []
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-score))
        g, h = w * (p - y), w * p * (1 - p)
        most = min(top, n // 4)
        big = np.argpartition(-np.abs(g), most)[:most]
        few = rng.integers(0, n, min(rest, n // 4))
        rows = np.concatenate([big, few])
        amp = np.concatenate([np.ones(most), np.full(len(few), (n - most) / len(few))])
        gr, hr = g[rows] * amp, h[rows] * amp
        cols = rng.choice(width, max(1, int(features * width)), replace=False)
        sub = np.stack([code[c][rows] for c in cols]).astype(np.intp)
        leaf = np.zeros(len(rows), np.intp)
        past = np.arange(bins) >= ends[cols][:, None]
        feat, thr, bits = [], [], []
        gl, hl = _sums(sub, leaf, 1, bins, gr, hr)
        for level in range(depth):
            gc, hc = gl.cumsum(-1), hl.cumsum(-1)
            gt, ht = gc[..., -1:], hc[..., -1:]
            gain = gc**2 / (hc + ridge) + (gt - gc) ** 2 / (ht - hc + ridge) - gt**2 / (ht + ridge)
            wrong = (-(gt - gc) / (ht - hc + ridge) < -gc / (hc + ridge)) & monotone[cols][None, :, None]
            gain = np.where(wrong, 0.0, gain).sum(0)
            gain[past] = -1
            c, b = np.unravel_index(gain.argmax(), gain.shape)
            feat.append(int(cols[c]))
            thr.append(float(edges[cols[c]][b]))
            if monotone[cols[c]]:
                bits.append(level)
            yes = sub[c] > b
            if level + 1 < depth:  # sum the smaller side alone; the other is what remains
                few_yes = yes.sum() * 2 < len(yes)
                side = np.flatnonzero(yes == few_yes)
                gs, hs = _sums(sub[:, side], leaf[side], 1 << level, bins, gr[side], hr[side])
                order = (lambda a, s: [a - s, s]) if few_yes else (lambda a, s: [s, a - s])
                gl, hl = np.concatenate(order(gl, gs)), np.concatenate(order(hl, hs))
            leaf |= yes.astype(np.intp) << level
        gs, hs = np.bincount(leaf, gr, 1 << depth), np.bincount(leaf, hr, 1 << depth)
        points = _monotone(-rate * gs / (hs + ridge), hs + 1e-9, bits)
        at = np.zeros(n, np.intp)
        for k in range(depth):
            cut = np.searchsorted(edges[feat[k]], thr[k], "left")
            at |= (code[feat[k]] > cut).astype(np.intp) << k
        score += points[at]
        fs.append(feat)
        ts.append(thr)
        ps.append(points)
    return Tables(np.array(fs), np.array(ts), np.array(ps), start), score
