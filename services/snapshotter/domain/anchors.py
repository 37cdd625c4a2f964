"""The anchor: how things were further back, which creep is measured from.

It is the benchmark that operations chose, or else the release that was verified first within the policy's horizon. Ten deploys
of +3 % each pass when each is compared with the one before. The anchor stays where it is when a CR was verified, so that what
they add up to is seen; time alone moves it, so that a year's growth is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.snapshotter.domain.benchmarks import Objection, Run, objections, refuse_doubtful
from services.snapshotter.domain.values import Snapshot, few_of
from shared.contracts import AnchorChosen, BenchmarkHealth, ComparedSLI, Policy
from shared.errors import Conflict

#: The views under which the judge answers for what crept away from the anchor, and for what moved over the releases since.
CREEP = "creep"
OVER_RELEASES = ("creep over releases", "jump at a release")
_ANSWERED = BenchmarkHealth(state="unjudged", sentence="Its health was answered for when it was published.")

#: With fewer releases nothing can be said of them.
LEAST_RELEASES = 6


@dataclass(frozen=True, slots=True)
class AnchorChoice:
    """One act of operations: from `chosen_at` on this benchmark is the product's anchor."""

    product_id: str
    number: int  #: 1, 2, ... in the order of the acts
    snapshot_id: str
    chosen_at: datetime
    chosen_by: str
    reason: str
    despite: Mapping[str, str] = field(default_factory=dict)  #: what spoke against it, and why it may stand


@dataclass(frozen=True, slots=True)
class Anchor:
    """A product's anchor at one moment: the benchmark of a `choice`, or without one a verified release's after snapshot.

    `is_doubted`: its run deviated, and operations, who chose it, did not know: it can show creep, never that there is none.
    """

    snapshot: Snapshot | None
    choice: AnchorChoice | None
    sentence: str
    is_doubted: bool = False

    @property
    def since(self) -> datetime | None:
        """Deploys from then on are the releases since the anchor: the first of them is itself, where it is a release."""
        if self.snapshot is None:
            return None
        return self.snapshot.window.end if self.snapshot.kind == "benchmark" else self.snapshot.window.start


def choice_at(choices: Iterable[AnchorChoice], by: datetime) -> AnchorChoice | None:
    """The act that held at `by`; None when operations had not chosen yet."""
    return max((one for one in choices if one.chosen_at < by), key=lambda one: one.number, default=None)


def horizon(policy: Policy) -> timedelta:
    """How far before a deploy the default anchor's own deploy lies at most: samples that have expired measure nothing."""
    return timedelta(days=min(policy.observation.anchor_days, policy.samples.raw_days))


def chosen(snapshot: Snapshot, choice: AnchorChoice, runs: Iterable[Run] = ()) -> Anchor:
    """What operations chose, in words. `runs` of the product: those that deviated or are observed."""
    by = f"chosen by {choice.chosen_by} on {choice.chosen_at:%Y-%m-%d}: {choice.reason}"
    answers = "".join(f"; although {_AGAINST[code]}: {why}" for code, why in sorted(choice.despite.items()))
    doubted = [run.named for run in _since(choice, snapshot, runs)]
    doubt = f"; the run that it came from has deviated since: {few_of(doubted)}" if doubted else ""
    return Anchor(snapshot, choice, f"{_dated(snapshot)}, {by}{answers}{doubt}", bool(doubted))


def by_default(first: Snapshot | None, last: Snapshot | None, product_id: str, within: timedelta) -> Anchor:
    """The anchor of a product for which operations chose none, or why there is none, in words.

    A release is verified by a steady final look at a deployment that was not rolled back, as a CR's stage has it. What
    deviated and was kept is not: its keep accepts one change, and what comes after is to be held against what was before
    it; operations may choose a benchmark from after it, and says why.

    first  the after snapshot of the release that was verified first, of those deployed within the horizon
    last   of the one that was verified last, however long ago, where there is no such
    """
    days = f"{within / timedelta(days=1):g} days"
    if first is not None:
        said = f"{first.cr_id}, the first release that was verified within the horizon of {days}"
        return Anchor(first, None, f"{_dated(first)}, from {said}")
    why = "no release of it was verified yet"
    if last is not None:
        why = f"its last verified release, {last.cr_id} ({_dated(last)}), is older than the horizon of {days}"
    return Anchor(None, None, f"{product_id} has no anchor: {why}; operations may choose one of its benchmarks")


def _dated(snapshot: Snapshot) -> str:
    return f"{snapshot.id} of {snapshot.window.end:%Y-%m-%d}"


_AGAINST = {"deviated": "its run deviated", "observed": "its run was still observed"}


