"""The line of a CR's life as a page draws it: registered, in review, ready, deployed, observed, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from services.reviewer.domain.document import DeploymentDocument, Line

StepState = Literal["done", "now", "todo", "bad", "skipped"]


@dataclass(frozen=True)
class Step:
    name: str
    state: StepState
    word: str  #: for who cannot see the state


_STATE_WORDS: dict[StepState, str] = {
    "done": "done",
    "now": "here now",
    "todo": "still to come",
    "bad": "here now, needs somebody",
    "skipped": "was passed over",
}


def steps(line: Line) -> list[Step]:
    """Registered, in review, ready, deployed, observed, and how it ended: where this CR stands on that line."""
    stage, last = line.stage, line.deployments[-1] if line.deployments else None
    if stage == "withdrawn":
        return _stepped([("Registered", "done"), ("Withdrawn", "now")])
    if stage in ("registered", "in_review", "not_ready", "ready"):
        at = {"registered": 0, "in_review": 1, "not_ready": 1, "ready": 2}[stage]
        names = (
            "Registered",
            "Not ready" if stage == "not_ready" else "In review",
            "Ready",
            "Deployed",
            "Observed",
            "Verified",
        )
        found: list[tuple[str, StepState]] = []
        for number, name in enumerate(names):
            state: StepState = "done" if number < at else "todo"
            if number == at:
                state = "bad" if stage == "not_ready" else "now"
            found.append((name, state))
        return _stepped(found)
    was_ready = last is not None and last.gate is not None and last.gate.is_ready
    start: list[tuple[str, StepState]] = [
        ("Registered", "done"),
        ("In review", "done" if last is not None and last.stood.reviews else "skipped"),
        ("Ready" if was_ready else "Not ready", "done" if was_ready else "skipped"),
        ("Deployed", "now" if stage == "deployed" else "done"),
    ]
    seen: tuple[str, StepState] = _seen(last)
    if stage in ("needs_person", "investigating") and last is not None and last.deploy.rollback is not None:
        seen = ("Rolled back", "done")
    end = "Decided" if seen[0] != "Rolled back" else "Recovered"
    ends: dict[str, list[tuple[str, StepState]]] = {
        "deployed": [("Observed", "todo"), ("Verified", "todo")],
        "observing": [("Observing", "now"), ("Verified", "todo")],
        "verified": [("Observed", "done"), ("Verified", "now")],
        "deviating": [("Observed", "done"), ("Deviating", "bad"), ("Decided", "todo")],
        "investigating": [seen, ("Investigating", "bad"), (end, "todo")],
        "needs_person": [seen, ("Needs a person", "bad"), (end, "todo")],
        "kept": [seen, ("Investigated", "done"), ("Kept", "now")],
    }
    if stage in ends:
        return _stepped(start + ends[stage])
    middle: list[tuple[str, StepState]] = [("Deviated", "done")] if last is not None and last.deviations else []
    back: dict[str, list[tuple[str, StepState]]] = {
        "rolled_back": [("Rolled back", "now"), ("Recovered", "todo")],
        "recovered": [("Rolled back", "done"), ("Recovered", "now")],
        "recovering": [("Rolled back", "done"), ("Recovering", "bad")],
    }
    return _stepped(start + middle + back.get(stage, back["rolled_back"]))


def _seen(last: DeploymentDocument | None) -> tuple[str, StepState]:
    """What the look after 24 hours came to: a window of which nothing could be read was not observed."""
    if last is not None and last.deviations:
        return ("Deviated", "done")
    looks = [look for look in last.observations if look.kind == "after" and look.holds] if last is not None else []
    if not looks or looks[-1].outcome in (None, "no_data"):
        return ("Not observed", "skipped")
    return ("Observed", "done")


def _stepped(found: list[tuple[str, StepState]]) -> list[Step]:
    return [Step(name, state, _STATE_WORDS[state]) for name, state in found]
