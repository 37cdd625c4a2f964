"""Said by incidents: what went wrong, and the regression cases it owes. Keyed by product: debt is the product's."""

from typing import Literal

from shared.contracts.envelope import Fact, Instant
from shared.contracts.policy import Severity


class IncidentOpened(Fact, type="incident.opened.v1", topic="daymark.incidents", owner="incidents", key="product_id"):
    incident_id: str
    product_id: str
    cr_id: str | None
    title: str
    description: str = ""
    severity: Severity
    origin: Literal["person", "deviation", "system"]
    deviation_id: str | None = None
    opened_at: Instant


class IncidentClosed(Fact, type="incident.closed.v1", topic="daymark.incidents", owner="incidents", key="product_id"):
    incident_id: str
    product_id: str
    reason: str
    is_withdrawn: bool = False  #: its deviation no longer holds: it was none, and owes nothing
    closed_at: Instant


class _Case(Fact):
    case_id: str
    incident_id: str
    product_id: str
    title: str
    release_id: str | None  #: the release that owes it: the first planned one that is not frozen, else none yet
    revision: int
    at: Instant


class RegressionCaseOwed(
    _Case, type="regression_case.owed.v1", topic="daymark.incidents", owner="incidents", key="product_id"
):
    """Said again with a higher revision when the owing release changes."""

    incident_opened_at: Instant


class RegressionCaseRed(
    _Case, type="regression_case.red.v1", topic="daymark.incidents", owner="incidents", key="product_id"
):
    """Seen to fail: on which commit, in which report."""

    commit: str
    result_id: str


class RegressionCaseGreen(
    _Case, type="regression_case.green.v1", topic="daymark.incidents", owner="incidents", key="product_id"
):
    """Seen to fail before and to pass now, on another commit: proven, no longer debt."""

    commit: str
    result_id: str
    red_commit: str
