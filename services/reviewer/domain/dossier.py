"""The dossier: everything known of one CR in one place, as a pure function of the *set* of facts.

Every permutation and duplication of the same facts gives the same dossier and the same digest. `at` is the database's
time of asking; it tells how old evidence is, and is no part of the digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.reviewer.domain import benchmark as benchmarks
from services.reviewer.domain import evidence, production, review
from services.reviewer.domain.benchmark import Benchmark
from services.reviewer.domain.digest import digests
from services.reviewer.domain.evidence import Case, CodeReview, Suite
from services.reviewer.domain.known import Facts, Known
from services.reviewer.domain.production import Deploy, Deviation, Incident, Investigation, Observation
from services.reviewer.domain.review import Go, Review
from shared.contracts import (
    CodeReviewRecorded,
    CRChanged,
    CRRegistered,
    CRRolledBack,
    CRState,
    CRWithdrawn,
    GateAnswered,
    IncidentOpened,
    Policy,
    ProductChanged,
    ReleaseClosed,
    ReleaseFrozen,
    ReleasePlanned,
    TestsRecorded,
)


@dataclass(frozen=True)
class Before:
    """The pre-deploy part: what is known of a change before it goes, at one moment, and its digest."""

    attempt: int  #: number of the deployment that this would be, or was
    moment: datetime  #: now while not deployed; `deployed_at` after
    cr: CRState | None
    policy_version: str | None
    policy: Policy | None
    tests: tuple[Suite, ...]
    code_review: CodeReview
    benchmark: Benchmark
    debt: tuple[Case, ...]
    reviews: tuple[Review, ...]
    go: Go | None
    digest: str
    parts: dict[str, str]

    @property
    def has_evidence(self) -> bool:
        """Whether the evidence that an input rests on is there: required suites ran, the code review took place."""
        return (
            self.policy is not None
            and all(suite.state == "passed" for suite in self.tests if suite.is_required)
            and (self.code_review.took_place or not self.code_review.is_required)
        )


@dataclass(frozen=True)
class LateWord:
    """A fact on the time before a deploy that came after it: not known then, so it changed nothing."""

    what: str
    said_at: datetime
    sentence: str


@dataclass(frozen=True)
class Asked:
    """The gate's last answer before a deploy."""

    answer_id: str
    go: bool
    is_ready: bool
    enforcement: str
    reasons: tuple[tuple[str, str], ...]
    at: datetime
    asked_by: str
    digest: str


@dataclass(frozen=True)
class Deployment:
    """One deployment: what was reported, how everything stood when it happened, and what came of it."""

    deploy: Deploy
    stood: Before
    gate: Asked | None  #: None: never asked
    flags: tuple[str, ...]  #: against the process: each one plain sentence
    not_known_then: tuple[LateWord, ...]
    observations: tuple[Observation, ...]
    deviations: tuple[Deviation, ...]
    investigations: tuple[Investigation, ...]

    @property
    def number(self) -> int:
        return self.deploy.deployment

    def verdict(self, kind: str) -> Observation | None:
        """The look of that kind that holds."""
        return next((one for one in reversed(self.observations) if one.kind == kind and one.holds), None)


@dataclass(frozen=True)
class ReleaseKnown:
    release_id: str
    product_id: str
    name: str
    planned_at: datetime
    state: str  #: planned, frozen, closed
    frozen_at: datetime | None = None
    closed_at: datetime | None = None


@dataclass(frozen=True)
class Dossier:
    """Everything on one CR. `before` is live while not deployed, else as it stood at the last deployment."""

    cr_id: str
    product_id: str
    cr: CRState | None  #: None: other facts of it were heard, its registration not yet
    withdrawn: CRWithdrawn | None
    release: ReleaseKnown | None
    before: Before
    deployments: tuple[Deployment, ...]
    incidents: tuple[Incident, ...]
    observations: tuple[Observation, ...]  #: of deployments not heard of yet
    answers: tuple[Asked, ...]  #: every answer of the gate, oldest first
    facts: tuple[Known[Any], ...]  #: the CR's own, by time said: what happened, in order

    @property
    def last(self) -> Deployment | None:
        return self.deployments[-1] if self.deployments else None

    @property
    def deployed(self) -> Deployment | None:
        """The deployment that is in production: the last one, unless it was rolled back."""
        last = self.last
        return last if last is not None and last.deploy.rollback is None else None

    @property
    def present(self) -> Before:
        """What a page shows: how it stood at the last deployment, or how it is now."""
        if self.last is not None and not self.has_reopened:
            return self.last.stood
        return self.before

    @property
    def has_reopened(self) -> bool:
        """After a rollback somebody works on the next attempt. Told by order and by what was seen, never by clocks: a
        deployer's may differ from ours, and what it reports late lies before what was said meanwhile."""
        last = self.last
        if last is None or last.deploy.rollback is None:
            return False
        back = min(
            fact.sequence
            for fact in self.facts
            if isinstance(fact.data, CRRolledBack) and fact.data.deployment == last.number
        )
        work = (CRChanged, TestsRecorded, CodeReviewRecorded)  # of one aggregate with the rollback
        said = (*self.before.reviews, *((self.before.go,) if self.before.go else ()))
        return any(isinstance(fact.data, work) and fact.sequence > back for fact in self.facts) or any(
            "attempt" not in each.changed for each in said
        )


