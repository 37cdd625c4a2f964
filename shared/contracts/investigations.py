"""Said by incidents: an investigation's owner, clocks and one end. Keyed by CR."""

from typing import Literal

from shared.contracts.envelope import Fact, Instant
from shared.contracts.policy import Severity

Step = Literal["acknowledge", "explain", "decide"]


class _Investigation(Fact):
    investigation_id: str
    cr_id: str
    product_id: str
    deployment: int
    at: Instant


class InvestigationOpened(
    _Investigation, type="investigation.opened.v1", topic="daymark.investigations", owner="incidents", key="cr_id"
):
    deviation_id: str | None  #: None when an overdue snapshot or a missing answer opened it
    incident_id: str | None
    revision: int
    severity: Severity
    owner_person: str | None  #: the PTASK engineer, when known
    because: str
    acknowledge_by: Instant
    explain_by: Instant
    decide_by: Instant
    look: Literal["after", "recovery"] = "after"  #: of which look the answer was bad or did not come


class InvestigationAcknowledged(
    _Investigation,
    type="investigation.acknowledged.v1",
    topic="daymark.investigations",
    owner="incidents",
    key="cr_id",
):
    by: str


class InvestigationExplained(
    _Investigation, type="investigation.explained.v1", topic="daymark.investigations", owner="incidents", key="cr_id"
):
    by: str
    explanation: str


class InvestigationEscalated(
    _Investigation, type="investigation.escalated.v1", topic="daymark.investigations", owner="incidents", key="cr_id"
):
    step: Step
    due_at: Instant
    to: tuple[str, ...]
    channels: tuple[str, ...]


class InvestigationDecided(
    _Investigation, type="investigation.decided.v1", topic="daymark.investigations", owner="incidents", key="cr_id"
):
    by: str
    decision: Literal["rollback", "keep"]
    reason: str


class InvestigationClosed(
    _Investigation, type="investigation.closed.v1", topic="daymark.investigations", owner="incidents", key="cr_id"
):
    """Closed without a decision: the deviation was withdrawn, or the deployment rolled back before anybody decided."""

    reason: str


class RollbackRequested(
    _Investigation, type="rollback.requested.v1", topic="daymark.investigations", owner="incidents", key="cr_id"
):
    by: str
    reason: str
