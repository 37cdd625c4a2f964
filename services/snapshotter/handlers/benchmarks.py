"""Publishing a benchmark, at once or from a draft: who may, what speaks against it, and then the one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from services.snapshotter import domain, store
from services.snapshotter.commands import DraftSnapshot, PublishDraft, PublishSnapshot, UpholdBenchmark
from services.snapshotter.domain import Objection, Provenance, Snapshot
from services.snapshotter.handlers.capture import Captured, prepared
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.doubting import runs_of, weigh_benchmarks
from services.snapshotter.handlers.health import health, with_earlier_days
from services.snapshotter.handlers.reading import snapshot_view
from services.snapshotter.uploads import is_uploaded
from shared import policies
from shared.access import Call, person
from shared.answers import Answer
from shared.contracts import SLI, BenchmarkHealth, MissingSLI, Policy, SnapshotKind
from shared.db import Tx
from shared.errors import Conflict, Invalid, NotFound, Unavailable

DEADLINE_S = 60.0  #: for the whole capture: a person waits for the answer

Asked = PublishSnapshot | DraftSnapshot


@dataclass(frozen=True, slots=True)
class Plan:
    """For whom, and under which policy, a window is to be kept."""

    product_id: str
    cr: domain.ChangeRequest | None
    policy_version: str
    policy: Policy
    window: domain.Window


class _NothingDoneYet(Exception):
    """Carries the plan out of the first look, whose transaction is rolled back by it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan


async def publish_snapshot(deps: Deps, call: Call, command: PublishSnapshot) -> Answer:
    """Read 24 hours now, the last ones or some before, and publish them as the benchmark of a CR or a product.

    Raises Forbidden, NotFound, Invalid (a window that cannot be), Conflict (no SLI can be read at all, or something speaks
    against the window that nobody answered), Unavailable (a source is down), Repeated.
    """
    async with deps.alone(call):
        plan = await _looked(deps, call, command)
        captured, kept, found = await _read(deps, plan)
        async with deps.db.tx(call) as tx:
            await _plan(tx, command)  # judged once more, and now it counts: the right may be gone meanwhile
            await _check_corrected(tx, command.corrects, plan.product_id, plan.cr.id if plan.cr else None)
            despite = await answered_objections(tx, plan.policy, captured.window, found, command.despite)
            made = Provenance("", "pulled", corrects=command.corrects, health=found, despite=despite)
            return await kept_as(tx, "benchmark", plan, captured, kept, made, found, command.reason)


async def draft_snapshot(deps: Deps, call: Call, command: DraftSnapshot) -> Answer:
    """Read 24 hours now and keep them for operations to look at. Raises as publishing does."""
    async with deps.alone(call):
        plan = await _looked(deps, call, command)
        captured, kept, found = await _read(deps, plan)
        async with deps.db.tx(call) as tx:
            await _plan(tx, command)
            made = Provenance("", "pulled", health=found)
            return await kept_as(tx, "draft", plan, captured, kept, made, found, command.reason)


async def publish_draft(deps: Deps, call: Call, draft_id: str, command: PublishDraft) -> Answer:
    """Make a draft the benchmark of its subject. Raises Forbidden, NotFound, Conflict, Repeated."""
    async with deps.db.tx(call) as tx:
        draft, policy, version = await _kept(tx, draft_id, "draft")
        if (became := await store.published_as(tx, draft_id)) is not None:
            raise Conflict(f"{draft_id} was published already, as {became}.")
        drafted = (await store.provenances_of(tx, [draft_id]))[draft_id]
        await _check_corrected(tx, command.corrects, draft.product_id, draft.cr_id)
        made = replace(drafted, draft_id=draft_id, corrects=command.corrects)
        return await _published(tx, draft, made, policy, version, command.reason, command.despite)


async def uphold_benchmark(deps: Deps, call: Call, benchmark_id: str, command: UpholdBenchmark) -> Answer:
    """Publish a benchmark anew whose run deviated since, with the reason why it may stand all the same.

    Raises Forbidden, NotFound, Conflict (nothing was said against it, or something that nobody answered), Repeated.
    """
    async with deps.db.tx(call) as tx:
        old, policy, version = await _kept(tx, benchmark_id, "benchmark")
        if domain.open_doubt(await store.doubts_of(tx, [old.id]), old, None, tx.now) is None:
            raise Conflict(f"Nothing was said against {old.id} since it was published: it stands as it is.")
        made = (await store.provenances_of(tx, [old.id])).get(old.id) or Provenance(old.id, "pulled")
        answers = {**domain.answered_before(made.despite), **command.despite}
        made = replace(made, draft_id=None, corrects=old.id)
        return await _published(tx, old, made, policy, version, command.reason, answers)


