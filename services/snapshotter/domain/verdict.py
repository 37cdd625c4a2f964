"""What is said when a snapshot was taken: publishing a benchmark, closing an observation, detecting a deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.snapshotter.domain.benchmarks import WORN, Standing
from services.snapshotter.domain.early import early_sentence
from services.snapshotter.domain.fitting import FACT_LIST_BYTES, fitting, fitting_health, fitting_missing
from services.snapshotter.domain.values import ChangeRequest, Observation, Provenance, Snapshot, move
from shared.contracts import (
    AlsoDeployed,
    BenchmarkDrafted,
    BenchmarkPublished,
    ComparedSLI,
    DeviationDetected,
    Fact,
    MissingSLI,
    ObservationClosed,
    ObservationKind,
    Outcome,
    Severity,
    SnapshotDelayed,
    SnapshotOverdue,
    SnapshotTaken,
)

#: Other deploys that one verdict names.
MOST_ALSO = 50

#: Facts on what one look waits for: a source that fails in ever new words is not followed for ever.
MOST_DELAYS = 10

_GRAVITY: tuple[Severity, ...] = ("critical", "major", "minor")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one observation over all its SLIs, in one sentence, and the answers it rests on.

    anchor_id  the second reference, None where there was none
    creep      what was seen against it; `limits`: whose limits were used; each one sentence
    """

    outcome: Outcome
    sentence: str
    comparisons: tuple[ComparedSLI, ...]
    anchor_id: str | None = None
    creep: str = ""
    limits: str = ""


def verdict(
    kind: ObservationKind, outcome: Outcome, compared: Sequence[ComparedSLI], against: Standing, blind: str = ""
) -> Verdict:
    """`outcome` is the judge's over the SLIs that decide. A worn benchmark can show that something moved, not that nothing did.

    `blind`: what a window of a few hours could not have shown, one sentence; `steady` never claims more than was seen.
    """
    counted = [c for c in compared if c.decides]
    same = [c for c in counted if c.outcome == outcome]
    share = f"{len(same)} of {len(counted)} SLIs"
    first = same[0].sentence if same else against.sentence
    if outcome == "steady" and against.state in WORN:
        worn = "from a run that deviated" if against.state == "deviated" else against.state
        sentence = f"Inconclusive: nothing moved, but the benchmark is {worn}: {against.sentence}."
        return Verdict("inconclusive", sentence, tuple(compared))
    if outcome == "steady":
        done = "Recovered" if kind == "recovery" else "Steady"
        sentence = " ".join(filter(None, (f"{done}: {share} are where the benchmark was.", blind)))
    elif outcome == "moved":
        worst = gravest(compared)
        done = "Not recovered" if kind == "recovery" else "Moved"
        sentence = f"{done}: {share} moved, first of all: {worst.sentence if worst else first}"
    elif against.counts is None:
        sentence = f"No data: {against.sentence}, so there is nothing to compare with."
    else:
        done = "No data" if outcome == "no_data" else "Inconclusive"
        sentence = f"{done}: {share}, for example: {first}"
    return Verdict(outcome, sentence, tuple(compared))


def gravest(compared: Sequence[ComparedSLI]) -> ComparedSLI | None:
    """Of the deciding SLIs that moved: the one that moved farthest, among those of the gravest severity.

    What moved only beside another is not asked: nobody is to be woken for a critical SLI that by itself would be steady.
    """
    moved = [c for c in compared if c.outcome == "moved" and c.decides]
    alone = [c for c in moved if not c.beside]
    return min(alone or moved, key=lambda c: (_GRAVITY.index(c.severity), -_how_far(c)), default=None)


def _unread(compared: Sequence[ComparedSLI]) -> Severity:
    """How grave it is that something could not be read: as grave as a deviation on the gravest of it would be."""
    there = [c.severity for c in compared if c.outcome == "no_data" and c.decides]
    return min(there, key=_GRAVITY.index, default="major")


def _how_far(c: ComparedSLI) -> float:
    """A share of what it was, so that milliseconds and ratios compare; something where nothing was is the farthest."""
    if c.effect_relative is not None:
        return abs(c.effect_relative)
    return math.inf if c.before == 0 and c.after else 0.0


