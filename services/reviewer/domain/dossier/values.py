"""What a dossier is: the values that pages, gate, stage and digest are made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.reviewer.domain.benchmark import Benchmark
from services.reviewer.domain.dossier.releases import ReleaseKnown
from services.reviewer.domain.evidence import Case, CodeReview, Suite
from services.reviewer.domain.known import Known
from services.reviewer.domain.production import Deploy, Deviation, Incident, Investigation, Observation
from services.reviewer.domain.review import Go, Review
from services.reviewer.domain.underway import Delay, EarlyLook
from shared.contracts import (
    CodeReviewRecorded,
    CRChanged,
    CRRolledBack,
    CRState,
    CRWithdrawn,
    Policy,
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
    early_looks: tuple[EarlyLook, ...]  #: that raised nothing
    delays: tuple[Delay, ...]  #: of looks that are due and wait

    @property
    def number(self) -> int:
        return self.deploy.deployment

    def verdict(self, kind: str) -> Observation | None:
        """The look of that kind that holds."""
        return next((one for one in reversed(self.observations) if one.kind == kind and one.holds), None)

    def delay(self, kind: str) -> Delay | None:
        """What the look of that kind waits for, when it is due and could not be taken."""
        return next((one for one in self.delays if one.kind == kind), None)


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