async def _kept(tx: Tx, id: str, kind: SnapshotKind) -> tuple[Snapshot, Policy, int]:
    """What is to be published, under its subject's lock, with the newest policy and the subject's version."""
    found = await store.snapshot(tx, id)
    tx.may("publish_snapshot", found.product_id if found else None, of=id)
    if found is None:
        raise NotFound(f"There is no snapshot {id} here.")
    if found.kind != kind:
        raise Conflict(f"{id} is a snapshot of kind {found.kind}, not a {kind}.")
    cr = await store.change_request(tx, found.cr_id) if found.cr_id else None
    if cr is not None:
        domain.refuse_own(cr, person(tx.actor))
    latest = await policies.latest(tx, found.product_id)
    if latest is None:
        raise NotFound(f"No policy of {found.product_id} is known here (yet).")
    return found, latest[1], await _locked_version(tx, found.cr_id, found.product_id)


async def _published(
    tx: Tx,
    of: Snapshot,
    made: Provenance,
    policy: Policy,
    version: int,
    reason: str,
    answers: Mapping[Objection, str],
) -> Answer:
    """Kept readings as a new benchmark of their subject, if nothing speaks against it that `answers` leave open."""
    domain.refuse_outworn(of, policy, tx.now)
    _refuse_other_measure(of, await store.series_of(tx, of.id), policy)
    judged = made.health or BenchmarkHealth(state="unjudged", sentence="Nobody judged it.")
    despite = await answered_objections(tx, policy, of.window, judged, answers)
    made = replace(made, snapshot_id=await store.next_id(tx), despite=despite)
    published = replace(
        of, id=made.snapshot_id, kind="benchmark", taken_at=tx.now, taken_by=person(tx.actor), reason=reason
    )
    await store.insert_snapshot(tx, published, None, raw_days=policy.samples.raw_days)
    await store.copy_series(tx, of.id, published, raw_days=policy.samples.raw_days)
    series = await store.series_of(tx, published.id)
    return await _said(tx, published, made, judged, series, version)


async def answered_objections(
    tx: Tx,
    policy: Policy,
    window: domain.Window,
    found: BenchmarkHealth,
    despite: Mapping[Objection, str],
) -> dict[str, str]:
    """What speaks against a window and was answered, with the answers. Raises Conflict for what was not."""
    runs = await runs_of(tx, await store.looks_about(tx, policy.id, window.start, window.end))
    ways = domain.ways_out(window, runs, await store.newest_benchmarks(tx, policy.id), policy, tx.now) if runs else ""
    return domain.refuse_doubtful(domain.objections(found, window, runs), despite, ways)


async def kept_as(
    tx: Tx,
    kind: Literal["benchmark", "draft"],
    plan: Plan,
    captured: Captured,
    kept: store.Kept,
    made: Provenance,
    found: BenchmarkHealth,
    reason: str,
    by: str | None = None,
    id: str | None = None,
) -> Answer:
    """Write a capture as a draft or a benchmark of the plan's subject, and say so. `made` without its snapshot's id.

    `by`: whose it is, when that is not who acts now. `id`: drawn before, by who must name it as well.
    """
    cr_id = plan.cr.id if plan.cr else None
    version = await _locked_version(tx, cr_id, plan.product_id)
    taken = Snapshot(
        id=id or await store.next_id(tx),
        kind=kind,
        product_id=plan.product_id,
        cr_id=cr_id,
        deployment=None,
        revision=None,
        window=captured.window,
        taken_at=tx.now,
        taken_by=by or person(tx.actor),
        reason=reason,
        policy_version=plan.policy_version,
        content_hash=kept.content_hash,
        slis=len(captured.slis),
        missing=captured.missing,
    )
    await store.insert_snapshot(tx, taken, kept, raw_days=plan.policy.samples.raw_days)
    made = replace(made, snapshot_id=taken.id)
    return await _said(tx, taken, made, found, kept.series, version)


async def _said(
    tx: Tx,
    taken: Snapshot,
    made: Provenance,
    found: BenchmarkHealth,
    series: tuple[store.KeptSeries, ...] | list[store.KeptSeries],
    version: int,
) -> Answer:
    await store.insert_provenance(tx, made)
    facts = domain.drafted(taken, made) if taken.kind == "draft" else domain.published(taken, made)
    await store.save_version(tx, taken.subject, was=version, version=version + len(facts))
    for sequence, fact in enumerate(facts, version + 1):
        tx.emit(fact, sequence=sequence, policy_version=taken.policy_version)
    if "observed" in made.despite:  # that look may close at this moment: looked at again once both have committed
        tx.schedule(weigh_benchmarks, taken.product_id)
    tx.audit(
        taken.subject,
        action="draft_snapshot" if taken.kind == "draft" else "publish_snapshot",
        revision=version + len(facts),
        evidence=[taken.content_hash],
        policy_version=taken.policy_version,
        product=taken.product_id,
        snapshot=taken.id,
        reason=taken.reason,
        origin=made.origin,
        health=found.state,
        draft=made.draft_id,
        corrects=made.corrects,
        despite=dict(made.despite),
    )
    view = snapshot_view(taken, series, made)
    return tx.answer(201, view, Location=f"/snapshotter/v1/snapshots/{taken.id}")


