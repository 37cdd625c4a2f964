"""Pyrra: ServiceLevelObjective with a ratio, latency, native latency or boolean gauge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import promql_parser as promql

from cli.imports import RATE, Part, share, sli

NAME = "Pyrra"


def knows(document: Part) -> bool:
    return document.word("apiVersion").startswith("pyrra.dev/")


def slis(document: Part, others: Sequence[Part]) -> list[dict[str, Any]]:
    """One: what fails, of all; over every group, because a look needs one series."""
    if document.word("kind") != "ServiceLevelObjective":
        return []
    name, spec = document.need("metadata.name").text(), document.need("spec")
    title = " ".join(spec.word("description").split())[:200] or name
    indicator = spec.need("indicator")
    ratio, latency = indicator.find("ratio"), indicator.find("latency")
    native, gauge = indicator.find("latencyNative"), indicator.find("bool_gauge")
    if ratio is not None:
        query = share(ratio.need("errors.metric").rate(), ratio.need("total.metric").rate())
    elif latency is not None:
        query = f"1 - {latency.need('success.metric').rate()} / {latency.need('total.metric').rate()}"
    elif native is not None:
        limit_s, total = _seconds(native.need("latency")), native.need("total.metric").rate()
        query = f"1 - histogram_fraction(0, {limit_s:g}, {total})"
    elif gauge is not None:
        selector = gauge.need("metric").query()
        query = f"1 - avg(avg_over_time({selector}[{RATE}]))"
    else:
        raise indicator.problem("ratio, latency, latencyNative or bool_gauge is needed")
    return [sli(document, name, title, indicator.query(query))]


def _seconds(limit: Part) -> float:
    text = limit.text()
    try:
        if not re.fullmatch(r"(\d+(ms|s|m|h))+", text):
            raise ValueError(text)
        return float(promql.parse_duration(text).total_seconds())
    except ValueError:
        raise limit.problem(f"{text!r} is no duration, such as 500ms or 1s") from None
