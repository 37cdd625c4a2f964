"""Looks that are expected: when each must have been answered, and what follows when nothing is heard of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.incidents.domain.investigations import Look, gravest
from shared.contracts import Policy, Severity

#: Beyond the policy's patience: who takes the look tries again only every few minutes, and reads and judges for as long.
GRACE = timedelta(minutes=15)

#: A clock that runs is noticed within seconds.
_NOTICED = timedelta(minutes=1)

#: Both looks at a deploy cover 24 hours.
_DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Expected:
    """A look that must come, as last heard of. `revision` 0: only an answer was heard yet, or a rollback without its deploy.

    answer_by  when even a slow and patient answer must be there
    answered   the highest revision that an answer was heard for, good or bad
    """

    cr_id: str
    deployment: int
    look: Look
    product_id: str
    revision: int = 0
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    answer_by: datetime | None = None
    policy_version: str | None = None
    answered: int = 0

    @property
    def subject(self) -> str:
        """Of its appointment."""
        return f"{self.cr_id}/{self.deployment}/{self.look}"


def expect(
    before: Expected, revision: int, since: datetime, policy: Policy, policy_version: str, now: datetime
) -> Expected:
    """The look that a deploy or a rollback at `since`, heard of `now`, asks for. An older or equal revision changes nothing."""
    if revision <= before.revision:
        return before
    ends_at = since + (_DAY if before.look == "after" else timedelta(hours=policy.observation.recovery_h))
    patience = timedelta(minutes=policy.observation.patience_min)
    return replace(
        before,
        revision=revision,
        starts_at=since,
        ends_at=ends_at,
        answer_by=max(ends_at, now) + patience + GRACE,  # nobody could have looked before it was reported
        policy_version=policy_version,
    )


def is_awaited(look: Expected, looks: Iterable[Expected]) -> bool:
    """Whether its answer is still to come: not when it was given, nor when a rollback of the deployment ended the look."""
    back = next((one.starts_at for one in looks if one.look == "recovery"), None)
    is_cut_short = look.look == "after" and back is not None and look.ends_at is not None and back < look.ends_at
    return look.answer_by is not None and look.answered < look.revision and not is_cut_short


def was_away(look: Expected, now: datetime) -> bool:
    """Whether this clock itself was noticed late: after an outage nobody is to be blamed for not having answered in it."""
    return look.answer_by is not None and now > look.answer_by + _NOTICED


def silent(look: Expected) -> str:
    """What is said of it when its time is over."""
    return (
        f"The {look.look} snapshot was due {look.ends_at:%Y-%m-%d %H:%M} UTC. Nothing has been heard of it,"
        " and the policy's patience is over."
    )


def gravity_of_silence(policy: Policy) -> Severity:
    """As grave as a deviation on the gravest of what nobody has looked at."""
    return gravest((sli.severity for sli in policy.slis if not sli.shadow), "critical")
