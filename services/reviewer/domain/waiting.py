"""Which look a deployment still waits for, and whether it should have come by now. Silence is said, never hidden."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from services.reviewer.domain.dossier import Deployment
from services.reviewer.domain.underway import Delay
from shared.contracts import ObservationKind

_DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Waiting:
    """`to_come`: its time has not come. `due`: it should be there soon. `overdue`: the policy's patience is over as well."""

    cr_id: str
    deployment: int
    kind: ObservationKind
    due_at: datetime
    state: Literal["to_come", "due", "overdue"]
    sentence: str
    delay: Delay | None = None  #: what could not be read when it was tried last; None: nothing was heard of a try


def waiting(cr_id: str, each: Deployment, at: datetime) -> Waiting | None:
    """The look at this deployment that has no answer yet; None when it has one, or lost its object by a rollback."""
    policy, back = each.stood.policy, each.deploy.rollback
    kind: ObservationKind = "after" if back is None else "recovery"
    verdict = each.verdict(kind)
    if verdict is not None and verdict.state == "closed":
        return None
    due_at, heard_at = each.deploy.deployed_at + _DAY, each.deploy.reported_at
    if back is not None:
        heard_at = back.reported_at
        due_at = back.rolled_back_at + timedelta(hours=policy.observation.recovery_h if policy is not None else 0)
    patience = timedelta(minutes=policy.observation.patience_min if policy is not None else 0)
    name, when = f"The {kind} snapshot", f"{due_at:%-d %b %Y, %H:%M} UTC"
    if verdict is not None:
        return Waiting(cr_id, each.number, kind, due_at, "overdue", verdict.sentence)
    if at < due_at:
        return Waiting(cr_id, each.number, kind, due_at, "to_come", f"{name} is due {when}.")
    delay = each.delay(kind)
    if delay is not None:
        return _delayed(cr_id, delay, f"{name} has been due since {when}: {delay.reason}", at)
    overdue_at = max(due_at, heard_at) + patience  # patience does not run before anybody could have looked
    if at < overdue_at:
        said = f"{name} was due {when} and has no answer yet; it is overdue from {overdue_at:%H:%M} UTC on."
        return Waiting(cr_id, each.number, kind, due_at, "due", said)
    said = f"{name} was due {when}; nothing has been heard of it, and the policy's patience is over."
    return Waiting(cr_id, each.number, kind, due_at, "overdue", said)


def _delayed(cr_id: str, delay: Delay, said: str, at: datetime) -> Waiting:
    about = (cr_id, delay.deployment, delay.kind, delay.due_at)
    until = delay.tried_until
    if at < until:
        hour = f"{until:%H:%M} UTC" if until.date() == delay.due_at.date() else f"{until:%-d %b %Y, %H:%M} UTC"
        return Waiting(*about, "due", f"{said}. It is tried until {hour}; then it is overdue.", delay)
    return Waiting(*about, "overdue", f"{said}. The policy's patience is over, and no answer has been heard.", delay)
