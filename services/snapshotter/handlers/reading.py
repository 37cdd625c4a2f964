"""What everybody with a role on the product can read: snapshots, their samples, where the observation of a CR stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.snapshotter import domain, store
from services.snapshotter.commands import (
    DeploymentView,
    EarlyLookView,
    LookView,
    ObservationView,
    ProvenanceView,
    ReadingView,
    SnapshotPage,
    SnapshotSummary,
    SnapshotView,
    WindowView,
)
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.standings import also_deployed, benchmark_view
from services.snapshotter.sources import steps
from shared import policies
from shared.access import Call
from shared.answers import Answer
from shared.contracts import AlsoDeployed, ComparedSLI, SnapshotKind
from shared.db import Tx
from shared.errors import NotFound
from shared.jsons import dumps

_JOB = "take_snapshot"


async def read_snapshot(deps: Deps, call: Call, snapshot_id: str) -> Answer:
    """One snapshot with a line per SLI, without samples. Raises NotFound."""
    async with deps.db.read(call) as tx:
        found = await visible_snapshot(tx, snapshot_id)
        kept = await store.series_of(tx, found.id)
        made = (await store.provenances_of(tx, [found.id])).get(found.id)
        became = await store.published_as(tx, found.id) if found.kind == "draft" else None
    return Answer(200, dumps(snapshot_view(found, kept, made, became)))


async def list_snapshots(
    deps: Deps,
    call: Call,
    *,
    cr_id: str | None,
    product_id: str | None,
    kind: SnapshotKind | None,
    cursor: str | None,
    limit: int,
) -> Answer:
    """Snapshots that the caller may see, newest first."""
    async with deps.db.read(call) as tx:
        found = await store.listed(
            tx,
            cr_id=cr_id,
            product_id=product_id,
            kind=kind,
            visible=tx.caller.products() if tx.caller else frozenset(),
            before=int(cursor.removeprefix("SNAP-")) if cursor else None,
            limit=limit + 1,
        )
    shown = found[:limit]
    after = shown[-1].id if len(found) > limit else None
    return Answer(200, dumps(SnapshotPage(items=tuple(_summary(each) for each in shown), next=after)))


async def read_observation(deps: Deps, call: Call, cr_id: str) -> Answer:
    """All deployments of a CR and every look at them. Raises NotFound."""
    async with deps.db.read(call) as tx:
        cr = await store.change_request(tx, cr_id)
        if cr is None or tx.caller is None or not tx.caller.roles(cr.product_id):
            raise NotFound(f"{cr_id} is not known here (yet).")
        view = await _observation(tx, cr)
    return Answer(200, dumps(view))


# -- views ------------------------------------------------------------------------------------------------------------


async def visible_snapshot(tx: Tx, snapshot_id: str) -> domain.Snapshot:
    """The snapshot, for a caller with a role on its product. Raises NotFound."""
    found = await store.snapshot(tx, snapshot_id)
    if found is None or tx.caller is None or not tx.caller.roles(found.product_id):
        raise NotFound(f"There is no snapshot {snapshot_id} here.")
    return found


def _summary(of: domain.Snapshot) -> SnapshotSummary:
    return SnapshotSummary(**_summed(of))


def _summed(of: domain.Snapshot) -> dict[str, Any]:
    return {
        "id": of.id,
        "kind": of.kind,
        "product": of.product_id,
        "change_request": of.cr_id,
        "deployment": of.deployment,
        "revision": of.revision,
        "window": WindowView(start=of.window.start, end=of.window.end, step_s=of.window.step_s),
        "taken_at": of.taken_at,
        "taken_by": of.taken_by,
        "reason": of.reason,
        "policy_version": of.policy_version,
        "content_hash": of.content_hash,
        "slis": of.slis,
        "missing": of.missing,
    }


def snapshot_view(
    of: domain.Snapshot,
    kept: Sequence[store.KeptSeries],
    made: domain.Provenance | None = None,
    became: str | None = None,
) -> SnapshotView:
    """The answer that describes a snapshot; `made` of a draft or benchmark, `became` of a draft that was published."""
    count = _count(of)
    readings = tuple(
        ReadingView(
            sli=one.sli,
            title=one.title,
            unit=one.unit,
            source=one.source,
            query=one.query,
            samples=one.n,
            steps=count,
            missing=one.missing,
            min=one.min,
            median=one.median,
            p95=one.p95,
            max=one.max,
            warnings=one.warnings,
            hash=one.hash,
        )
        for one in kept
    )
    path = f"/snapshotter/v1/snapshots/{of.id}"
    provenance = made and ProvenanceView(
        origin=made.origin,
        draft=made.draft_id,
        published_as=became,
        corrects=made.corrects,
        health=made.health,
        despite=dict(made.despite),
    )
    return SnapshotView(
        **_summed(of),
        readings=readings,
        provenance=provenance,
        links={"self": path, "series": f"{path}/series?sli={{sli}}"},
    )


def _count(of: domain.Snapshot) -> int:
    return steps(of.window.start.timestamp(), of.window.end.timestamp(), of.window.step_s)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """What one CR's looks are shown with."""

    now: datetime
    judged: Mapping[tuple[int, int, str], tuple[str, dict[str, Any]]]
    trying: Mapping[str, store.Trying]
    also: Mapping[domain.Observation, tuple[AlsoDeployed, ...]]
    early: Sequence[domain.EarlyLook]
    next_early: Mapping[str, store.Trying]
    step_s: Mapping[str, int]  #: by policy version


