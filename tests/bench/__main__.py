"""`python -m tests.bench [NAME...]`: measures, prints a table, writes build/bench.json.

A bench lies in any other module of this folder, which lists what it can measure:

    BENCHES = {"post_cr": post_cr}

where `post_cr()`, plain or async, measures ours and the limit alternately in the same run and returns

    {"ours": 812.0, "limit": 1400.0, "unit": "requests/s", "n": 5, "what": "POST a CR, 16 connections, against ..."}

`ours` and `limit` are in `unit`, `n` is how often each was measured, `limit` is None for a figure with nothing to
compare it to. The runner adds the name and `ratio = ours / limit`. Without names all run, else only those named.
"""

import asyncio
import importlib
import inspect
import json
import pkgutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FIGURES = Path("build/bench.json")


def known() -> dict[str, Callable[[], Any]]:
    """Every bench of every module here, by name."""
    found: dict[str, Callable[[], Any]] = {}
    for module in sorted(pkgutil.iter_modules([str(Path(__file__).parent)]), key=lambda module: module.name):
        if module.name == "__main__":
            continue
        benches = getattr(importlib.import_module(f"tests.bench.{module.name}"), "BENCHES", {})
        if twice := found.keys() & benches.keys():
            raise SystemExit(f"tests/bench/{module.name}.py: already measured elsewhere: {', '.join(sorted(twice))}")
        found |= benches
    return found


def measured(name: str, bench: Callable[[], Any]) -> dict[str, Any]:
    """One line of the result: {name, ours, limit, ratio, unit, n, what}."""
    result = bench()
    if inspect.isawaitable(result):
        result = asyncio.run(_finished(result))
    ours, limit = result["ours"], result["limit"]
    ratio = None if limit is None else ours / limit
    return {"name": name, "ours": ours, "limit": limit, "ratio": ratio} | {k: result[k] for k in ("unit", "n", "what")}


async def _finished(result: Any) -> Any:
    return await result


def line(row: dict[str, Any]) -> str:
    """A row of the table; figures to four digits."""
    figures = ["-" if row[key] is None else f"{row[key]:,.4g}" for key in ("ours", "limit", "ratio")]
    name, unit, n, what = (row[key] for key in ("name", "unit", "n", "what"))
    return f"{name:<18}{figures[0]:>12}{figures[1]:>12}{figures[2]:>9}  {unit:<12}{n:>4}  {what}"


def main(names: list[str]) -> int:
    benches = known()
    if unknown := set(names) - benches.keys():
        print(f"no such bench: {', '.join(sorted(unknown))}; there are: {', '.join(benches)}", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    failed = False
    print(f"{'name':<18}{'ours':>12}{'limit':>12}{'ratio':>9}  {'unit':<12}{'n':>4}  what")
    for name, bench in benches.items():
        if names and name not in names:
            continue
        started = time.monotonic()
        try:
            rows.append(measured(name, bench))
        except pytest.skip.Exception as absent:  # a server that is not here
            print(f"{name:<18}skipped: {absent}", flush=True)
        except Exception:
            failed = True
            print(f"{name:<18}failed after {time.monotonic() - started:.0f} s", flush=True)
            traceback.print_exc()
        else:
            print(line(rows[-1]), flush=True)
        # After each, so that a long run that is cut off has not measured for nothing.
        FIGURES.parent.mkdir(exist_ok=True)
        FIGURES.write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
