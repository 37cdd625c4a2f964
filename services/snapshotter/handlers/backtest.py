"""Stored verdicts under a changed policy: which would flip, before it is enforced. Nothing is read anew, nothing changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.snapshotter import domain, store
from services.snapshotter.commands import BacktestView, FlippedSLI, RunBacktest, TestedView
from services.snapshotter.handlers.again import grounds_of
from services.snapshotter.handlers.anchors import further_back
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.judging import Grounds, judged
from services.snapshotter.handlers.kept import expired, filled
from shared.access import Call
from shared.answers import Answer
from shared.contracts import SLI, ComparedSLI, Policy
from shared.db import Tx
from shared.errors import Conflict, Invalid, NotFound


@dataclass(frozen=True)
class _Page:
    looks: tuple[store.JudgedLook, ...]
    next: str | None


class _NothingDoneYet(Exception):
    """Carries what is to be tested out of the first look, whose transaction is rolled back by it."""

    def __init__(self, page: _Page) -> None:
        self.page = page


async def backtest(deps: Deps, call: Call, product_id: str, command: RunBacktest) -> Answer:
    """Judge the product's stored looks again under `command.policy`, newest first.

    Raises Forbidden, NotFound (nothing of the product was ever judged), Invalid (a policy of another product), Repeated.
    """
    if command.policy.id != product_id:
        message = f"This is the policy of {command.policy.id}, not of {product_id}."
        raise Invalid(message, fields=[{"path": "policy.id", "message": message}])
    page = await _allowed(deps, call, product_id, command)
    tested = []
    for look in page.looks:  # one at a time: a look of 500 SLIs holds 50 MB of samples
        tested.append(await _tested(deps, look, command.policy))
    view = BacktestView(
        product=product_id,
        policy_version=command.policy.version(),
        verdicts=tuple(tested),
        flipped=sum(one.flips for one in tested),
        next=page.next,
    )
    async with deps.db.tx(call) as tx:
        tx.may("backtest", product_id, of=product_id)  # once more: this transaction is the one on the record
        tx.audit(
            product_id,
            policy_version=view.policy_version,
            is_unchanged=True,
            verdicts=len(tested),
            flipped=view.flipped,
        )
        return tx.answer(200, view)


async def _allowed(deps: Deps, call: Call, product_id: str, command: RunBacktest) -> _Page:
    """What is to be tested; refused or repeated before anything is computed."""
    try:
        async with deps.db.tx(call) as tx:
            tx.may("backtest", product_id, of=product_id)
            found = await store.judged_looks(tx, product_id, before=command.cursor, limit=command.limit + 1)
            if not found:
                raise NotFound(f"No verdict on {product_id} {'is older' if command.cursor else 'was ever given'}.")
            shown = tuple(found[: command.limit])
            raise _NothingDoneYet(_Page(shown, shown[-1].place if len(found) > len(shown) else None))
    except _NothingDoneYet as looked:
        return looked.page


async def _tested(deps: Deps, found: store.JudgedLook, policy: Policy) -> TestedView:
    look = found.look
    stored = [ComparedSLI.model_validate(each) for each in found.document["slis"]]
    kept = domain.record(found.document)
    if kept is None:
        return _untested(look, "What it rested on was not stored: it is older than that.")
    try:
        async with deps.db.house() as tx:
            grounds, notes = await _under(tx, look, kept, policy)
        grounds = await filled(deps, grounds)
    except Conflict as gone:
        return _untested(look, str(gone))
    if (name := expired(grounds)) is not None:
        return _untested(look, f"The raw samples of {name} have expired.")
    if not grounds.policy.slis:
        return _untested(look, "None of its SLIs was measured then as the changed policy measures it.")
    again = await deps.workers.run(judged, grounds)
    flips = _flips(stored, again.verdict.comparisons)
    return TestedView(
        change_request=look.cr_id,
        deployment=look.deployment,
        revision=look.revision,
        kind=look.kind,
        closed_at=look.closed_at,
        was=look.outcome or "no_data",
        now=again.verdict.outcome,
        flips=again.verdict.outcome != look.outcome,
        sentence=again.verdict.sentence,
        slis=flips,
        notes=tuple(notes),
    )


def _untested(look: domain.Observation, why: str) -> TestedView:
    return TestedView(
        change_request=look.cr_id,
        deployment=look.deployment,
        revision=look.revision,
        kind=look.kind,
        closed_at=look.closed_at,
        was=look.outcome or "no_data",
        now=None,
        flips=False,
        sentence=why,
        slis=(),
        notes=(),
    )


async def _under(
    tx: Tx, look: domain.Observation, kept: domain.Record, policy: Policy
) -> tuple[Grounds, Sequence[str]]:
    """What the verdict rested on, with the changed policy in place of the one of then, and what cannot be tested of it."""
    grounds = await grounds_of(tx, look, kept)
    then = {one.sli: (one.query, one.source) for one in grounds.after.series}
    measured = tuple(sli for sli in policy.slis if then.get(sli.id) == (sli.asked, sli.source))
    notes = [_not_measured(sli, sli.id in then) for sli in policy.slis if sli not in measured]
    own, asked = policy.observation, grounds.policy.observation
    if own.step_s != asked.step_s:
        notes.append(f"Steps of {asked.step_s} s were read, not of {own.step_s} s.")
    if own.history_days > asked.history_days:
        notes.append(f"{asked.history_days} earlier days were read, not {own.history_days}.")
    if look.kind == "recovery" and own.recovery_h != asked.recovery_h:
        notes.append(f"{asked.recovery_h:g} h were looked at after the rollback, not {own.recovery_h:g} h.")
    deployed_at = (await store.deployment(tx, look.cr_id, look.deployment)).deployed_at or look.starts_at
    against = domain.aged(grounds.against, deployed_at, policy.benchmark.max_age_h, is_pinned=kept.pin_id is not None)
    if domain.horizon(policy) != domain.horizon(grounds.policy):
        further = await further_back(tx, look, policy, deployed_at, grounds.against.counts)
        grounds = replace(grounds, anchored=further.anchored, anchor=further.anchor, releases=further.releases)
    return replace(grounds, policy=policy.model_copy(update={"slis": measured}), against=against), notes


def _not_measured(sli: SLI, is_known: bool) -> str:
    return f"{sli.id}: {'was measured by another query' if is_known else 'was not measured'} then; it is left out."


def _flips(stored: Sequence[ComparedSLI], now: Sequence[ComparedSLI]) -> tuple[FlippedSLI, ...]:
    """SLIs whose answer, or whose say in the verdict, is another one."""
    was = {one.sli: one for one in stored}
    found = []
    for one in now:
        before = was.pop(one.sli, None)
        if before is None or (before.outcome, before.decides) != (one.outcome, one.decides):
            found.append(
                FlippedSLI(
                    sli=one.sli,
                    was=before.outcome if before else None,
                    now=one.outcome,
                    decided=before.decides if before else None,
                    decides=one.decides,
                    sentence=one.sentence,
                )
            )
    gone = "Not among the SLIs that are judged under the changed policy."
    found += [
        FlippedSLI(sli=one.sli, was=one.outcome, now=None, decided=one.decides, decides=None, sentence=gone)
        for one in was.values()
    ]
    return tuple(found)
