"""What must hold for any data: scaling, order, more of the same, nothing of ours imported."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.snapshotter.judge import Window
from services.snapshotter.judge import judge as decide
from services.snapshotter.judge.tables.shipped import SHIPPED
from tests.judge.test_outcomes import DAY, T0, rule

STEP = 600.0


def made(seed, n=4, shift=0.0):
    r = np.random.default_rng(seed)
    t = np.arange(144) / 144
    kinds = [
        lambda: 10 + np.sin(2 * np.pi * t) + 0.3 * r.standard_normal((1, 144)),
        lambda: r.poisson(0.1, (1, 144)).astype(float),
        lambda: np.round(50 + 3 * r.standard_normal((1, 144))),
        lambda: 5 + np.cumsum(r.standard_normal((1, 144)), axis=1) * 0.1,
    ]
    values = np.vstack([kinds[i % 4]() for i in range(n)])
    values[0] += shift
    return values


def ask(a, b, rules=None, history=True):
    rules = rules or [rule(i, min_relative=0.0) for i in range(len(a))]
    before = Window(T0, STEP, 0.0, a, (None,) * len(a))
    after = Window(T0 + DAY, STEP, 0.0, b, (None,) * len(b))
    return decide(before, after, rules, deployed_at_s=T0 + DAY, history=(before,) if history else ())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(-40, 40), size=st.sampled_from([0.0, 1.0, 5.0]))
def test_scaling_by_a_power_of_two_changes_no_outcome(seed, k, size):
    a, b = made(seed), made(seed + 1, shift=size)
    rules = [rule(i, min_absolute=0.25) for i in range(4)]
    scaled = [replace(r, min_absolute=r.min_absolute * 2.0**k) for r in rules]
    plain = ask(a, b, rules)
    other = ask(a * 2.0**k, b * 2.0**k, scaled)
    assert [(c.outcome, c.view) for c in plain] == [(c.outcome, c.view) for c in other]
    assert [c.numbers.get("score") for c in plain] == [c.numbers.get("score") for c in other]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.permutations(range(4)))
def test_permuting_series_permutes_answers(seed, order):
    a, b = made(seed), made(seed + 1, shift=3.0)
    rules = [rule(i) for i in range(4)]
    plain = ask(a, b, rules)
    assert ask(a[order], b[order], [rules[i] for i in order]) == tuple(plain[i] for i in order)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_larger_step_never_weakens(seed):
    a, b = made(seed, 1), made(seed + 1, 1)
    sigma = a.std()
    for sign in (1, -1):
        found = [ask(a, b + sign * k * sigma)[0] for k in (2, 4, 8, 16)]
        moved = [c.outcome == "moved" for c in found]
        assert moved == sorted(moved)
        assert moved[-1]


@pytest.mark.parametrize("more", [10, 400])
def test_more_steady_series_raise_the_limit_only_by_the_documented_function(more):
    a, b = made(1, 4), made(2, 4)
    wide_a, wide_b = np.vstack([a, made(3, more)]), np.vstack([b, made(4, more)])
    few, many = ask(a, b), ask(wide_a, wide_b)
    for c, d in zip(few, many, strict=False):
        assert c.numbers["score"] == d.numbers["score"]
        assert d.limit - c.limit == pytest.approx(SHIPPED.slope * np.log((4 + more) / 4))


def test_direction_is_respected_for_every_view():
    a, b = made(5, 1), made(6, 1, shift=8.0)
    for direction, outcome in (("higher_is_worse", "moved"), ("both", "moved"), ("lower_is_worse", "steady")):
        assert ask(a, b, [rule(0, direction=direction)])[0].outcome == outcome


def test_the_judge_imports_numpy_scipy_and_the_standard_library_alone():
    """A notebook must be able to use it, and a stored verdict to be recomputed years later."""
    import sys

    folder = Path(__file__).resolve().parents[2] / "services" / "snapshotter" / "judge"
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [x.name for x in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                ours = name.startswith("services.snapshotter.judge")
                assert ours or name.split(".")[0] in {"numpy", "scipy", *sys.stdlib_module_names}, (file.name, name)
