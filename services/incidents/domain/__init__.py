"""What may happen to incidents, regression cases and investigations. Pure: values in, (new value, facts) out."""

from services.incidents.domain.debt import CASE_MOVES, Case, CaseState, Release, owe, owing_release, see_case
from services.incidents.domain.incidents import Incident, close_incident, open_incident
from services.incidents.domain.investigations import (
    MOVES,
    STEPS,
    Investigation,
    InvestigationState,
    Look,
    acknowledge,
    close,
    deadlines,
    decide,
    due,
    escalate,
    explain,
    gravest,
    is_done,
    open_investigation,
    unanswered,
)
from services.incidents.domain.rights import RIGHTS

__all__ = [
    "CASE_MOVES",
    "MOVES",
    "RIGHTS",
    "STEPS",
    "Case",
    "CaseState",
    "Incident",
    "Investigation",
    "InvestigationState",
    "Look",
    "Release",
    "acknowledge",
    "close",
    "close_incident",
    "deadlines",
    "decide",
    "due",
    "escalate",
    "explain",
    "gravest",
    "is_done",
    "open_incident",
    "open_investigation",
    "owe",
    "owing_release",
    "see_case",
    "unanswered",
]
