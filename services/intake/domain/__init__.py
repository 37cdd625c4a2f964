"""What may happen at intake: values, moves and rules. Pure: no I/O, no clock."""

from services.intake.domain.change_requests import (
    CR,
    MOVES,
    Deployment,
    Rollback,
    change,
    deployed,
    draft,
    may_review,
    numbered,
    registered,
    reviewed,
    rolled_back,
    same_registration,
    tested,
    unknown_ptask,
    withdraw,
)
from services.intake.domain.evidence import CodeReview, TestResult, marked, recorded
from services.intake.domain.products import Product, Proposal, loosened, put_policy
from services.intake.domain.releases import RELEASE_MOVES, Release, close, freeze, plan, schedulable, slug
from services.intake.domain.rights import RIGHTS

__all__ = [
    "CR",
    "MOVES",
    "RELEASE_MOVES",
    "RIGHTS",
    "CodeReview",
    "Deployment",
    "Product",
    "Proposal",
    "Release",
    "Rollback",
    "TestResult",
    "change",
    "close",
    "deployed",
    "draft",
    "freeze",
    "loosened",
    "marked",
    "may_review",
    "numbered",
    "plan",
    "put_policy",
    "recorded",
    "registered",
    "reviewed",
    "rolled_back",
    "same_registration",
    "schedulable",
    "slug",
    "tested",
    "unknown_ptask",
    "withdraw",
]
