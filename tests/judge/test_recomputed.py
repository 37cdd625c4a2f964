"""A stored comparison, recomputed from stored samples: the same outcomes and views, every number within 1e-8."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from services.snapshotter.judge import Rule, Window, judge, verdict
from services.snapshotter.judge.measures import measure
from services.snapshotter.samples import pack, unpack
from tests.judge.made import DAY, KINDS, STEP, STEPS, T0, quiet

PAST = 3
DIGITS = 9  # what is stored


def recorded():
    """(N, days * STEPS) of every kind with things that happen on the last day, and with gaps."""
    rng = np.random.default_rng(4)
    v = np.vstack([quiet(kind, rng, 4, PAST + 1) for kind in KINDS]) * 1.1
    day = v[:, -STEPS:]
    day[::4] += 4 * v[::4, :-STEPS].std(axis=1, keepdims=True)
    day[1::8, STEPS // 2 :] *= 1.7
    day[5, 30:] = day[5, 30]
    v[2::5][rng.random(v[2::5].shape) < 0.03] = np.nan
    v[7, -STEPS:] = np.nan
    v[9, -STEPS // 2 :] = np.nan
    return v


def stored(v, rows=slice(None)):
    """What is kept of the comparisons of some SLIs of `v`; the anchor is the first day, the benchmark two days old."""

    def window(first, last):
        part = v[:, first * STEPS : last * STEPS]
        return Window(T0 + first * DAY, STEP, 0.0, part, (None,) * len(part))

    found = judge(
        window(PAST - 2, PAST - 1), window(PAST, PAST + 1), [Rule(f"s{i}", f"S{i}", "ms", "both", 0.01, 0.0, True)
        for i in range(len(v))], deployed_at_s=T0 + PAST * DAY, settle_s=900.0, history=(window(0, PAST),),
        references=(window(0, 1),),
    )  # fmt: skip
    own = ("before", "after", "effect_relative", "effect_absolute", "limit", "since_s")
    return [
        {
            "outcome": c.outcome,
            "view": c.view,
            "numbers": {
                name: float(f"{float(n):.{DIGITS}g}")
                for name, n in {**{k: getattr(c, k) for k in own}, **c.numbers}.items()
                if n is not None
            },
        }
        for c in found
    ]


def hold(again, first):
    assert [(c["outcome"], c["view"]) for c in again] == [(c["outcome"], c["view"]) for c in first]
    for one, other in zip(again, first, strict=True):
        assert one["numbers"] == pytest.approx(other["numbers"], rel=1e-8, abs=0)


FIRST = stored(recorded())


def test_there_is_something_of_everything_to_recompute():
    assert {c["outcome"] for c in FIRST} == {"moved", "steady", "inconclusive"}
    assert len({c["view"] for c in FIRST}) >= 4


def _strided(v):
    wide = np.full((2 * len(v), 3 * v.shape[1]), 7.0)
    wide[::-2, 1::3] = v
    return wide[::-2, 1::3]


@pytest.mark.parametrize(
    "laid",
    [
        lambda v: np.vstack([unpack(pack(row), len(row)) for row in v]),
        np.asfortranarray,
        _strided,
        lambda v: v.astype(">f8"),
    ],
    ids=["packed and unpacked", "by columns", "among others", "big-endian"],
)
def test_how_the_samples_lie_in_memory_changes_nothing(laid):
    v = laid(recorded())
    v.setflags(write=False)  # nor are they ever changed
    assert stored(v) == FIRST


@pytest.mark.parametrize(("group", "cached"), [(1, 2), (5, 24), (1000, 10_000)])
def test_how_many_are_judged_at_a_time_changes_nothing(monkeypatch, group, cached):
    monkeypatch.setattr(verdict, "GROUP", group)
    monkeypatch.setattr(verdict, "CACHED", cached)
    hold(stored(recorded()), FIRST)


def test_a_processor_without_wide_registers_and_with_more_threads_finds_the_same():
    numpys = import_module("numpy._core._multiarray_umath")
    wide = [name for name in numpys.__cpu_dispatch__ if numpys.__cpu_features__.get(name)]
    env = os.environ | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(wide),
        "OMP_NUM_THREADS": "4",
        "OPENBLAS_NUM_THREADS": "4",
    }
    code = "import json; from tests.judge import test_recomputed as t; print(json.dumps(t.FIRST))"
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run([sys.executable, "-c", code], env=env, cwd=root, capture_output=True, text=True, check=True)
    hold(json.loads(ran.stdout), FIRST)


def test_the_outermost_residuals_are_those_of_a_sorted_day_also_where_one_hour_has_them_all():
    rng = np.random.default_rng(5)
    days = rng.standard_normal((3, 6, 1440))
    days[:, 1, 300:340] += 50.0  # a burst of 40 min
    days[:, 2, 300:360] *= 20.0  # a wild hour, both ways
    days[:, 3] = np.round(days[:, 3])  # ties
    days[:, 4] = rng.poisson(0.05, (3, 1440))
    days[:, 5, 700:] += 3.0
    several = measure(days.copy(), 24)
    one_by_one = [measure(day[None].copy(), 24) for day in days]  # the last day is always sorted as a whole
    assert (several.r == np.concatenate([d.r for d in one_by_one], axis=1)).all()
    assert (several.q == np.concatenate([d.q for d in one_by_one], axis=1)).all()
