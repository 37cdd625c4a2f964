"""Sloth: `version: prometheus/v1` files, and the same as PrometheusServiceLevel of Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cli.imports import Part, share, sli

NAME = "Sloth"


def knows(document: Part) -> bool:
    return document.word("version") == "prometheus/v1" or document.word("apiVersion").startswith("sloth.slok.dev/")


def slis(document: Part, others: Sequence[Part]) -> list[dict[str, Any]]:
    """One of each SLO of the service; none of what only says when Sloth alerts."""
    if document.word("kind") == "AlertWindows":
        return []
    is_resource = document.find("apiVersion") is not None
    spec = document.need("spec") if is_resource else document
    errors, total, raw = (
        ("errorQuery", "totalQuery", "errorRatioQuery")
        if is_resource
        else ("error_query", "total_query", "error_ratio_query")
    )
    service = spec.need("service").text()
    found = []
    for slo in spec.need("slos").items():
        name = slo.need("name").text()
        measured = slo.need("sli")
        events, ratio = measured.find("events"), measured.find("raw")
        if events is not None:
            query = events.query(share(events.need(errors).windowed(), events.need(total).windowed()))
        elif ratio is not None:
            query = ratio.need(raw).windowed()
        else:
            raise measured.problem("events or raw is needed; what a plugin makes of it is not known here")
        found.append(sli(slo, f"{service}-{name}", slo.word("description") or f"{service}: {name}", query))
    return found
