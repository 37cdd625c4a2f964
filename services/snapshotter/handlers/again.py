"""Stored verdicts, computed again from stored samples: to show that they are what the samples say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.snapshotter import domain, store
from services.snapshotter import judge as judging
from services.snapshotter.commands import DifferenceView, RecomputationView, RecomputedView
from services.snapshotter.handlers.deps import Deps
from services.snapshotter.handlers.judging import Grounds, Judged, judged
from services.snapshotter.handlers.kept import expired, filled, releases_of, taken, taken_by_id
from shared import policies
from shared.access import Call
from shared.answers import Answer
from shared.contracts import ComparedSLI
from shared.db import Tx
from shared.errors import Conflict, NotFound
from shared.jsons import dumps

_MOST_DIFFERENCES = 100


async def recompute(deps: Deps, call: Call, cr_id: str) -> Answer:
    """Every verdict on a CR, the superseded ones too, against what the judge says of the same samples now.

    Raises NotFound; Conflict when there is no verdict, one whose grounds were not stored, or whose
    raw samples have expired.
    """
    async with deps.db.read(call) as tx:
        cr = await store.change_request(tx, cr_id)
        if cr is None or tx.caller is None or not tx.caller.roles(cr.product_id):
            raise NotFound(f"{cr_id} is not known here (yet).")
        looks = [look for look in await store.observations_of(tx, cr_id) if look.snapshot_id is not None]
        documents = await store.comparisons_of(tx, cr_id)
    if not looks:
        raise Conflict(f"There is no verdict on {cr_id} yet: nothing can be computed again.")
    shown = []
    for look in looks:  # one at a time: a look of 500 SLIs holds 50 MB of samples
        version, document = documents[look.deployment, look.revision, look.kind]
        kept = domain.record(document)
        if kept is None:
            raise Conflict(f"What the verdict on {look.subject} rested on was not stored: it is older than that.")
        async with deps.db.read(call) as tx:
            grounds = await grounds_of(tx, look, kept)
        grounds = await filled(deps, grounds)
        if (gone := expired(grounds)) is not None:
            raise Conflict(f"The raw samples of {gone} have expired: the verdict and its numbers stand, and stay.")
        found = await deps.workers.run(judged, grounds)
        shown.append(_recomputed(look, version, document, kept, found))
    view = RecomputationView(change_request=cr_id, is_equal=all(one.is_equal for one in shown), verdicts=tuple(shown))
    return Answer(200, dumps(view))


async def grounds_of(tx: Tx, look: domain.Observation, kept: domain.Record) -> Grounds:
    """What a stored verdict rested on, read again, without samples: see `filled`. Raises Conflict when its snapshot is gone."""
    policy = await policies.of(tx, look.product_id, look.policy_version)
    after = await taken_by_id(tx, look.snapshot_id)
    if after is None:
        raise Conflict(f"The snapshot of {look.subject} is no longer kept.")
    benchmark = await store.snapshot(tx, look.benchmark_id) if look.benchmark_id else None
    anchored = domain.Anchor(None, None, kept.anchor_sentence) if kept.anchor_sentence is not None else None
    return Grounds(
        look,
        policy,
        domain.Standing(benchmark, kept.benchmark_state, kept.benchmark_sentence),
        after,
        await taken(tx, benchmark),
        anchored,
        await taken_by_id(tx, kept.anchor_id),
        await taken_by_id(tx, kept.history_id),
        kept.limits,
        await releases_of(tx, kept.releases),
    )


def _recomputed(
    look: domain.Observation, version: str, document: Mapping[str, Any], kept: domain.Record, found: Judged
) -> RecomputedView:
    stored = [ComparedSLI.model_validate(each) for each in document["slis"]]
    differ = domain.differences(
        look.outcome,
        stored,
        kept.numbers,
        again_outcome=found.verdict.outcome,
        again_compared=found.verdict.comparisons,
        again_numbers=found.numbers,
    )
    numbers = sum(len(each) for each in kept.numbers.values())
    return RecomputedView(
        kind=look.kind,
        deployment=look.deployment,
        revision=look.revision,
        outcome=look.outcome or "no_data",
        is_equal=not differ,
        sentence=_said(version, len(differ), len(stored), numbers),
        judge_version=version,
        judge_version_now=judging.VERSION,
        slis=len(stored),
        numbers=numbers,
        differences=tuple(
            DifferenceView(sli=one.sli, what=one.what, stored=one.stored, recomputed=one.recomputed)
            for one in differ[:_MOST_DIFFERENCES]
        ),
    )


def _said(version: str, differ: int, slis: int, numbers: int) -> str:
    if not differ:
        return f"Equal: the outcomes and views of {slis} SLIs, and {numbers} numbers, are what the stored samples say."
    if version != judging.VERSION:
        return (
            f"{differ} differ. Judge {version} gave the verdict, and judge {judging.VERSION} is here now:"
            f" check out the release that has {version} to compute the same."
        )
    return f"{differ} differ, with the same judge {version}: the stored samples or the stored verdict were changed."
