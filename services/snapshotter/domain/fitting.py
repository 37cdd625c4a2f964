"""What fits into a letter: words are cut short, only as far as they must be. In full they stay readable over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel

from shared.contracts import BenchmarkHealth, ComparedSLI, MissingSLI

#: What the lists in one fact may take, in bytes: a letter holds 256 KB.
FACT_LIST_BYTES = 200_000

M = TypeVar("M", bound=BaseModel)


def fitting(compared: Sequence[ComparedSLI], limit: int = FACT_LIST_BYTES) -> tuple[ComparedSLI, ...]:
    def short(one: ComparedSLI, most: int) -> ComparedSLI:
        return one.model_copy(update={"sentence": _cut(one.sentence, most), "title": _cut(one.title, most)})

    return _fitting(compared, short, limit, longest=2000)


def fitting_missing(missing: Sequence[MissingSLI], limit: int = FACT_LIST_BYTES) -> tuple[MissingSLI, ...]:
    return _fitting(missing, lambda m, most: m.model_copy(update={"reason": _cut(m.reason, most)}), limit)


def fitting_health(health: BenchmarkHealth, limit: int = FACT_LIST_BYTES) -> BenchmarkHealth:
    found = _fitting(health.findings, lambda f, most: f.model_copy(update={"sentence": _cut(f.sentence, most)}), limit)
    return health.model_copy(update={"findings": found})


def _fitting(each: Sequence[M], short: Callable[[M, int], M], limit: int, *, longest: int = 500) -> tuple[M, ...]:
    for most in (longest, 200, 100, 50, 20, 0):
        shown = tuple(short(one, most) for one in each)
        if sum(len(one.model_dump_json().encode()) + 1 for one in shown) <= limit:
            break
    return shown


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: max(0, most - 1)] + "…"
