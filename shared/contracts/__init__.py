"""The contracts: every fact that Daymark's services exchange, declared once. Start with `envelope.py`.

`make docs` writes JSON Schemas, who says and who hears from these classes, and refuses a breaking change.
"""

from shared.contracts.change_requests import (
    CodeReviewRecorded,
    CRChanged,
    CRDeployed,
    CRKind,
    CRRegistered,
    CRRolledBack,
    CRState,
    CRWithdrawn,
)
from shared.contracts.deviations import DeviationDetected, DeviationWithdrawn
from shared.contracts.envelope import FACTS, Event, Fact, Headers, Instant, from_wire, to_wire
from shared.contracts.heartbeats import Heartbeat
from shared.contracts.incidents import (
    IncidentClosed,
    IncidentOpened,
    RegressionCaseGreen,
    RegressionCaseOwed,
    RegressionCaseRed,
)
from shared.contracts.investigations import (
    InvestigationAcknowledged,
    InvestigationClosed,
    InvestigationDecided,
    InvestigationEscalated,
    InvestigationExplained,
    InvestigationOpened,
    RollbackRequested,
)
from shared.contracts.policy import SLI, Clock, Enforcement, Policy, Severity, read_policy
from shared.contracts.products import ProductChanged
from shared.contracts.releases import ReleaseClosed, ReleaseFrozen, ReleasePlanned
from shared.contracts.reviews import (
    GateAnswered,
    GateReason,
    GoDecided,
    ItemAnswer,
    ReviewAcknowledged,
    ReviewGiven,
    ReviewItem,
    ReviewRequested,
    ReviewVoided,
)
from shared.contracts.snapshots import (
    AnchorChosen,
    BenchmarkPublished,
    ComparedSLI,
    MissingSLI,
    ObservationClosed,
    ObservationKind,
    ObservationSuperseded,
    Outcome,
    SnapshotKind,
    SnapshotOverdue,
    SnapshotTaken,
)
from shared.contracts.test_results import MarkedCase, SuiteKind, TestsRecorded

__all__ = [
    "FACTS",
    "SLI",
    "AnchorChosen",
    "BenchmarkPublished",
    "CRChanged",
    "CRDeployed",
    "CRKind",
    "CRRegistered",
    "CRRolledBack",
    "CRState",
    "CRWithdrawn",
    "Clock",
    "CodeReviewRecorded",
    "ComparedSLI",
    "DeviationDetected",
    "DeviationWithdrawn",
    "Enforcement",
    "Event",
    "Fact",
    "GateAnswered",
    "GateReason",
    "GoDecided",
    "Headers",
    "Heartbeat",
    "IncidentClosed",
    "IncidentOpened",
    "Instant",
    "InvestigationAcknowledged",
    "InvestigationClosed",
    "InvestigationDecided",
    "InvestigationEscalated",
    "InvestigationExplained",
    "InvestigationOpened",
    "ItemAnswer",
    "MarkedCase",
    "MissingSLI",
    "ObservationClosed",
    "ObservationKind",
    "ObservationSuperseded",
    "Outcome",
    "Policy",
    "ProductChanged",
    "RegressionCaseGreen",
    "RegressionCaseOwed",
    "RegressionCaseRed",
    "ReleaseClosed",
    "ReleaseFrozen",
    "ReleasePlanned",
    "ReviewAcknowledged",
    "ReviewGiven",
    "ReviewItem",
    "ReviewRequested",
    "ReviewVoided",
    "RollbackRequested",
    "Severity",
    "SnapshotKind",
    "SnapshotOverdue",
    "SnapshotTaken",
    "SuiteKind",
    "TestsRecorded",
    "from_wire",
    "read_policy",
    "to_wire",
]
