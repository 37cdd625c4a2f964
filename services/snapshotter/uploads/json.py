"""JSON: `{"series": [{"sli": "latency", "start_s": 1763888400, "step_s": 60, "values": [1.0, null, ...]}]}`.

`start_s` and `step_s` may stand once, beside `series`: so is what `GET .../series` answers, and what one Daymark says can
be given to another. Numbers are read by orjson: no NaN, no Infinity, nothing beyond a float.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import orjson

from services.snapshotter.uploads import Problem, Sample, Unusable, seconds

MEDIA = ("application/json",)


def read(raw: bytes) -> Iterator[Sample | Problem]:
    """One sample a value. Raises Unusable."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Unusable(f"row {error.lineno}", f"not JSON: {error.msg}, at character {error.colno}") from None
    if not isinstance(document, dict) or not isinstance(document.get("series"), list):
        raise Unusable("the file", 'an object with a list "series" is wanted')
    for number, one in enumerate(document["series"]):
        where = f"series[{number}]"
        try:
            start_s, step_s = _times(where, one, document)
        except Unusable as error:
            yield error.problem
            continue
        for place, value in enumerate(one["values"]):
            here = f"{where}.values[{place}]"
            try:
                said = math.nan if value is None else _number(here, value, "it")
            except Unusable as error:
                yield error.problem
                continue
            yield Sample(here, one["sli"], start_s + place * step_s, said)


def _times(where: str, one: Any, document: dict[str, Any]) -> tuple[float, float]:
    """When a series begins, and its step, both in seconds. Raises Unusable for what is no series."""
    if not isinstance(one, dict) or not isinstance(one.get("sli"), str) or not isinstance(one.get("values"), list):
        raise Unusable(where, 'an object with "sli" and a list "values" is wanted')
    start_s = seconds(where, _number(where, one.get("start_s", document.get("start_s")), "start_s"))
    step_s = _number(where, one.get("step_s", document.get("step_s")), "step_s")
    if not step_s > 0:
        raise Unusable(where, "step_s must be greater than 0")
    return start_s, step_s


def _number(where: str, value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unusable(where, f"{name} must be a number")
    try:
        return float(value)
    except OverflowError:
        raise Unusable(where, f"{name} is beyond any number") from None
