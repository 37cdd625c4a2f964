"""OpenSLO: SLO and SLI documents with a ratio or a threshold metric of Prometheus; v1, and the v1alpha that Sloth reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cli.imports import Part, share, sli

NAME = "OpenSLO"
_PROMETHEUS = ("prometheus", "thanos", "mimir", "cortex", "victoriametrics")


def knows(document: Part) -> bool:
    return document.word("apiVersion").startswith("openslo/")


def slis(document: Part, others: Sequence[Part]) -> list[dict[str, Any]]:
    """One of an SLO, none of an SLI (an SLO refers to it) or of what measures nothing."""
    kind, version = document.word("kind"), document.word("apiVersion")
    if version == "openslo/v1alpha":
        return _alpha(document) if kind == "SLO" else []
    if version not in ("openslo/v1", "openslo.com/v1"):
        raise document.need("apiVersion").problem("only openslo/v1 and openslo/v1alpha are known")
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


def _alpha(document: Part) -> list[dict[str, Any]]:
    """One of each objective with a ratio of its own, or of the one threshold metric that all objectives share."""
    name, spec = document.need("metadata.name").text(), document.need("spec")
    title = document.word("metadata.displayName") or name
    objectives = spec.need("objectives").items()
    if (threshold := spec.find("indicator.thresholdMetric")) is not None:
        falls = {"gt", "gte"} & {each.word("op") for each in objectives}
        return [sli(document, name, title, _of_prometheus(threshold), unit="", higher_is_worse=not falls)]
    found = []
    for place, objective in enumerate(objectives, 1):
        ratio, more = objective.need("ratioMetrics"), f" {place}" if len(objectives) > 1 else ""
        is_counter = ratio.word("incremental").lower() == "true"
        good, total = (_of_prometheus(ratio.need(each), is_counter) for each in ("good", "total"))
        named = objective.word("displayName") or f"{title}{more}"
        found.append(sli(objective, f"{name}{more}", named, ratio.query(f"1 - ({good}) / ({total})")))
    return found


def _of_prometheus(metric: Part, is_counter: bool = False) -> str:
    source = metric.find("source")
    if source is not None and source.text().lower() not in _PROMETHEUS:
        raise source.problem(f"only metrics of Prometheus can be taken over, not of {source.text()}")
    query = metric.need("query")
    return query.rate() if is_counter else query.windowed()


def _query(metric: Part, is_counter: bool = False) -> str:
    kind = metric.find("metricSource.type")
    if kind is not None and kind.text().lower() not in _PROMETHEUS:
        raise kind.problem(f"only metrics of Prometheus can be taken over, not of {kind.text()}")
    query = metric.need("metricSource.spec.query")
    return query.rate() if is_counter else query.query()
