"""Made days: what production looks like when nothing happens, and what can happen to it. Seeded, 10-minute steps."""

import numpy as np

STEP = 600.0
STEPS = 144
DAY = 86400.0
T0 = 1_760_400_000.0  # a Tuesday


def wander(rng, n, days, rho, heavy=False):
    """(n, days * STEPS) AR(1) of unit variance (of unit scale when heavy-tailed: Student's t with 3 degrees)."""
    noise = rng.standard_t(3, (n, days * STEPS + 200)) if heavy else rng.standard_normal((n, days * STEPS + 200))
    out = np.empty_like(noise)
    out[:, 0] = noise[:, 0]
    for i in range(1, noise.shape[1]):
        out[:, i] = rho * out[:, i - 1] + np.sqrt(1 - rho * rho) * noise[:, i]
    return out[:, 200:]


def season(n, days, rng):
    t = np.arange(days * STEPS) / STEPS
    return 1 + 0.3 * np.sin(2 * np.pi * (t + rng.random((n, 1))))


def quiet(kind, rng, n, days):
    """(n, days * STEPS) on which nothing happens."""
    if kind.startswith("rho"):
        return 100 + 5 * wander(rng, n, days, float(kind[4:]))
    if kind == "season":
        return 100 * season(n, days, rng) * (1 + 0.05 * wander(rng, n, days, 0.3))
    if kind == "heavy tails":
        return 100 + 3 * wander(rng, n, days, 0.3, heavy=True)
    if kind == "counts":
        return rng.poisson(np.array([0.02, 0.3, 3.0, 40.0])[np.arange(n) % 4][:, None] * season(n, days, rng)) * 1.0
    if kind == "coarse":
        return np.round(20 + 1.5 * wander(rng, n, days, 0.5))
    raise ValueError(kind)


KINDS = ("rho 0", "rho 0.5", "rho 0.9", "rho 0.99", "season", "heavy tails", "counts", "coarse")