# -- what is needed before ----------------------------------------------------------------------------------------------


async def _looked(deps: Deps, call: Call, command: Asked) -> Plan:
    """Everything that can be refused or repeated is, before a minute is spent on reading."""
    try:
        async with deps.db.tx(call) as tx:
            raise _NothingDoneYet(await _plan(tx, command))
    except _NothingDoneYet as looked:
        return looked.plan


async def _plan(tx: Tx, command: Asked) -> Plan:
    is_draft = isinstance(command, DraftSnapshot)
    plan = await planned(
        tx, command.change_request, command.product, "draft_snapshot" if is_draft else "publish_snapshot"
    )
    if plan.cr is not None and not is_draft:
        domain.refuse_own(plan.cr, person(tx.actor))
    if command.window_end is None:
        return plan
    return replace(plan, window=domain.window_until(command.window_end, plan.policy, tx.now))


async def planned(tx: Tx, cr_id: str | None, product_id: str | None, action: str) -> Plan:
    """The subject, judged, and its product's newest policy. Raises Forbidden, NotFound, Conflict."""
    cr: domain.ChangeRequest | None = None
    if cr_id is not None:
        cr = await store.change_request(tx, cr_id)
        product_id = cr.product_id if cr else None
    tx.may(action, product_id, of=cr_id or product_id or "")
    if product_id is None:
        raise NotFound(f"{cr_id} is not known here (yet).")
    found = await policies.latest(tx, product_id)
    if found is None:
        raise NotFound(f"No policy of {product_id} is known here (yet).")
    version, policy = found
    if not policy.slis:
        raise Conflict(f"The policy of {product_id} names no SLI: there is nothing to measure.")
    return Plan(product_id, cr, version, policy, domain.benchmark_window(tx.now, policy.observation.step_s))


async def _read(deps: Deps, plan: Plan) -> tuple[Captured, store.Kept, BenchmarkHealth]:
    captured, earlier = await with_earlier_days(deps, plan.policy, plan.window, DEADLINE_S)
    _refuse_nothing(captured)
    kept = await prepared(deps, captured)
    return captured, kept, await deps.workers.run(health, plan.policy, captured, earlier)


def _refuse_other_measure(draft: Snapshot, kept: Sequence[store.KeptSeries], policy: Policy) -> None:
    """No look could be held against what was measured in another way. Raises Conflict."""
    there = {one.sli: one for one in kept}
    other = [sli.id for sli in policy.slis if not sli.shadow and not _measures(there.get(sli.id), sli)]
    if draft.window.step_s != policy.observation.step_s:
        other.append("the step")
    if other:
        raise Conflict(f"The policy has changed since {draft.id} was drafted ({', '.join(other[:5])}): draft it again.")


def _measures(one: store.KeptSeries | None, sli: SLI) -> bool:
    return one is not None and one.query == sli.asked and (one.source == sli.source or is_uploaded(one.source))


def _refuse_nothing(captured: Captured) -> None:
    """A benchmark of nothing would satisfy nothing. Raises Unavailable when waiting may help, Conflict when not."""
    if not captured.is_all_missing:
        return
    fields = [{"path": each.sli, "message": each.reason} for each in captured.missing]
    if captured.worth_waiting:
        raise Unavailable(
            f"None of the SLIs can be read now: {_first(captured.worth_waiting)}", fields=fields, retry_after_s=30
        )
    raise Conflict(f"None of the SLIs can be read: {_first(captured.missing)}", fields=fields)


def _first(missing: tuple[MissingSLI, ...]) -> str:
    return f"{missing[0].sli}: {missing[0].reason}."


async def _locked_version(tx: Tx, cr_id: str | None, product_id: str) -> int:
    if cr_id is not None:
        return (await store.locked_change_request(tx, cr_id, product_id)).version
    return await store.locked_product(tx, product_id)


async def _check_corrected(tx: Tx, corrects: str | None, product_id: str, cr_id: str | None) -> None:
    """What is corrected is a benchmark of the same subject. Raises Invalid."""
    if corrects is None:
        return
    old = await store.snapshot(tx, corrects)
    kind: SnapshotKind | None = old.kind if old else None
    if old is None or kind != "benchmark" or (old.product_id, old.cr_id) != (product_id, cr_id):
        raise Invalid(
            f"{corrects} is no benchmark of {cr_id or product_id}, so it cannot be corrected by one.",
            fields=[{"path": "body.corrects", "message": "must be a benchmark of the same subject"}],
        )