def taken(snapshot: Snapshot) -> SnapshotTaken:
    return SnapshotTaken(
        subject=snapshot.subject,
        snapshot_id=snapshot.id,
        kind=snapshot.kind,
        product_id=snapshot.product_id,
        cr_id=snapshot.cr_id,
        deployment=snapshot.deployment,
        revision=snapshot.revision,
        window_start=snapshot.window.start,
        window_end=snapshot.window.end,
        step_s=snapshot.window.step_s,
        taken_at=snapshot.taken_at,
        content_hash=snapshot.content_hash,
        slis=snapshot.slis,
        missing=fitting_missing(snapshot.missing),
    )


def drafted(snapshot: Snapshot, made: Provenance) -> tuple[Fact, ...]:
    """What is said of a draft: that it was taken, and that operations may publish it. It is no benchmark."""
    about = _about(snapshot, made)
    return taken(snapshot), BenchmarkDrafted(**about, drafted_at=snapshot.taken_at, drafted_by=snapshot.taken_by)


def published(snapshot: Snapshot, made: Provenance) -> tuple[Fact, ...]:
    """What is said of a benchmark: that it was taken, and that it is one."""
    return (
        taken(snapshot),
        BenchmarkPublished(
            **_about(snapshot, made),
            published_at=snapshot.taken_at,
            published_by=snapshot.taken_by,
            draft_id=made.draft_id,
            corrects=made.corrects,
            despite=dict(made.despite),
        ),
    )