def assemble(cr_id: str, product_id: str, given: Iterable[Known[Any]], at: datetime) -> Dossier:
    """The dossier of a CR from its own facts and its product's, known at `at`. Facts of other CRs are left out."""
    facts = Facts(fact for fact in given if _is_about(fact, cr_id, product_id))
    deploys = production.deploys(facts)
    looks = production.observations(facts)
    moved = production.deviations(facts)
    cases = production.investigations(facts)
    answers = tuple(_asked(fact) for fact in facts.of(GateAnswered))
    deployments = []
    since: datetime | None = None
    for deploy in deploys:
        stood = _before(
            facts.said_by(deploy.deployed_at),
            facts,
            cr_id,
            product_id,
            deploy.deployment,
            deploy.deployed_at,
            is_deploy=True,
        )
        gate = next(
            (
                answer
                for answer in reversed(answers)
                if answer.at <= deploy.deployed_at and (since is None or answer.at > since)
            ),
            None,
        )
        number = deploy.deployment
        deployments.append(
            Deployment(
                deploy,
                stood,
                gate,
                _flags(deploy, stood, gate, answers),
                _not_known(facts, deploy.deployed_at),
                tuple(one for one in looks if one.deployment == number),
                tuple(one for one in moved if one.deployment == number),
                tuple(one for one in cases if one.deployment == number),
            )
        )
        since = deploy.deployed_at
    last = deployments[-1] if deployments else None
    if last is not None and last.deploy.rollback is None:
        before = last.stood
    else:
        before = _before(facts, facts, cr_id, product_id, (last.number if last else 0) + 1, at)
    known_numbers = {deploy.deployment for deploy in deploys}
    cr = _state(facts)
    withdrawn = facts.of(CRWithdrawn)
    return Dossier(
        cr_id,
        product_id,
        cr,
        withdrawn[-1].data if withdrawn else None,
        releases(facts).get(cr.release_id) if cr is not None and cr.release_id else None,
        before,
        tuple(deployments),
        production.incidents(facts, cr_id),
        tuple(one for one in looks if one.deployment not in known_numbers),
        answers,
        tuple(
            sorted(
                (fact for fact in facts.all if _cr_of(fact) == cr_id),
                key=lambda fact: (fact.time, fact.aggregate, fact.sequence, fact.event_id),
            )
        ),
    )


def releases(facts: Facts) -> dict[str, ReleaseKnown]:
    """Every release heard of, by id."""
    found: dict[str, ReleaseKnown] = {}
    said = [*facts.of(ReleasePlanned), *facts.of(ReleaseFrozen), *facts.of(ReleaseClosed)]
    frozen = {fact.data.release_id: fact.data.at for fact in facts.of(ReleaseFrozen)}
    closed = {fact.data.release_id: fact.data.at for fact in facts.of(ReleaseClosed)}
    for fact in sorted(said, key=lambda fact: (fact.sequence, fact.type, fact.event_id)):
        data = fact.data
        name = data.release_id
        state = "closed" if name in closed else "frozen" if name in frozen else "planned"
        found[name] = ReleaseKnown(
            name, data.product_id, data.name, data.planned_at, state, frozen.get(name), closed.get(name)
        )
    return found


def _is_about(fact: Known[Any], cr_id: str, product_id: str) -> bool:
    of_cr = _cr_of(fact)
    if isinstance(fact.data, IncidentOpened) or of_cr is None:
        return getattr(fact.data, "product_id", None) == product_id
    return of_cr == cr_id


def _cr_of(fact: Known[Any]) -> str | None:
    found: str | None = getattr(fact.data, "cr_id", None)
    return found


def _state(facts: Facts) -> CRState | None:
    said = [*facts.of(CRRegistered), *facts.of(CRChanged)]
    last = max(said, key=lambda fact: (fact.data.revision, fact.sequence, fact.event_id), default=None)
    return last.data if last is not None else None


