"""What the doors say of a dossier: the same parts as plain, documented values, with the policy left to its own door."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.reviewer.domain import gate, stage
from services.reviewer.domain.benchmark import Benchmark
from services.reviewer.domain.dossier import Asked, Before, Deployment, Dossier, LateWord, ReleaseKnown
from services.reviewer.domain.evidence import Case, CodeReview, Suite
from services.reviewer.domain.gate import Freshness, GateAnswer
from services.reviewer.domain.known import Known
from services.reviewer.domain.production import Deploy, Deviation, Incident, Investigation, Observation
from services.reviewer.domain.review import Go, Review
from services.reviewer.domain.underway import EarlyLook
from services.reviewer.domain.waiting import Waiting, waiting
from shared.contracts import CRState, CRWithdrawn, Enforcement, GateReason


@dataclass(frozen=True)
class BeforeDocument:
    """The pre-deploy part, at one moment. `missing`: every reason in it why the change is not ready."""

    attempt: int
    moment: datetime
    digest: str
    parts: dict[str, str]
    policy_version: str | None
    enforcement: Enforcement | None
    tests: tuple[Suite, ...]
    code_review: CodeReview
    benchmark: Benchmark
    debt: tuple[Case, ...]
    reviews: tuple[Review, ...]
    go: Go | None


@dataclass(frozen=True)
class DeploymentDocument:
    """One deployment: what was reported, how it stood then, what the gate had answered (null: never asked), what came.

    `waiting`: the look that it still waits for; only a verdict ends that. `early_looks`: those that raised nothing,
    which is no verdict.
    """

    deployment: int
    revision: int
    deployed_at: datetime
    deploy: Deploy
    stood: BeforeDocument
    gate: Asked | None
    flags: tuple[str, ...]
    not_known_then: tuple[LateWord, ...]
    observations: tuple[Observation, ...]
    deviations: tuple[Deviation, ...]
    investigations: tuple[Investigation, ...]
    waiting: Waiting | None
    early_looks: tuple[EarlyLook, ...]


@dataclass(frozen=True)
class Happened:
    """One fact in the record. `sequence` orders the facts of one `aggregate`."""

    event_id: str
    type: str
    at: datetime
    actor: str
    aggregate: str
    sequence: int
    policy_version: str | None
    cause: str | None


@dataclass(frozen=True)
class Line:
    """One CR on a release page."""

    cr_id: str
    product_id: str
    title: str
    stage: stage.Stage
    digest: str
    as_of: datetime | None
    cr: CRState | None
    withdrawn: CRWithdrawn | None
    gate: GateAnswer
    before: BeforeDocument
    deployments: tuple[DeploymentDocument, ...]
    incidents: tuple[Incident, ...]


@dataclass(frozen=True)
class DossierDocument:
    """Everything on one CR. `digest` is what an input and a go are bound to."""

    cr_id: str
    product_id: str
    title: str
    stage: stage.Stage
    digest: str
    as_of: datetime | None
    at: datetime
    cr: CRState | None
    withdrawn: CRWithdrawn | None
    release: ReleaseKnown | None
    before: BeforeDocument
    missing: tuple[GateReason, ...]
    deployments: tuple[DeploymentDocument, ...]
    observations: tuple[Observation, ...]
    incidents: tuple[Incident, ...]
    gate_answers: tuple[Asked, ...]
    facts: tuple[Happened, ...]


@dataclass(frozen=True)
class ReleaseDocument:
    """A release: every CR scheduled for it, and the debt it owes."""

    release_id: str
    product_id: str
    product_name: str
    enforcement: Enforcement | None
    name: str
    state: str
    planned_at: datetime
    frozen_at: datetime | None
    closed_at: datetime | None
    as_of: datetime | None
    debt: tuple[Case, ...]
    change_requests: tuple[Line, ...]
    waiting: tuple[Waiting, ...]  #: looks at its CRs that have no answer yet, first due first


def dossier_document(dossier: Dossier, fresh: Freshness, at: datetime) -> DossierDocument:
    return DossierDocument(
        dossier.cr_id,
        dossier.product_id,
        title_of(dossier),
        stage.stage(dossier, at),
        dossier.before.digest,
        fresh.as_of,
        at,
        dossier.cr,
        dossier.withdrawn,
        dossier.release,
        _before(dossier.before),
        gate.missing(dossier),
        tuple(_deployment(dossier.cr_id, each, at) for each in dossier.deployments),
        dossier.observations,
        dossier.incidents,
        dossier.answers,
        _happened(dossier.facts),
    )


def line(dossier: Dossier, fresh: Freshness, at: datetime) -> Line:
    """A CR for a list: its gate reasons are computed here, no answer is stored."""
    return Line(
        dossier.cr_id,
        dossier.product_id,
        title_of(dossier),
        stage.stage(dossier, at),
        dossier.before.digest,
        fresh.as_of,
        dossier.cr,
        dossier.withdrawn,
        gate.answer(dossier, fresh, at),
        _before(dossier.present),
        tuple(_deployment(dossier.cr_id, each, at) for each in dossier.deployments),
        dossier.incidents,
    )


def title_of(dossier: Dossier) -> str:
    return dossier.cr.title if dossier.cr is not None else f"{dossier.cr_id} (its registration has not been heard yet)"


def _before(before: Before) -> BeforeDocument:
    return BeforeDocument(
        before.attempt,
        before.moment,
        before.digest,
        before.parts,
        before.policy_version,
        before.policy.enforcement if before.policy is not None else None,
        before.tests,
        before.code_review,
        before.benchmark,
        before.debt,
        before.reviews,
        before.go,
    )


def waiting_of(lines: Iterable[Line]) -> tuple[Waiting, ...]:
    """Every look that these CRs still wait for, first due first."""
    found = [each.waiting for line in lines for each in line.deployments if each.waiting is not None]
    return tuple(sorted(found, key=lambda one: (one.due_at, one.cr_id, one.deployment)))


def _deployment(cr_id: str, each: Deployment, at: datetime) -> DeploymentDocument:
    return DeploymentDocument(
        each.number,
        each.deploy.revision,
        each.deploy.deployed_at,
        each.deploy,
        _before(each.stood),
        each.gate,
        each.flags,
        each.not_known_then,
        each.observations,
        each.deviations,
        each.investigations,
        waiting(cr_id, each, at),
        each.early_looks,
    )


def _happened(facts: Iterable[Known[Any]]) -> tuple[Happened, ...]:
    return tuple(
        Happened(
            fact.event_id,
            fact.type,
            fact.time,
            fact.actor,
            fact.aggregate,
            fact.sequence,
            fact.policy_version,
            fact.cause,
        )
        for fact in facts
    )
