"""The values: snapshots, CRs as far as they matter here, deployments, observations and their moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from shared.access import Rights
from shared.contracts import BenchmarkHealth, MissingSLI, ObservationKind, Outcome, Policy, SnapshotKind

RIGHTS: Rights = {
    "publish_snapshot": frozenset({"operations"}),
    "choose_anchor": frozenset({"operations"}),
    # Changes nothing, and takes a processor for a while: for those who write policies and those who live with them.
    "backtest": frozenset({"operations", "engineer", "ptask", "release_manager"}),
    "draft_snapshot": frozenset({"operations", "engineer", "ptask"}),
    "pin_benchmark": frozenset({"operations"}),
    "upload_readings": frozenset({"operations", "integration"}),
}

#: Both looks cover 24 hours: a contract, not a setting.
DAY = timedelta(hours=24)

#: How a look says that a rollback ended it.
ROLLED_BACK = "rolled back at "

State = Literal["scheduled", "due", "capturing", "overdue", "closed", "superseded"]

#: (state, what happens) -> state. `due` and `capturing` are lived in the agenda: its time and its attempts say so.
MOVES: Mapping[tuple[State, str], State] = {
    ("scheduled", "time_came"): "due",
    ("due", "tried"): "capturing",
    ("capturing", "source_failed"): "capturing",
    ("capturing", "judged"): "closed",
    ("capturing", "patience_ended"): "overdue",
    ("overdue", "judged"): "closed",
    ("scheduled", "superseded"): "superseded",
    ("due", "superseded"): "superseded",
    ("capturing", "superseded"): "superseded",
    ("overdue", "superseded"): "superseded",
    ("closed", "superseded"): "superseded",
    ("superseded", "armed_again"): "scheduled",  # a rollback that ended it turned out to have come after its day
}


def move(state: State, *happenings: str) -> State:
    """Where `happenings`, one after another, lead from `state`. Raises ValueError for one that cannot happen there."""
    for what in happenings:
        if (state, what) not in MOVES:
            raise ValueError(f"an observation that is {state} cannot be {what}")
        state = MOVES[state, what]
    return state


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open `[start, end)`, UTC, read every `step_s` seconds from `start` on."""

    start: datetime
    end: datetime
    step_s: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All readings of one window, without the samples. A benchmark is one from before, published by a person."""

    id: str
    kind: SnapshotKind
    product_id: str
    cr_id: str | None  #: None: a benchmark for all CRs of the product
    deployment: int | None
    revision: int | None
    window: Window
    taken_at: datetime
    taken_by: str
    reason: str
    policy_version: str
    content_hash: str
    slis: int
    missing: tuple[MissingSLI, ...] = ()

    @property
    def number(self) -> int:
        return int(self.id.removeprefix("SNAP-"))

    @property
    def subject(self) -> str:
        """What its facts are keyed by."""
        return self.cr_id or self.product_id


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a draft or a benchmark came to be. None of the readings themselves: those are the snapshot's."""

    snapshot_id: str
    origin: Literal["pulled", "uploaded"]
    draft_id: str | None = None
    corrects: str | None = None
    health: BenchmarkHealth | None = None
    despite: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """What the snapshotter keeps of a CR. `version` orders everything that it says about the CR."""

    id: str
    product_id: str
    release_id: str | None = None
    revision: int = 0  #: of the CR's state as heard
    authors: frozenset[str] = frozenset()  #: at any revision
    deployers: frozenset[str] = frozenset()
    is_withdrawn: bool = False
    version: int = 0


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment of a CR as last reported, and its rollback when there was one. Revision 0: not heard yet."""

    cr_id: str
    number: int
    revision: int = 0
    deployed_at: datetime | None = None
    deployer: str | None = None
    policy_version: str | None = None
    rollback_revision: int = 0
    rolled_back_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One look, unique by (CR, deployment, revision, kind)."""

    cr_id: str
    product_id: str
    deployment: int
    revision: int
    kind: ObservationKind
    starts_at: datetime
    ends_at: datetime
    due_at: datetime
    armed_at: datetime  #: when we first could have looked: patience does not run before we were told
    policy_version: str
    state: State = "scheduled"
    outcome: Outcome | None = None
    sentence: str | None = None
    snapshot_id: str | None = None
    benchmark_id: str | None = None
    deviation_id: str | None = None
    deviated_at: datetime | None = None  #: when it was first found to have moved, by an early look or at its end
    delayed_because: str | None = None  #: what was said last of tries that failed
    delays: int = 0  #: how often that was said
    overdue_at: datetime | None = None
    closed_at: datetime | None = None
    superseded_at: datetime | None = None
    superseded_because: str | None = None

    @property
    def subject(self) -> str:
        """Its appointment's subject: one per (CR, deployment, kind), so that a correction moves it."""
        return f"{self.cr_id}/{self.deployment}/{self.kind}"

    @property
    def is_open(self) -> bool:
        return self.state == "scheduled"

    @property
    def is_cut_short(self) -> bool:
        """Ended by a rollback before its time: what it had seen until then was true."""
        return self.state == "superseded" and (self.superseded_because or "").startswith(ROLLED_BACK)

    def state_at(self, now: datetime, attempts: int) -> State:
        """The state to show: what is stored, and what time and the agenda's attempts add to it."""
        if not self.is_open or now < self.due_at:
            return self.state
        return move(self.state, "time_came", *(["tried"] if attempts else []))

    def gives_up_at(self, policy: Policy) -> datetime:
        """Until then a source may be down."""
        return max(self.due_at, self.armed_at) + timedelta(minutes=policy.observation.patience_min)


def benchmark_window(now: datetime, step_s: int) -> Window:
    """The last 24 hours, ending on the step's grid: nothing of the step that still runs."""
    end = datetime.fromtimestamp(now.timestamp() // step_s * step_s, UTC)
    return Window(end - DAY, end, step_s)


def observed_window(observation: Observation, policy: Policy) -> Window:
    """The nominal window, however late it is read."""
    return Window(observation.starts_at, observation.ends_at, policy.observation.step_s)


def history_window(deployed_at: datetime, policy: Policy) -> Window | None:
    """The whole days before the deploy that the judge may learn from; None when the policy asks for none."""
    days = policy.observation.history_days
    return Window(deployed_at - days * DAY, deployed_at, policy.observation.step_s) if days else None


def also_since(observation: Observation) -> datetime:
    """From when on another deploy of the product has to do with this look: its own day reaches into this one."""
    return observation.starts_at - DAY if observation.kind == "after" else observation.starts_at


def settle_s(observation: Observation, policy: Policy) -> float:
    """Seconds that are not judged after the deploy or rollback: of a short look at most a quarter, or nothing were left."""
    length = (observation.ends_at - observation.starts_at).total_seconds()
    return min(policy.observation.settle_min * 60, length / 4)


def few_of(names: Sequence[str]) -> str:
    """`a, b, c and 2 more`: names in a sentence, of however many."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
