"""What one SLI's answer rests on, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from services.snapshotter import domain, store
from services.snapshotter.domain import DAY
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.drawing import Line, Picture, Role, svg
from services.snapshotter.handlers.keeping import with_samples
from services.snapshotter.judge import said
from services.snapshotter.samples import unpack
from services.snapshotter.sources import steps
from shared.access import Call
from shared.contracts import ComparedSLI, ObservationKind
from shared.db import Tx
from shared.errors import Conflict, NotFound


@dataclass(frozen=True, eq=False)
class _One:
    """One SLI's stored series in one snapshot."""

    role: Role
    snapshot: domain.Snapshot
    kept: store.KeptSeries


async def explain(
    deps: Deps,
    call: Call,
    cr_id: str,
    sli: str,
    *,
    kind: ObservationKind,
    deployment: int | None,
    is_small: bool = False,
) -> str:
    """An SVG of the last verdict that holds on this SLI; `is_small`: for a page that says the rest.

    Raises NotFound, Conflict while there is no such verdict.
    """
    async with deps.db.read(call) as tx:
        cr = await store.change_request(tx, cr_id)
        if cr is None or tx.caller is None or not tx.caller.roles(cr.product_id):
            raise NotFound(f"{cr_id} is not known here (yet).")
        look, version, document = await _verdict(tx, cr_id, kind, deployment)
        answer = next((one for one in document["slis"] if one["sli"] == sli), None)
        if answer is None:
            raise NotFound(f"The verdict on {look.subject} has no SLI {sli}.")
        found = await _series(tx, look, document, sli)
    kept = await with_samples(deps, [one.kept for one in found])
    found = [replace(one, kept=each) for one, each in zip(found, kept, strict=True)]
    return await deps.workers.run(_drawn, look, ComparedSLI.model_validate(answer), version, document, found, is_small)


async def _verdict(
    tx: Tx, cr_id: str, kind: ObservationKind, deployment: int | None
) -> tuple[domain.Observation, str, dict[str, Any]]:
    looks = [
        look
        for look in await store.observations_of(tx, cr_id)
        if look.kind == kind and look.state == "closed" and deployment in (None, look.deployment)
    ]
    documents = await store.comparisons_of(tx, cr_id)
    if not looks:
        raise Conflict(f"There is no verdict of this kind on {cr_id} that holds (yet).")
    look = looks[-1]
    return look, *documents[look.deployment, look.revision, look.kind]


async def _series(tx: Tx, look: domain.Observation, document: Mapping[str, Any], sli: str) -> list[_One]:
    """What is stored of the SLI in every snapshot that the verdict rested on."""
    given: tuple[tuple[Role, str | None], ...] = (
        ("earlier", document.get("history_id")),
        ("anchor", document.get("anchor_id")),
        ("before", look.benchmark_id),
        ("after", look.snapshot_id),
    )
    found = []
    for role, snapshot_id in given:
        snapshot = await store.snapshot(tx, snapshot_id) if snapshot_id else None
        if snapshot is not None:
            kept = await store.series_of(tx, snapshot.id, [sli])
            found += [_One(role, snapshot, one) for one in kept]
    return found


def _drawn(
    look: domain.Observation,
    answer: ComparedSLI,
    version: str,
    document: Mapping[str, Any],
    found: Sequence[_One],
    is_small: bool,
) -> str:
    lines = [line for one in found for line in _lines(one)]
    numbers = document.get("numbers", {}).get(answer.sli, {})
    facts = [f"view: {answer.view}" if answer.view else "no view fired"]
    if "score" in numbers and "limit" in numbers:
        less = numbers.get("beside", 0.0)
        limit = numbers.get("score_limit", numbers["limit"]) - less
        beside = f" ({less:g} lower beside others that moved)" if less else ""
        facts.append(f"score {numbers['score']:.3g}, its limit {limit:.3g}{beside}")
    if "usual_movement" in numbers:
        facts.append(f"a day usually differs by {said(answer.unit, numbers['usual_movement'], digits=3)}")
    facts += [f"{each.role} was not read: {each.kept.missing}" for each in found if each.kept.missing]
    facts += [f"the samples of {each.snapshot.id} have expired" for each in found if _has_expired(each.kept)]
    facts.append(f"judge {version}")
    return svg(
        Picture(
            title=f"{look.cr_id}, deployment {look.deployment}, {look.kind}: {answer.title} {_WORDS[answer.outcome]}",
            sentence=answer.sentence,
            unit=answer.unit,
            began_at=look.starts_at,
            settle_s=float(document.get("settle_s") or 0.0),
            since_at=answer.since_at if answer.outcome == "moved" else None,
            lines=lines,
            facts=facts,
        ),
        is_small=is_small,
    )


_WORDS = {
    "steady": "is steady",
    "moved": "has moved",
    "inconclusive": "is inconclusive",
    "no_data": "has no data",
}
_NAMES: Mapping[Role, str] = {"anchor": "anchor", "before": "benchmark", "after": "after"}


def _has_expired(kept: store.KeptSeries) -> bool:
    return kept.place is not None and kept.packed is None


def _lines(one: _One) -> list[Line]:
    """A window as one line; the history as one line a day."""
    window, packed = one.snapshot.window, one.kept.packed
    if packed is None:
        return []
    values = unpack(packed, steps(window.start.timestamp(), window.end.timestamp(), window.step_s))
    start_s, step_s = window.start.timestamp(), float(window.step_s)
    if one.role != "earlier":
        return [Line(one.role, f"{_NAMES[one.role]} {one.snapshot.id}", start_s, step_s, values)]
    per_day = round(DAY.total_seconds() / step_s)
    return [
        Line("earlier", f"{window.start + at // per_day * DAY:%Y-%m-%d}", start_s + at * step_s, step_s, day)
        for at in range(0, len(values), per_day)
        if np.isfinite(day := values[at : at + per_day]).any()
    ]
