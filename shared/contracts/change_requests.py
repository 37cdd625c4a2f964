"""Said by intake: everything other systems and engineers say of a CR. Keyed by CR.

Registered and changed carry the CR's whole state at that revision, so that one letter is enough to know it.
A CR has numbered deployments; each correction of one raises its revision and supersedes the older.
"""

from typing import Literal

from shared.contracts.envelope import Fact, Instant

CRKind = Literal["standard", "normal", "emergency"]


class CRState(Fact):
    """What a CR is at one revision. Persons are `issuer|subject`, claimed by the caller."""

    cr_id: str
    product_id: str
    release_id: str | None
    source: str  #: the system that posted it
    external_id: str  #: its name there; (source, external_id) is one CR
    title: str
    description: str = ""
    kind: CRKind
    author: str
    ptask: str  #: the PTASK engineer
    planned_start: Instant | None = None
    planned_end: Instant | None = None
    backout_plan: str = ""
    commit: str | None = None
    artifact: str | None = None
    link: str | None = None
    revision: int
    at: Instant  #: when this was said


class CRRegistered(CRState, type="cr.registered.v1", topic="daymark.change-requests", owner="intake", key="cr_id"):
    pass


class CRChanged(CRState, type="cr.changed.v1", topic="daymark.change-requests", owner="intake", key="cr_id"):
    changed: tuple[str, ...]  #: names of the fields that differ from the revision before


class CRWithdrawn(Fact, type="cr.withdrawn.v1", topic="daymark.change-requests", owner="intake", key="cr_id"):
    cr_id: str
    product_id: str
    reason: str
    withdrawn_at: Instant


class CRDeployed(Fact, type="cr.deployed.v1", topic="daymark.change-requests", owner="intake", key="cr_id"):
    cr_id: str
    product_id: str
    release_id: str | None
    deployment: int  #: 1, 2, ...: a CR may be deployed again after a rollback
    revision: int  #: 1, 2, ...: raised by each correction of this deployment
    deployed_at: Instant
    reported_at: Instant
    deployer: str  #: `issuer|subject`, claimed; the caller itself when nothing is claimed
    commit: str | None = None
    artifact: str | None = None
    against_process: tuple[str, ...] = ()  #: for example `withdrawn`: recorded, never refused


class CRRolledBack(Fact, type="cr.rolled_back.v1", topic="daymark.change-requests", owner="intake", key="cr_id"):
    cr_id: str
    product_id: str
    deployment: int
    revision: int  #: raised by each correction of this rollback
    rolled_back_at: Instant
    reported_at: Instant
    reason: str
    against_process: tuple[str, ...] = ()


class CodeReviewRecorded(
    Fact, type="code_review.recorded.v1", topic="daymark.change-requests", owner="intake", key="cr_id"
):
    """That engineering's review or walkthrough took place. Operations sees only this."""

    cr_id: str
    product_id: str
    how: Literal["review", "walkthrough"]
    reviewer: str  #: `issuer|subject`
    reviewed_at: Instant
    where: str = ""
    cr_revision: int
    recorded_at: Instant
