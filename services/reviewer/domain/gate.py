"""The gate: the one answer a deployer asks for. Pure: a dossier, and how fresh it is, give go or no with every reason.

Enforcement is a ladder: `observe` and `advise` say what is missing and block nothing; only under `enforce` is "not ready" a no.
Absence is never success: no policy, no benchmark, no news from a service are reasons like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.reviewer.domain.digest import in_words
from services.reviewer.domain.dossier import Before, Dossier
from shared.contracts import Enforcement, GateReason

#: What is in force while no policy was heard: the strictest, because nobody said otherwise.
NO_POLICY: Enforcement = "enforce"
#: And how old the facts may be then.
NO_POLICY_FRESHNESS_S = 60.0


@dataclass(frozen=True)
class Freshness:
    """Up to when every service was heard, and sentences on letters that arrived and have no effect yet."""

    as_of: datetime | None
    blocked: Sequence[str] = ()
    not_heard: str | None = None  #: event id that the caller waited for in vain


@dataclass(frozen=True)
class GateAnswer:
    """`is_ready`: nothing is missing. `go`: ready, or the policy does not block."""

    cr_id: str
    go: bool
    is_ready: bool
    enforcement: Enforcement
    reasons: tuple[GateReason, ...]
    digest: str
    policy_version: str | None
    as_of: datetime | None
    at: datetime
    parts: dict[str, str] = field(default_factory=dict)


def answer(dossier: Dossier, fresh: Freshness, at: datetime) -> GateAnswer:
    """What the gate says of this CR now."""
    before = dossier.before
    policy = before.policy
    enforcement = policy.enforcement if policy is not None else NO_POLICY
    found = (*missing(dossier), *_not_fresh(dossier, fresh, at))
    return GateAnswer(
        dossier.cr_id,
        not found or enforcement != "enforce",
        not found,
        enforcement,
        found,
        before.digest,
        before.policy_version,
        fresh.as_of,
        at,
        before.parts,
    )


def missing(dossier: Dossier) -> tuple[GateReason, ...]:
    """Every reason in the dossier itself why the change is not ready; how fresh it is comes on top."""
    before = dossier.before
    found = [*_of_state(dossier), *of_evidence(before), *_of_people(before)]
    return tuple(found)


def _of_state(dossier: Dossier) -> list[GateReason]:
    found = []
    if dossier.cr is None:
        found.append(
            GateReason(code="not_registered", sentence=f"{dossier.cr_id} has not been heard of as registered.")
        )
    if dossier.withdrawn is not None:
        found.append(
            GateReason(code="withdrawn", sentence=f"{dossier.cr_id} was withdrawn: {dossier.withdrawn.reason}")
        )
    if dossier.deployed is not None:
        when = f"{dossier.deployed.deploy.deployed_at:%Y-%m-%d %H:%M} UTC"
        found.append(GateReason(code="deployed", sentence=f"{dossier.cr_id} is in production since {when}."))
    if dossier.release is not None and dossier.release.state == "closed" and dossier.deployed is None:
        found.append(GateReason(code="release_closed", sentence=f"The release {dossier.release.name} is closed."))
    if dossier.before.policy is None:
        sentence = f"No policy of {dossier.product_id} has been heard: this answer rests on none, and none is a no."
        found.append(GateReason(code="no_policy", sentence=sentence))
    return found


def of_evidence(before: Before) -> list[GateReason]:
    """Reasons in tests, code review, benchmark and debt."""
    found = [
        GateReason(code=suite.code, sentence=suite.sentence)
        for suite in before.tests
        if suite.is_required and suite.state != "passed"
    ]
    if before.code_review.is_required and not before.code_review.took_place:
        found.append(GateReason(code="code_review_missing", sentence=before.code_review.sentence))
    benchmark = before.benchmark
    if benchmark.state != "counts":
        found.append(GateReason(code=f"benchmark_{benchmark.state}", sentence=benchmark.sentence))
    elif benchmark.missing_deciding:
        found.append(GateReason(code="benchmark_incomplete", sentence=benchmark.sentence))
    found += [GateReason(code="debt_open", sentence=case.sentence) for case in before.debt if case.counts]
    return found


def _of_people(before: Before) -> list[GateReason]:
    found = []
    counting = [review for review in before.reviews if review.counts]
    if not counting:
        last = before.reviews[-1] if before.reviews else None
        if last is None:
            found.append(GateReason(code="review_missing", sentence="Operations has not given its input."))
        else:
            found.append(
                GateReason(
                    code="review_void", sentence=f"No input of operations counts. {last.review_id}: {last.why_not}"
                )
            )
    for review in before.reviews:
        if review.open_items:
            word = "is not ready" if review.verdict == "not_ready" else "needs more"
            items = "; ".join(f"“{item.text}”" for item in review.open_items[:3])
            found.append(
                GateReason(
                    code="review_not_ready" if review.verdict == "not_ready" else "review_need_more",
                    sentence=f"Operations says it {word} and waits for an answer: {items}"[:600],
                )
            )
    go = before.go
    if go is None:
        found.append(GateReason(code="go_missing", sentence="The PTASK engineer has not decided."))
    elif not go.counts:
        found.append(GateReason(code="go_void", sentence=f"The decision is void: {in_words(go.changed)} after it."))
    elif go.decision == "no_go":
        found.append(GateReason(code="no_go", sentence=f"The PTASK engineer decided no-go: {go.reason}"[:600]))
    return found


def _not_fresh(dossier: Dossier, fresh: Freshness, at: datetime) -> list[GateReason]:
    policy = dossier.before.policy
    limit_s = policy.freshness_s if policy is not None else NO_POLICY_FRESHNESS_S
    found = []
    if fresh.as_of is None:
        found.append(
            GateReason(code="stale", sentence="Not every service has been heard yet, so facts may be missing.")
        )
    elif at - fresh.as_of > timedelta(seconds=limit_s):
        age_s = (at - fresh.as_of).total_seconds()
        sentence = (
            f"The facts are as of {fresh.as_of:%Y-%m-%d %H:%M:%S} UTC, {age_s:.0f} s old; at most {limit_s:g} s count."
        )
        found.append(GateReason(code="stale", sentence=sentence))
    found += [
        GateReason(code="parked", sentence=f"A fact arrived and has no effect yet: {sentence}"[:600])
        for sentence in fresh.blocked
    ]
    if fresh.not_heard is not None:
        found.append(GateReason(code="not_heard", sentence="The fact that you named has not arrived here yet."))
    return found