def _before(
    facts: Facts,
    everything: Facts,
    cr_id: str,
    product_id: str,
    attempt: int,
    moment: datetime,
    *,
    is_deploy: bool = False,
) -> Before:
    cr = _state(facts)
    changes = facts.of(ProductChanged)
    newest = max(changes, key=lambda fact: (fact.sequence, fact.event_id), default=None)
    policy = newest.data.policy if newest is not None else None
    version = newest.data.version if newest is not None else None
    suites = evidence.suites(facts, cr, policy, moment)
    # Whoever deploys is heard by the deploy: that is shown, and what input and go were bound to before it stands.
    seen, benchmark = (
        benchmarks.benchmark(facts, everything, hands, cr_id, product_id, policy, moment, is_deploy=is_deploy)
        for hands in (benchmarks.own_hands(facts, before=attempt), benchmarks.own_hands(everything))
    )
    debt = evidence.debt(facts, cr.release_id if cr is not None else None)
    digest, parts = digests(
        {
            "attempt": attempt,
            "change_request": None if cr is None else {"id": cr_id, **cr.model_dump(mode="json", exclude={"at"})},
            "tests": sorted(
                [fact.data.result_id, fact.data.suite_kind, fact.data.outcome, fact.data.digest]
                for fact in facts.of(TestsRecorded)
            ),
            "code_review": [
                [fact.data.how, fact.data.reviewer, fact.data.reviewed_at, fact.data.cr_revision]
                for fact in facts.of(CodeReviewRecorded)
            ],
            "benchmark": [seen.snapshot_id, seen.content_hash]
            if seen.state in ("counts", "stale", "expired")
            else None,
            "debt": [[case.case_id, case.state, case.counts] for case in debt],
            "policy": version,
        }
    )
    return Before(
        attempt,
        moment,
        cr,
        version,
        policy,
        suites,
        evidence.code_review(facts, policy),
        benchmark,
        debt,
        review.reviews(facts, everything, digest, parts),
        review.go(facts, digest, parts),
        digest,
        parts,
    )


def _asked(fact: Known[GateAnswered]) -> Asked:
    data = fact.data
    return Asked(
        data.answer_id,
        data.go,
        data.is_ready,
        data.enforcement,
        tuple((reason.code, reason.sentence) for reason in data.reasons),
        data.at,
        data.asked_by,
        data.digest,
    )


_FLAG_WORDS = {"withdrawn": "It was deployed although it had been withdrawn."}


def _flags(deploy: Deploy, stood: Before, gate: Asked | None, answers: Sequence[Asked]) -> tuple[str, ...]:
    found = [_FLAG_WORDS.get(flag, f"Against the process: {flag}.") for flag in deploy.against_process]
    if gate is None:
        # A deployer whose clock is behind looks like one that did not ask: then it is said how much later it did.
        late = next((one.at for one in answers if deploy.deployed_at < one.at <= deploy.reported_at), None)
        after = (
            f"; it was asked {(late - deploy.deployed_at).total_seconds():.0f} s after the reported time"
            if late
            else ""
        )
        found.append(f"The gate was never asked before this deploy{after}.")
    elif not gate.go:
        found.append(f"Deployed against the gate, which had answered no at {gate.at:%Y-%m-%d %H:%M} UTC.")
    elif not gate.is_ready:
        found.append(f"The gate had said that it was not ready; {gate.enforcement} blocks nothing.")
    if stood.go is not None and stood.go.counts and stood.go.decision == "no_go":
        found.append("Deployed although the PTASK engineer had decided no-go.")
    named = stood.cr.commit if stood.cr is not None else None
    if named and deploy.commit and named != deploy.commit:
        found.append(f"Deployed commit {deploy.commit}, but the change request names {named}.")
    return tuple(found)


def _not_known(facts: Facts, deployed_at: datetime) -> tuple[LateWord, ...]:
    found = []
    for fact in facts.all:
        if fact.time <= deployed_at:
            continue
        data: Any = fact.data
        if isinstance(data, TestsRecorded) and data.run_at <= deployed_at:
            sentence = (
                f"A {data.suite_kind} test report ({data.outcome}) of a run before the deploy was recorded after it."
            )
            found.append(LateWord("tests", fact.time, sentence))
        elif isinstance(data, CodeReviewRecorded) and data.reviewed_at <= deployed_at:
            found.append(
                LateWord("code_review", fact.time, f"A code {data.how} before the deploy was recorded after it.")
            )
        elif isinstance(data, IncidentOpened) and data.opened_at <= deployed_at:
            found.append(
                LateWord("debt", fact.time, f"{data.incident_id} had opened before the deploy and was said after it.")
            )
        elif isinstance(data, CRWithdrawn):
            found.append(
                LateWord("change_request", fact.time, "It was withdrawn when it was in production already, unreported.")
            )
        elif isinstance(data, CRRegistered):
            found.append(LateWord("change_request", fact.time, "It was registered only after its deploy."))
    return tuple(sorted(found, key=lambda word: (word.said_at, word.what, word.sentence)))
