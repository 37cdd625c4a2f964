"""The set of facts made into one dossier."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from services.reviewer.domain import benchmark as benchmarks
from services.reviewer.domain import evidence, production, review, underway
from services.reviewer.domain.digest import digests
from services.reviewer.domain.dossier.against import flags, not_known
from services.reviewer.domain.dossier.releases import releases
from services.reviewer.domain.dossier.values import Asked, Before, Deployment, Dossier
from services.reviewer.domain.known import Facts, Known
from shared.contracts import (
    CodeReviewRecorded,
    CRChanged,
    CRRegistered,
    CRState,
    CRWithdrawn,
    GateAnswered,
    IncidentOpened,
    ProductChanged,
    TestsRecorded,
)


def assemble(cr_id: str, product_id: str, given: Iterable[Known[Any]], at: datetime) -> Dossier:
    """The dossier of a CR from its own facts and its product's, known at `at`. Facts of other CRs are left out."""
    facts = Facts(fact for fact in given if _is_about(fact, cr_id, product_id))
    deploys = production.deploys(facts)
    looks = production.observations(facts)
    moved = production.deviations(facts)
    cases = production.investigations(facts)
    early = underway.early_looks(facts, deploys)
    delayed = underway.delays(facts, deploys)
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
                flags(deploy, stood, gate, answers),
                not_known(facts, deploy.deployed_at),
                tuple(one for one in looks if one.deployment == number),
                tuple(one for one in moved if one.deployment == number),
                tuple(one for one in cases if one.deployment == number),
                tuple(one for one in early if one.deployment == number),
                tuple(one for one in delayed if one.deployment == number),
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
