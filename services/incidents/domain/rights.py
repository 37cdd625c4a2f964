"""Who may do what. That only the CR's own PTASK engineer decides is a rule beside it."""

from __future__ import annotations

RIGHTS = {
    "open_incident": frozenset({"operations", "engineer", "ptask", "integration"}),
    "close_incident": frozenset({"operations", "engineer", "ptask"}),
    "acknowledge_investigation": frozenset({"engineer", "ptask"}),
    "explain_investigation": frozenset({"engineer", "ptask"}),
    "decide_investigation": frozenset({"ptask"}),
}
