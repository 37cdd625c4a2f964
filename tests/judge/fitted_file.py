"""Fitted tables as an .npz (for folds) and as a module of plain arrays (what ships)."""

from pathlib import Path

import numpy as np

from services.snapshotter.judge.tables import Fitted, Tables

_PARTS = ("feature", "threshold", "points")


def save(path, fitted: Fitted) -> None:
    arrays = {"slope": fitted.slope, "series": fitted.series}
    arrays["limit_days"], arrays["limits"] = list(fitted.limits), list(fitted.limits.values())
    for name in ("one_day", "several_days"):
        t = getattr(fitted, name)
        arrays |= {f"{name}.{p}": getattr(t, p) for p in _PARTS} | {f"{name}.start": t.start}
    np.savez(path, **arrays)


def load(path) -> Fitted:
    with np.load(path) as z:
        one, several = (
            Tables(*(z[f"{n}.{p}"] for p in _PARTS), float(z[f"{n}.start"])) for n in ("one_day", "several_days")
        )
        limits = dict(zip(z["limit_days"].tolist(), z["limits"].tolist(), strict=True))
        return Fitted(one, several, limits, float(z["slope"]), int(z["series"]))


def rounded(t: Tables) -> Tables:
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
        f"    {fitted.slope:.3f},", f"    {fitted.series},", ")", "",
    ]  # fmt: skip
    (folder / "shipped.py").write_text("\n".join(body))
