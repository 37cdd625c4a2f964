"""The digest of the pre-deploy part of a dossier: what an input is bound to, and which part of it changed.

Canonical: the same facts give the same digest on any machine, in any order of arrival, any number of times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

#: The parts, in the order people read them.
PARTS = ("attempt", "change_request", "tests", "code_review", "benchmark", "debt", "policy")

PART_WORDS = {
    "attempt": "a new deployment attempt began",
    "change_request": "the change request was changed",
    "tests": "test results changed",
    "code_review": "the code review record changed",
    "benchmark": "the benchmark changed",
    "debt": "the debt of the product changed",
    "policy": "the policy changed",
}


def digests(parts: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """(digest of the whole, digest of each part). `parts` holds plain values: dicts, lists, strings, numbers, times."""
    each = {name: _sha256(parts[name]) for name in PARTS}
    return _sha256(each), each


def changed(seen: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the parts that differ; all of them when it is not known what was seen."""
    return tuple(name for name in PARTS if seen.get(name) != now.get(name))


def in_words(names: tuple[str, ...]) -> str:
    """`the benchmark changed and test results changed`."""
    words = [PART_WORDS[name] for name in names]
    return " and ".join(words) if len(words) < 3 else ", ".join(words[:-1]) + " and " + words[-1]


def _sha256(value: Any) -> str:
    raw = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_plain)
    return hashlib.sha256(raw.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{type(value).__name__} has no canonical form")
