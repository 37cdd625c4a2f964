"""Fitted tables as an .npz (for folds) and as a module of plain arrays (what ships)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from services.snapshotter.judge.tables import Fitted, Tables
from services.snapshotter.judge.values import Floats, Ints
from tests.judge import boost

_Arrays = TypedDict(
    "_Arrays",
    {
        "slope": float,
        "series": int,
        "limit_days": list[int],
        "limits": list[float],
        "extreme_names": list[str],
        "extremes": list[tuple[float, float, float]],
        "older_days": list[int],
        "older": list[float],
        "beside": float,
        "one_day.feature": Ints,
        "one_day.threshold": Floats,
        "one_day.points": Floats,
        "one_day.start": float,
        "several_days.feature": Ints,
        "several_days.threshold": Floats,
        "several_days.points": Floats,
        "several_days.start": float,
    },
)


def save(path: Path, fitted: Fitted) -> None:
    one, several = fitted.one_day, fitted.several_days
    arrays: _Arrays = {
        "slope": fitted.slope,
        "series": fitted.series,
        "limit_days": list(fitted.limits),
        "limits": list(fitted.limits.values()),
        "extreme_names": list(fitted.extremes),
        "extremes": list(fitted.extremes.values()),
        "older_days": list(fitted.older),
        "older": list(fitted.older.values()),
        "beside": fitted.beside,
        "one_day.feature": one.feature,
        "one_day.threshold": one.threshold,
        "one_day.points": one.points,
        "one_day.start": one.start,
        "several_days.feature": several.feature,
        "several_days.threshold": several.threshold,
        "several_days.points": several.points,
        "several_days.start": several.start,
    }
    np.savez(path, **arrays)


def load(path: Path | str) -> Fitted:
    with np.load(path) as z:
        one, several = _tables(z, "one_day"), _tables(z, "several_days")
        limits = dict(zip(z["limit_days"].tolist(), z["limits"].tolist(), strict=True))
        beyond = {
            str(n): (float(a), float(b), float(c))
            for n, (a, b, c) in zip(z["extreme_names"], z["extremes"], strict=True)
        }
        older = dict(zip(z["older_days"].tolist(), z["older"].tolist(), strict=True))
        return Fitted(one, several, limits, float(z["slope"]), int(z["series"]), beyond, older, float(z["beside"]))


def _tables(z: Mapping[str, np.ndarray[Any, Any]], name: str) -> Tables:
    start = float(z[f"{name}.start"])
    return Tables(z[f"{name}.feature"], z[f"{name}.threshold"], z[f"{name}.points"], start)


def rounded(t: boost.Tables) -> Tables:
    """As it will be written: six digits for thresholds, three decimals for points."""
    cut = np.vectorize(lambda v: float(f"{v:.6g}"), otypes=[float])
    return Tables(t.feature, cut(t.threshold), np.round(t.points, 3), round(t.start, 3))


def write_modules(folder: Path, fitted: Fitted, names: tuple[str, ...], about: str) -> None:
    """The committed form; `names` are the features, so that a reordering of the views is noticed at import."""
    for name in ("one_day", "several_days"):
        t = getattr(fitted, name)
        lines = [
            f'"""{about}"""',
            "",
            "# Written by tests/judge/fit.py; do not edit.",
            "# fmt: off",
            "# ruff: noqa: E501",
        ]
        lines += ["TABLES: tuple[tuple[str | float, ...], ...] = ("]
        for f, th, p in zip(t.feature, t.threshold, t.points, strict=True):
            asks = ", ".join(f'"{names[i]}", {v:.6g}' for i, v in zip(f, th, strict=True))
            lines.append(f'    ({asks}, "{" ".join(f"{v:g}" for v in p)}"),')
        lines += [")", f"START = {t.start:g}", ""]
        (folder / f"{name}.py").write_text("\n".join(lines))
    body = [
        '"""What ships: the limits that `tests/judge/fit.py` found, and its tables as arrays."""', "",
        "# Written by tests/judge/fit.py; do not edit.",
        "from services.snapshotter.judge.tables import Fitted, one_day, parse, several_days", "",
        "SHIPPED = Fitted(",
        "    parse(one_day.TABLES, one_day.START),",
        "    parse(several_days.TABLES, several_days.START),",
        "    {" + ", ".join(f"{k}: {v:.3f}" for k, v in fitted.limits.items()) + "},",
        f"    {fitted.slope:.3f},", f"    {fitted.series},", "    {",
        *(f'        "{n}": ({a:g}, {b:g}, {c:g}),'.replace("inf", 'float("inf")') for n, (a, b, c) in fitted.extremes.items()),
        "    },", "    {" + ", ".join(f"{k}: {v:.3f}" for k, v in fitted.older.items()) + "},",
        f"    {fitted.beside:.3f},", ")", "",
    ]  # fmt: skip
    (folder / "shipped.py").write_text("\n".join(body))