async def _observation(tx: Tx, cr: domain.ChangeRequest) -> ObservationView:
    deployments = await store.deployments_of(tx, cr.id)
    looks = await store.observations_of(tx, cr.id)
    shelf = _Shelf(
        tx.now,
        await store.comparisons_of(tx, cr.id),
        await store.trying(tx, _JOB, {look.subject for look in looks if look.is_open}),
        {look: await also_deployed(tx, look) for look in looks},
        await store.early_looks_at(tx, cr.id),
        await store.trying(tx, "look_early", {domain.early_subject(look) for look in looks if look.is_open}),
        {
            version: (await policies.of(tx, cr.product_id, version)).observation.step_s
            for version in {look.policy_version for look in looks}
        },
    )
    shown = {look: _look_view(look, shelf) for look in looks}
    standing = [look for look in looks if look.state != "superseded"]
    last = deployments[-1] if deployments and deployments[-1].rolled_back_at is None else None
    return ObservationView(
        change_request=cr.id,
        product=cr.product_id,
        is_withdrawn=cr.is_withdrawn,
        as_of=tx.now,
        benchmark=await benchmark_view(
            tx, cr, last.deployed_at if last else None, last.policy_version if last else None
        ),
        deployments=tuple(
            [
                DeploymentView(
                    deployment=each.number,
                    revision=each.revision,
                    deployed_at=each.deployed_at,
                    rolled_back_at=each.rolled_back_at,
                    benchmark=await benchmark_view(
                        tx, cr, each.deployed_at or each.rolled_back_at, each.policy_version
                    ),
                    observations=tuple(view for look, view in shown.items() if look.deployment == each.number),
                )
                for each in deployments
            ]
        ),
        current=shown[standing[-1]] if standing else None,
    )


def _look_view(look: domain.Observation, shelf: _Shelf) -> LookView:
    version, document = shelf.judged.get((look.deployment, look.revision, look.kind), (None, {}))
    trying = shelf.trying.get(look.subject) if look.is_open else None
    is_coming = look.kind == "after" and look.is_open
    next_early = shelf.next_early.get(domain.early_subject(look)) if is_coming else None
    return LookView(
        kind=look.kind,
        deployment=look.deployment,
        revision=look.revision,
        state=look.state_at(shelf.now, trying.attempts if trying else 0),
        window=WindowView(start=look.starts_at, end=look.ends_at, step_s=shelf.step_s[look.policy_version]),
        due_at=look.due_at,
        policy_version=look.policy_version,
        outcome=look.outcome,
        sentence=look.sentence,
        comparisons=tuple(ComparedSLI.model_validate(each) for each in document.get("slis", ())),
        judge_version=version,
        history_days=document.get("history_days"),
        creep=document.get("creep") or None,
        limits=(document.get("limits") or {}).get("sentence"),
        budget=document.get("budget") or None,
        anchor=document.get("anchor_id"),
        snapshot=look.snapshot_id,
        benchmark=look.benchmark_id,
        deviation=look.deviation_id,
        closed_at=look.closed_at,
        overdue_at=look.overdue_at,
        superseded_at=look.superseded_at,
        superseded_because=look.superseded_because,
        attempts=trying.attempts if trying else 0,
        next_try_at=trying.next_at if trying else None,
        waiting_for=trying.last_error if trying else None,
        also_deployed=shelf.also[look],
        early=tuple(
            EarlyLookView(
                after_min=each.after_min,
                window_end=each.ends_at,
                looked_at=each.looked_at,
                found=each.found,
                sentence=each.sentence,
                content_hash=each.content_hash,
                snapshot=each.snapshot_id,
            )
            for each in shelf.early
            if (look.kind, look.deployment, look.revision) == ("after", each.deployment, each.revision)
        ),
        next_early_at=next_early.next_at if next_early else None,
    )
