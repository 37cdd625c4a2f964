"""OpenSLO v1: SLO and SLI documents with a ratio or a threshold metric of Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cli.imports import Part, share, sli

NAME = "OpenSLO"


def knows(document: Part) -> bool:
    return document.word("apiVersion").startswith("openslo/")


def slis(document: Part, others: Sequence[Part]) -> list[dict[str, Any]]:
    """One of an SLO, none of an SLI (an SLO refers to it) or of what measures nothing."""
    if document.word("apiVersion") not in ("openslo/v1", "openslo.com/v1"):
        raise document.need("apiVersion").problem("only openslo/v1 is known")
    kind = document.word("kind")
    if kind == "SLI":
        is_referred = any(each.word("spec.indicatorRef") == document.word("metadata.name") for each in others)
        return [] if is_referred else [_of(document, document, document.need("spec"))]
    if kind != "SLO":
        return []
    spec = document.need("spec")
    indicator = spec.find("indicator")
    if indicator is not None:
        return [_of(document, indicator, indicator.need("spec"))]
    wanted = spec.find("indicatorRef")
    if wanted is None:
        raise spec.problem("indicator or indicatorRef is needed")
    for each in others:
        if each.word("kind") == "SLI" and each.word("metadata.name") == wanted.text():
            return [_of(document, each, each.need("spec"))]
    raise wanted.problem(f"there is no SLI {wanted.text()} in this file")


def _of(named: Part, indicator: Part, spec: Part) -> dict[str, Any]:
    name = named.need("metadata.name").text()
    title = named.word("metadata.displayName") or indicator.word("metadata.displayName") or name
    threshold = spec.find("thresholdMetric")
    if threshold is not None:
        # An objective of at most so much says that more is worse.
        objectives = named.find("spec.objectives")
        ops = {each.word("op") for each in objectives.items()} if objectives else set()
        return sli(named, name, title, _query(threshold), unit="", higher_is_worse=not ops & {"gt", "gte"})
    ratio = spec.find("ratioMetric")
    if ratio is None:
        raise spec.problem("ratioMetric or thresholdMetric is needed")
    raw = ratio.find("raw")
    if raw is not None:
        return sli(named, name, title, _query(raw), higher_is_worse=ratio.word("rawType") != "success")
    is_counter = ratio.word("counter").lower() == "true"
    total = _query(ratio.need("total"), is_counter)
    bad, good = ratio.find("bad"), ratio.find("good")
    if bad is not None:
        return sli(named, name, title, ratio.query(share(_query(bad, is_counter), total)))
    if good is None:
        raise ratio.problem("good or bad is needed")
    return sli(named, name, title, ratio.query(f"1 - ({_query(good, is_counter)}) / ({total})"))


def _query(metric: Part, is_counter: bool = False) -> str:
    kind = metric.find("metricSource.type")
    if kind is not None and kind.text().lower() not in ("prometheus", "thanos", "mimir", "cortex", "victoriametrics"):
        raise kind.problem(f"only metrics of Prometheus can be taken over, not of {kind.text()}")
    query = metric.need("metricSource.spec.query")
    return query.rate() if is_counter else query.query()
