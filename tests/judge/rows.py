"""The training data: what the views answer on the shared benchmark's cases, and on more cases made in its manner.

Needs `../shared/judge` beside the project (or DAYMARK_JUDGE_DATA); nothing of it is copied. More cases are drawn
from the same series by a seeded generator: quiet day pairs, the scorer's own injections on them, and labelled faults
at other offsets. A case is a dict: id, kind, sub, entity, mode, days, truth, up, down (labels), u, d (answers).
"""

import importlib.util
import os
import sys
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from services.snapshotter.judge.align import Clock
from services.snapshotter.judge.verdict import measured
from services.snapshotter.judge.views import look
from tests.judge.candidate import windows

MODES = {"h0": (0, False), "h7": (7, False), "d7": (7, True), "d1": (1, True)}
KINDS = (
    [("level_sigma", s) for s in (0.5, 1, 2, 4)] + [("level_rel", s) for s in (0.05, 0.1, 0.2, 0.5, 1.0)]
    + [("var", s) for s in (1.5, 2, 3)] + [(k, s) for k in ("trend", "delayed") for s in (1, 2, 4)]
    + [("burst", s) for s in (0.005, 0.02, 0.05)] * 2 + [("tail", 2), ("tail", 4), ("tail_add", 2)]
    + [("zero", 1), ("zero", 6), ("zero", 24), ("stuck", 6), ("stuck", 24)] + [("sparse", s) for s in (2, 5, 20)]
)  # fmt: skip