def _about(snapshot: Snapshot, made: Provenance) -> dict[str, Any]:
    return {
        "subject": snapshot.subject,
        "snapshot_id": snapshot.id,
        "product_id": snapshot.product_id,
        "cr_id": snapshot.cr_id,
        "window_start": snapshot.window.start,
        "window_end": snapshot.window.end,
        "content_hash": snapshot.content_hash,
        "origin": made.origin,
        "reason": snapshot.reason,
        "slis": snapshot.slis,
        "missing": fitting_missing(snapshot.missing, FACT_LIST_BYTES // 2),
        "health": made.health and fitting_health(made.health, FACT_LIST_BYTES // 2),
    }


def close(
    look: Observation,
    cr: ChangeRequest,
    found: Verdict,
    snapshot: Snapshot,
    against: Standing,
    *,
    judge_version: str,
    overdue_because: str | None,
    now: datetime,
    also: tuple[AlsoDeployed, ...] = (),
) -> tuple[Observation, tuple[Fact, ...]]:
    """The verdict on one look, and everything that is to be said of it.

    `overdue_because`: what could not be read until patience ended; None when all was there. A `recovery` that moved
    opens no second deviation. `also`: other CRs of the product that were deployed about then.
    Raises ValueError when the look is not open.
    """
    happenings = ["time_came", "tried", *(["patience_ended"] if overdue_because else []), "judged"]
    deviates = found.outcome == "moved" and look.kind == "after"
    closed = replace(
        look,
        state=move(look.state, *happenings),
        outcome=found.outcome,
        sentence=found.sentence,
        snapshot_id=snapshot.id,
        benchmark_id=against.counts.id if against.counts else None,
        deviation_id=look.deviation_id or (_deviation_id(look) if deviates else None),
        deviated_at=look.deviated_at or (now if found.outcome == "moved" else None),
        overdue_at=now if overdue_because else None,
        closed_at=now,
    )
    facts: list[Fact] = [taken(snapshot)]
    if overdue_because:
        facts.append(
            SnapshotOverdue(
                cr_id=look.cr_id,
                product_id=look.product_id,
                deployment=look.deployment,
                revision=look.revision,
                kind=look.kind,
                due_at=look.due_at,
                overdue_at=now,
                reason=overdue_because,
                severity=_unread(found.comparisons),
            )
        )
    facts.append(
        ObservationClosed(
            cr_id=look.cr_id,
            product_id=look.product_id,
            deployment=look.deployment,
            revision=look.revision,
            kind=look.kind,
            outcome=found.outcome,
            sentence=found.sentence,
            comparisons=fitting(found.comparisons),
            benchmark_id=against.counts.id if against.counts else None,
            benchmark_hash=against.counts.content_hash if against.counts else None,
            snapshot_id=snapshot.id,
            snapshot_hash=snapshot.content_hash,
            judge_version=judge_version,
            closed_at=now,
            also_deployed=also[:MOST_ALSO],
            anchor_id=found.anchor_id,
            creep=found.creep,
            limits=found.limits,
        )
    )
    if closed.deviation_id is not None and look.deviation_id is None:  # else an early look has said it
        facts.append(_deviation(closed, cr, found, snapshot, against.counts, now))
    return closed, tuple(facts)


def delay(
    look: Observation, because: str, missing: Sequence[MissingSLI], *, tried_until: datetime, now: datetime
) -> tuple[Observation, SnapshotDelayed | None]:
    """A look that is due, after a try that failed and is to be repeated. The fact is None where all of it was said before.

    Raises ValueError when the look is not open.
    """
    move(look.state, "time_came", "tried", "source_failed")
    if because == look.delayed_because or look.delays >= MOST_DELAYS:
        return look, None
    return replace(look, delayed_because=because, delays=look.delays + 1), SnapshotDelayed(
        cr_id=look.cr_id,
        product_id=look.product_id,
        deployment=look.deployment,
        revision=look.revision,
        kind=look.kind,
        due_at=look.due_at,
        tried_at=now,
        tried_until=tried_until,
        reason=because,
        missing=fitting_missing(missing),
    )


def raise_early(
    look: Observation,
    cr: ChangeRequest,
    snapshot: Snapshot,
    against: Standing,
    moved: Sequence[ComparedSLI],
    compared: Sequence[ComparedSLI],
    *,
    after_min: float,
    now: datetime,
) -> tuple[Observation, tuple[Fact, ...]]:
    """A deviation before the day is over. The look stays open: what it finds comes beside this, and never instead of it.

    Raises ValueError when there is no benchmark, or nothing moved.
    """
    if against.counts is None:
        raise ValueError("a deviation needs a benchmark")
    deviating = replace(look, deviation_id=_deviation_id(look), deviated_at=now, benchmark_id=against.counts.id)
    told = {each.sli for each in moved}
    counted = [
        each if each.outcome != "moved" or each.sli in told else each.model_copy(update={"outcome": "inconclusive"})
        for each in compared
    ]
    fact = _deviation(deviating, cr, Verdict("moved", "", tuple(counted)), snapshot, against.counts, now)
    early = {"sentence": early_sentence(after_min, moved, compared, against), "early_min": after_min}
    return deviating, (taken(snapshot), fact.model_copy(update=early))


def _deviation_id(look: Observation) -> str:
    return f"DEV-{look.cr_id}-{look.deployment}-{look.revision}"


def _deviation(
    look: Observation, cr: ChangeRequest, found: Verdict, snapshot: Snapshot, benchmark: Snapshot | None, now: datetime
) -> Fact:
    worst = gravest(found.comparisons)
    if worst is None or look.deviation_id is None or benchmark is None:
        raise ValueError("a deviation needs an SLI that moved away from a benchmark")
    return DeviationDetected(
        deviation_id=look.deviation_id,
        cr_id=look.cr_id,
        product_id=look.product_id,
        release_id=cr.release_id,
        deployment=look.deployment,
        revision=look.revision,
        severity=worst.severity,
        sli=worst.sli,
        title=worst.title,
        unit=worst.unit,
        before=worst.before,
        after=worst.after,
        effect_relative=worst.effect_relative,
        limit=worst.limit,
        since_at=worst.since_at,
        slis_moved=sum(c.outcome == "moved" and c.decides for c in found.comparisons),
        slis_judged=sum(c.outcome in ("moved", "steady") and c.decides for c in found.comparisons),
        sentence=worst.sentence,
        benchmark_id=benchmark.id,
        benchmark_hash=benchmark.content_hash,
        snapshot_id=snapshot.id,
        snapshot_hash=snapshot.content_hash,
        detected_at=now,
    )
