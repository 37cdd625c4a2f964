"""What incidents does: commands and questions, steps and jobs; the tables at the foot say which hears what."""

from services.incidents.handlers.debt import (
    close_incident,
    get_incident,
    list_cases,
    list_incidents,
    on_release,
    on_tests_recorded,
    open_incident,
)
from services.incidents.handlers.investigations import (
    acknowledge,
    decide,
    escalate,
    explain,
    get_investigation,
    list_investigations,
    miss_look,
    on_cr,
    on_deployed,
    on_deviation_detected,
    on_observation_closed,
    on_observation_over,
    on_rolled_back,
    on_snapshot_overdue,
)
from services.incidents.handlers.saving import Deps
from shared import policies
from shared.consumer import Steps
from shared.contracts import (
    CRChanged,
    CRDeployed,
    CRRegistered,
    CRRolledBack,
    DeviationDetected,
    DeviationWithdrawn,
    ObservationClosed,
    ObservationSuperseded,
    ProductChanged,
    ReleaseClosed,
    ReleaseFrozen,
    ReleasePlanned,
    SnapshotOverdue,
    TestsRecorded,
)

__all__ = [
    "JOBS",
    "ON",
    "Deps",
    "acknowledge",
    "close_incident",
    "decide",
    "explain",
    "get_incident",
    "get_investigation",
    "list_cases",
    "list_incidents",
    "list_investigations",
    "open_incident",
]

ON: Steps = {
    ProductChanged: policies.on_product_changed,
    CRRegistered: on_cr,
    CRChanged: on_cr,
    CRDeployed: on_deployed,
    CRRolledBack: on_rolled_back,
    ReleasePlanned: on_release,
    ReleaseFrozen: on_release,
    ReleaseClosed: on_release,
    TestsRecorded: on_tests_recorded,
    DeviationDetected: on_deviation_detected,
    DeviationWithdrawn: on_observation_over,
    ObservationClosed: on_observation_closed,
    ObservationSuperseded: on_observation_over,
    SnapshotOverdue: on_snapshot_overdue,
}
JOBS = {"escalate": escalate, "miss_look": miss_look}
