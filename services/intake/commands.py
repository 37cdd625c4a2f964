"""What intake is asked and what it answers, beyond what other systems' doors share (`shared.contracts.inbound`)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts import CRKind, Policy, SuiteKind
from shared.contracts.envelope import Instant
from shared.contracts.inbound import Command, Id, Line, Person, When, Words


class PlanRelease(Command):
    """A product's next set of CRs."""

    product: Id
    name: Line = Field(description="Short, unique in the product; the id is `<product>-<name as a slug>`.")
    planned_at: When


class RecordCodeReview(Command):
    """That engineering's review or walkthrough took place."""

    how: Literal["review", "walkthrough"] = "review"
    reviewed_at: When
    reviewer: Person | None = Field(None, description="Who looked; left out: the caller. Never the author.")
    where: Words = Field("", max_length=1000, description="Where the record of it is, for example a merge request.")


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NotTaken(_View):
    """A webhook's delivery that was heard, and said nothing of a change."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "is_taken": False,
                "reason": "The pull request is no change request: it has no label cr:<product>.",
            }
        }
    )

    is_taken: Literal[False] = False
    reason: str


class ProposalView(_View):
    """A looser policy that waits for a second release manager to put the same document."""

    version: str
    loosens: tuple[str, ...]
    proposed_by: str
    proposed_at: Instant
    policy: Policy


class ProductView(_View):
    id: str
    version: str = Field(description="Content hash of the policy in force.")
    policy: Policy
    changed_at: Instant
    changed_by: str
    proposal: ProposalView | None = None


class ReleaseView(_View):
    id: str
    product: str
    name: str
    planned_at: Instant
    state: Literal["planned", "frozen", "closed"]
    version: int
    created_at: Instant
    frozen_at: Instant | None = None
    closed_at: Instant | None = None


class CRView(_View):
    """A CR as it was last said to be. `state` is what intake knows; the stage is the reviewer's answer."""

    id: str
    product: str
    release: str | None
    source: str
    external_id: str
    title: str
    description: str
    kind: CRKind
    author: str
    ptask: str
    planned_start: Instant | None
    planned_end: Instant | None
    backout_plan: str
    commit: str | None
    artifact: str | None
    link: str | None
    state: Literal["registered", "deployed", "rolled_back", "withdrawn"]
    revision: int = Field(description="Counts changes of what is said above; for `If-Match`.")
    version: int = Field(description="Counts every fact about this CR: the `sequence` of the last one.")
    registered_at: Instant
    registered_by: str
    withdrawn_at: Instant | None = None
    withdrawn_because: str | None = None


class DeploymentView(_View):
    deployment: int
    revision: int
    deployed_at: Instant
    reported_at: Instant
    deployer: str
    commit: str | None
    artifact: str | None
    against_process: tuple[str, ...]


class RollbackView(_View):
    deployment: int
    revision: int
    rolled_back_at: Instant
    reported_at: Instant
    reason: str
    against_process: tuple[str, ...]


class CodeReviewView(_View):
    how: Literal["review", "walkthrough"]
    reviewer: str
    reviewed_at: Instant
    where: str
    cr_revision: int
    recorded_at: Instant
    recorded_by: str


class TestResultView(_View):
    __test__ = False

    id: str
    suite_kind: SuiteKind
    commit: str | None
    artifact: str | None
    run_at: Instant
    recorded_at: Instant
    recorded_by: str
    digest: str = Field(description="SHA-256 of the report's bytes.")
    outcome: Literal["passed", "failed", "empty", "inconsistent"]
    total: int
    passed: int
    failed: int
    skipped: int
    lost: int = Field(description="Cases of this product's last report of this kind that this one has not.")
    problems: tuple[str, ...]


class CRReported(CRView):
    """A CR with its deployments and rollbacks as they stand."""

    deployments: tuple[DeploymentView, ...] = ()
    rollbacks: tuple[RollbackView, ...] = ()


class CRDetail(CRReported):
    """A CR with everything that intake was told of it. Older revisions of a report are kept, newest last."""

    code_reviews: tuple[CodeReviewView, ...] = ()
    test_results: tuple[TestResultView, ...] = ()


class Products(_View):
    items: tuple[ProductView, ...]


class Releases(_View):
    items: tuple[ReleaseView, ...]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class CRs(_View):
    items: tuple[CRView, ...]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")
