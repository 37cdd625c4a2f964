"""Fit a sum of small question tables (gradient boosting with oblivious trees), numpy alone.

A table asks the same three yes/no questions of every row and looks its points up among eight (Kohavi's oblivious
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

    def score(self, x: np.ndarray) -> np.ndarray:
        """(n, F) -> (n,) log odds. NaN answers every question with no."""
        out = np.full(len(x), self.start)
        for f, t, p in zip(self.feature, self.threshold, self.points, strict=True):
            at = np.zeros(len(x), np.intp)
            for k in range(len(f)):
                at |= (x[:, f[k]] > t[k]).astype(np.intp) << k
            out += p[at]
        return out


def edges_of(x: np.ndarray, bins: int) -> list[np.ndarray]:
    out = []
    for col in x.T:
        col = col[np.isfinite(col)]
        out.append(np.unique(np.quantile(col, np.linspace(0.02, 0.998, bins - 1))) if col.size else np.zeros(1))
    return out


def digitise(x: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """(n, F) uint8: how many edges lie strictly below the value; NaN is 0."""
    cols = [np.where(np.isnan(c), 0, np.searchsorted(e, c, "left")) for c, e in zip(x.T, edges, strict=True)]
    return np.stack(cols, 1).astype(np.uint8)


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
    x: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    monotone: np.ndarray,
    *,
    rounds: int = 150,
    depth: int = 3,
    rate: float = 0.12,
    ridge: float = 10.0,
    seed: int = 0,
    bins: int = 40,
    features: float = 0.4,
    top: float = 0.08,
    rest: float = 0.12,
    binned: tuple | None = None,
) -> Tables:
    """Logistic loss, rows sampled by gradient (Ke et al. 2017, GOSS), features sampled per table."""
    rng = np.random.default_rng(seed)
    edges, code = binned if binned is not None else (e := edges_of(x, bins), digitise(x, e))
    n, width = code.shape
    base = np.clip((w * y).sum() / w.sum(), 1e-6, 1 - 1e-6)
    score = np.full(n, np.log(base / (1 - base)))
    start = float(score[0])
    fs, ts, ps = [], [], []
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-score))
        g, h = w * (p - y), w * p * (1 - p)
        big = np.argpartition(-np.abs(g), int(top * n))[: int(top * n)]
        few = rng.integers(0, n, int(rest * n))
        rows = np.concatenate([big, few])
        amp = np.concatenate([np.ones(len(big)), np.full(len(few), (1 - top) / rest)])
        gr, hr = g[rows] * amp, h[rows] * amp
        cols = rng.choice(width, max(1, int(features * width)), replace=False)
        sub = code[np.ix_(rows, cols)].astype(np.intp) + np.arange(len(cols)) * bins
        leaf = np.zeros(len(rows), np.intp)
        feat, thr, bits = [], [], []
        gg, hh = np.repeat(gr, len(cols)), np.repeat(hr, len(cols))
        for level in range(depth):
            size = (1 << level) * len(cols) * bins
            at = (leaf[:, None] * (len(cols) * bins) + sub).ravel()
            gl = np.bincount(at, gg, size).reshape(1 << level, len(cols), bins).cumsum(-1)
            hl = np.bincount(at, hh, size).reshape(1 << level, len(cols), bins).cumsum(-1)
            gt, ht = gl[..., -1:], hl[..., -1:]
            gain = gl**2 / (hl + ridge) + (gt - gl) ** 2 / (ht - hl + ridge) - gt**2 / (ht + ridge)
            wrong = (-(gt - gl) / (ht - hl + ridge) < -gl / (hl + ridge)) & monotone[cols][None, :, None]
            gain = np.where(wrong, 0.0, gain).sum(0)
            for c, e in enumerate(cols):
                gain[c, len(edges[e]) :] = -1
            c, b = np.unravel_index(gain.argmax(), gain.shape)
            feat.append(int(cols[c]))
            thr.append(float(edges[cols[c]][b]))
            leaf |= (sub[:, c] - c * bins > b).astype(np.intp) << level
            if monotone[cols[c]]:
                bits.append(level)
        gs, hs = np.bincount(leaf, gr, 1 << depth), np.bincount(leaf, hr, 1 << depth)
        points = _monotone(-rate * gs / (hs + ridge), hs + 1e-9, bits)
        at = np.zeros(n, np.intp)
        for k in range(depth):
            cut = np.searchsorted(edges[feat[k]], thr[k], "left")
            at |= (code[:, feat[k]] > cut).astype(np.intp) << k
        score += points[at]
        fs.append(feat)
        ts.append(thr)
        ps.append(points)
    return Tables(np.array(fs), np.array(ts), np.array(ps), start)