def _since(choice: AnchorChoice, snapshot: Snapshot, runs: Iterable[Run]) -> list[Run]:
    """The runs in its window that deviated, but for those that operations knew of and answered for."""
    knew = choice.chosen_at if "deviated" in choice.despite else None
    return [
        run
        for run in runs
        if run.found_at is not None and run.meets(snapshot.window) and (knew is None or run.found_at > knew)
    ]


def choose(
    product_id: str,
    snapshot: Snapshot,
    before: Sequence[AnchorChoice],
    *,
    by: str,
    reason: str,
    now: datetime,
    despite: Mapping[Objection, str],
    runs: Sequence[Run] = (),
) -> tuple[AnchorChoice, AnchorChosen]:
    """Make `snapshot` the anchor from now on.

    before   the product's choices so far
    despite  answers to what speaks against it, which is that one of `runs` deviated or is observed: its health was
             answered for when it was published

    Raises Conflict for what is no benchmark of the product, for what nobody answered, and for what is the chosen anchor
    already, unless one of `runs` has given cause since to answer for it anew.
    """
    if snapshot.kind != "benchmark" or snapshot.product_id != product_id:
        raise Conflict(f"{snapshot.id} is no benchmark of {product_id}: an anchor is one that operations published.")
    last = max(before, key=lambda one: one.number, default=None)
    if last is not None and last.snapshot_id == snapshot.id and not _since(last, snapshot, runs):
        raise Conflict(f"{snapshot.id} is the anchor of {product_id} already.")
    answers = refuse_doubtful(objections(_ANSWERED, snapshot.window, runs), despite)
    choice = AnchorChoice(product_id, last.number + 1 if last else 1, snapshot.id, now, by, reason, answers)
    fact = AnchorChosen(
        product_id=product_id,
        snapshot_id=snapshot.id,
        content_hash=snapshot.content_hash,
        instead_of=last.snapshot_id if last else None,
        window_start=snapshot.window.start,
        window_end=snapshot.window.end,
        reason=reason,
        chosen_by=by,
        chosen_at=now,
        despite=answers,
    )
    return choice, fact


def creep_sentence(
    anchor: Anchor | None, why_not: Sequence[str | None] | None, compared: Sequence[ComparedSLI], releases: int = 1
) -> str:
    """What a verdict says of creep: away from the anchor, and over the releases since.

    why_not   for each of `compared` None, or why the anchor has nothing of it; None when there was no second reference
    releases  how many levels each SLI has since the anchor, this one the last
    """
    if anchor is None:
        return ""  # a recovery is held against what was before the deploy, and against nothing else
    return _away(anchor, why_not, compared) + _over(compared, releases)


def _away(anchor: Anchor, why_not: Sequence[str | None] | None, compared: Sequence[ComparedSLI]) -> str:
    if anchor.snapshot is None and why_not is None:
        return f"Creep was not looked at: {anchor.sentence}."
    if why_not is None:
        return f"Creep was not looked at: the benchmark is the anchor itself ({anchor.sentence})."
    absent = [why for why in why_not if why is not None]
    if len(absent) == len(compared):
        return f"Creep was not looked at: {absent[0] if absent else 'no SLI'} ({anchor.sentence})."
    rest = f" For {len(absent)} of {len(compared)} it could not be looked at, first: {absent[0]}." if absent else ""
    crept = [one for one in compared if one.view == CREEP and one.outcome == "moved"]
    if not crept and anchor.is_doubted:
        return f"Whether anything crept cannot be said against an anchor like this one: {anchor.sentence}."
    if not crept:
        return f"No SLI that is steady has crept away from the anchor ({anchor.sentence}).{rest}"
    named = f"{_have(crept)} crept away from the anchor ({anchor.sentence}), though not at this deploy alone"
    return f"{named}: {_named(crept)}.{rest}"


def _over(compared: Sequence[ComparedSLI], releases: int) -> str:
    if releases < LEAST_RELEASES:
        return ""
    found = [one for one in compared if one.view in OVER_RELEASES and one.outcome == "moved"]
    if not found:
        return f" Over the {releases} releases since, none has moved little by little or at one of them."
    return f" {_have(found)} moved over the {releases} releases since: {found[0].sentence}."


def _have(found: Sequence[ComparedSLI]) -> str:
    return "1 SLI has" if len(found) == 1 else f"{len(found)} SLIs have"


def _named(crept: Sequence[ComparedSLI]) -> str:
    return few_of([_how_far(one) for one in crept])


def _how_far(one: ComparedSLI) -> str:
    return one.title if one.effect_relative is None else f"{one.title} {one.effect_relative:+.0%}"