def data_folder() -> Path | None:
    root = os.environ.get("DAYMARK_JUDGE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "judge"
    return Path(root) if (Path(root) / "dev" / "series.npz").exists() else None


def library(folder: Path, name: str) -> ModuleType:
    """benchlib or score, from the folder of the data."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


def source_of(entity: str) -> str:
    """ASD and JumpStarter count as one: same platform, same weeks."""
    name = entity.split("-")[0]
    return "js" if name == "asd" else name


def answers(case, mode, series, benchlib):
    """One row of the training data, or None where the mode does not apply."""
    days, detached = MODES[mode] if isinstance(mode, str) else mode
    if case.get("post_entity") or case["n"] * series[case["entity"]]["step_s"] != 86400:
        return None
    if detached and case["hist"] < 1:
        return None
    c = benchlib.materialise(case, series, max(days, 1) if detached else days)
    c = benchlib.detach(c, days) if detached else c
    before, after, history, deployed = windows(c.pre, c.post, c.step_s, dict(c.meta, history=c.history))
    clock = Clock(before, after, deployed, 0.0, history)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        x, y, _, _ = measured(clock, slice(0, len(c.pre)))
        both = look(x, clock.benchmark, y, clock.at_border).astype(np.float32)
        u, d = both[: len(c.pre)], both[len(c.pre) :]
    up, down = np.zeros(len(u)), np.zeros(len(u))
    for inj in case["inj"]:
        kind, sign = inj["type"], inj.get("sign", 1)
        up[inj["m"]] = kind in ("var", "stuck", "burst", "tail", "sparse") or (kind != "zero" and sign > 0)
        down[inj["m"]] = kind in ("var", "stuck", "zero") or (
            kind.startswith(("level", "trend", "delayed")) and sign < 0
        )
    known = {k: case[k] for k in ("id", "kind", "sub", "size", "entity")}
    return known | {"days": clock.days, "truth": c.truth, "up": up, "down": down, "u": u, "d": d}


def more_cases(entity, e, seed=5):
    """Recipes in the benchmark's form, drawn from the series of one entity."""
    rng = np.random.default_rng([seed, zlib.crc32(entity.encode())])
    size = (1.0 if e["x"].shape[0] > 1 else 0.5) * (1.2 if e["step_s"] == 60 else 1.0)
    for kind, n in (("null", 20), ("inj", 36), ("real", 10)):
        for _ in range(int(n * size)):
            case = _draw(entity, e, rng, kind)
            if case is not None:
                yield case


def _draw(entity, e, rng, kind):
    x, label, day = e["x"], e["label"], 86400 // e["step_s"]
    for _ in range(60):
        t0 = int(rng.integers(0, max(1, x.shape[1] - 2 * day)))
        a, b = label[t0 : t0 + day], label[t0 + day : t0 + 2 * day]
        if len(b) < day:
            return None
        quiet = (a == 0).all() and (b == 0).all()
        fault = (b == 1).sum() * e["step_s"] >= 300 and (a == 1).mean() <= 0.01
        if fault if kind == "real" else quiet:
            break
    else:
        return None
    case = {"id": f"more-{entity}-{t0}-{rng.integers(1e9)}", "kind": kind, "sub": kind, "size": 0, "entity": entity,
            "t0": t0, "n": day, "hist": min(7, t0 // day), "inj": [], "truth": [],
            "seed": int(rng.integers(1 << 31))}  # fmt: skip
    if rng.random() < 0.15:
        case["miss"] = {"rand": 0.03, "gap_p": 0.2, "gap_f": 0.1}
    if kind == "null" and rng.random() < 0.4:
        case["counters"] = 4
    return _injected(case, x[:, t0 : t0 + day], rng) if kind == "inj" else case


def _injected(case, pre, rng):
    kind, size = KINDS[rng.integers(len(KINDS))]
    n = len(pre)
    if kind == "sparse":
        case["counters"], able = 4, np.arange(n, n + 4)
    else:
        able = np.array([m for m in range(n) if np.isfinite(pre[m]).sum() > 10 and np.nanstd(pre[m]) > 0])
        if not len(able):
            return None
    case["sub"] = kind
    k = min(len(able), max(1, int(rng.choice([1, 3, max(1, n // 5)]))))
    for m in rng.choice(able, k, replace=False):
        inj = {"m": int(m), "type": kind.replace("tail_add", "tail"), "size": size, "sign": int(rng.choice([1, -1]))}
        more: dict[str, dict[str, float]] = {
            "delayed": {"start_h": float(rng.uniform(4, 18))},
            "burst": {"amp": int(rng.choice([5, 10]))},
            "tail_add": {"add": 4.0},
            "zero": {"start_f": float(rng.random())},
            "stuck": {"start_f": float(rng.random())},
        }
        case["inj"].append(inj | more.get(kind, {}))
        case["truth"].append(int(m))
    return case


def build(folder: Path, tell=lambda _: None, jobs=1):
    """{mode: [row]} for the benchmark's cases, and the same for the drawn ones (h0, h7, and d with 1, 3 or 7 days)."""
    bench: dict[str, list[dict[str, Any]]] = {m: [] for m in MODES}
    more: dict[str, list[dict[str, Any]]] = {"h0": [], "h7": [], "d": []}
    benchlib = library(folder, "benchlib")
    entities = list(benchlib.load(str(folder / "dev"))[0])
    with ProcessPoolExecutor(jobs) as pool:
        for i, (a, b) in enumerate(pool.map(_of_entity, [folder] * len(entities), entities)):
            for mode, rows in a.items():
                bench[mode] += rows
            for mode, rows in b.items():
                more[mode] += rows
            tell(f"{entities[i]} ({i + 1} of {len(entities)}): {len(bench['h0'])} and {len(more['h0'])} cases")
    return bench, more


@cache
def _loaded(folder: Path) -> tuple[ModuleType, dict[str, Any], list[dict[str, Any]]]:
    benchlib = library(folder, "benchlib")
    return benchlib, *benchlib.load(str(folder / "dev"))


def _of_entity(folder: Path, entity: str):
    """The rows of one entity: those of the benchmark, and those of more cases."""
    benchlib, series, cases = _loaded(folder)
    own = [c for c in cases if c["entity"] == entity]
    bench = {m: [r for r in (answers(c, m, series, benchlib) for c in own) if r is not None] for m in MODES}
    more: dict[str, list[dict[str, Any]]] = {"h0": [], "h7": [], "d": []}
    if entity.startswith("pet"):
        return bench, more
    rng = np.random.default_rng([11, zlib.crc32(entity.encode())])
    for case in more_cases(entity, series[entity]):
        modes: list[tuple[str, Any]] = [("h0", "h0")]
        if case["hist"]:
            with_days = ("h7", "h7") if rng.random() < 0.5 else ("d", (int(rng.choice([1, 3, 7, 7])), True))
            modes.append(with_days)
        for mode, how in modes:
            row = answers(case, how, series, benchlib)
            if row is not None:
                more[mode].append(row)
    return bench, more
