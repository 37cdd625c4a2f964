"""Sets of facts as the four services would say them, without the services: for the reviewer's tests and screenshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from services.reviewer.domain.known import Known, aggregate_of, known
from shared.contracts import (
    SLI,
    BenchmarkPublished,
    CodeReviewRecorded,
    ComparedSLI,
    CRDeployed,
    CRRegistered,
    CRRolledBack,
    DeviationDetected,
    Event,
    Fact,
    IncidentOpened,
    InvestigationAcknowledged,
    InvestigationDecided,
    InvestigationExplained,
    InvestigationOpened,
    ObservationClosed,
    Policy,
    ProductChanged,
    RegressionCaseOwed,
    ReleaseClosed,
    ReleaseFrozen,
    ReleasePlanned,
    RollbackRequested,
    SnapshotTaken,
    TestsRecorded,
)

T0 = datetime(2026, 11, 16, 8, 0, tzinfo=UTC)
H = timedelta(hours=1)
COMMIT = "4f1c2ab9d0e7"
AUTHOR, PTASK, ENGINEER = "local|edda", "local|pia", "local|emil"
OPS, OPS2, DEPLOYER = "local|olga", "local|otto", "local|deployer"


def policy(product_id: str = "epl", name: str = "EPL", enforcement: str = "enforce", **more: Any) -> Policy:
    slis = (
        SLI(id="latency-p99", title="Settlement latency p99", source="prom", query="x", unit="ms"),
        SLI(id="error-rate", title="Failed settlements", source="prom", query="x", unit="%"),
        SLI(id="throughput", title="Settled messages", source="prom", query="x", unit="msg/s", severity="major"),
    )
    return Policy(id=product_id, name=name, enforcement=enforcement, slis=slis, **more)  # type: ignore[arg-type]


class Story:
    """Says facts in order; `events` is what lies on the bus, `known` what a dossier is made from."""

    def __init__(self, start: datetime = T0) -> None:
        self.now = start
        self.events: list[Event[Any]] = []
        self._versions: Counter[str] = Counter()
        self._revisions: Counter[str] = Counter()
        self._policies: dict[str, str] = {}

    @property
    def known(self) -> list[Known[Any]]:
        return [known(event) for event in self.events]

    def after(self, hours: float) -> Story:
        self.now += timedelta(hours=hours)
        return self

    def say(self, fact: Fact, actor: str = "local|system", at: datetime | None = None) -> Event[Any]:
        draft = Event("", f"daymark/{fact.owner}", fact.type, at or self.now, fact.key, 0, actor, fact)
        thing = aggregate_of(draft)
        self._versions[thing] += 1
        event = Event(
            str(uuid5(NAMESPACE_URL, f"{thing}/{self._versions[thing]}")),
            draft.source,
            draft.type,
            draft.time,
            draft.key,
            self._versions[thing],
            actor,
            fact,
            self._policies.get(getattr(fact, "product_id", "")),
        )
        self.events.append(event)
        self.now += timedelta(seconds=1)
        return event

    # -- products, releases -------------------------------------------------------------------------------------------

    def product(self, of: Policy) -> Policy:
        self._policies[of.id] = of.version()
        self.say(ProductChanged(product_id=of.id, version=of.version(), policy=of, changed_at=self.now))
        return of

    def release(self, product_id: str, name: str, planned_at: datetime, *, kind: type[Any] = ReleasePlanned) -> str:
        release_id = f"{product_id}-{name}"
        self.say(
            kind(release_id=release_id, product_id=product_id, name=name, planned_at=planned_at, at=self.now),
            "local|rita",
        )
        return release_id

    def freeze(self, product_id: str, name: str, planned_at: datetime) -> None:
        self.release(product_id, name, planned_at, kind=ReleaseFrozen)

    def close(self, product_id: str, name: str, planned_at: datetime) -> None:
        self.release(product_id, name, planned_at, kind=ReleaseClosed)

    # -- a CR ---------------------------------------------------------------------------------------------------------

    def state(
        self, cr_id: str, product_id: str, release_id: str | None, title: str, more: Mapping[str, Any]
    ) -> dict[str, Any]:
        self._revisions[cr_id] += 1
        return {
            "cr_id": cr_id,
            "product_id": product_id,
            "release_id": release_id,
            "source": "servicenow",
            "external_id": f"CHG{cr_id[3:]:0>7}",
            "title": title,
            "kind": "normal",
            "author": AUTHOR,
            "ptask": PTASK,
            "commit": COMMIT,
            "backout_plan": "Redeploy the previous image; four minutes, rehearsed.",
            "link": f"https://changes.example/CHG{cr_id[3:]:0>7}",
            "revision": self._revisions[cr_id],
            "at": self.now,
            **more,
        }

    def register(self, cr_id: str, product_id: str, release_id: str | None, title: str, **more: Any) -> Event[Any]:
        state = self.state(cr_id, product_id, release_id, title, more)
        return self.say(CRRegistered(**state), "local|servicenow")

    def tests(self, cr_id: str, product_id: str, kind: str = "regression", **more: Any) -> Event[Any]:
        said: dict[str, Any] = {
            "cr_id": cr_id,
            "product_id": product_id,
            "result_id": f"RES-{len(self.events)}",
            "suite_kind": kind,
            "commit": COMMIT,
            "artifact": None,
            "run_at": self.now - timedelta(minutes=20),
            "recorded_at": self.now,
            "digest": "ab" * 32,
            "outcome": "passed",
            "total": 412,
            "passed": 409,
            "failed": 0,
            "skipped": 3,
            "lost": 0,
            **more,
        }
        return self.say(TestsRecorded(**said), "local|ci")

    def code_review(self, cr_id: str, product_id: str, **more: Any) -> Event[Any]:
        said: dict[str, Any] = {
            "cr_id": cr_id,
            "product_id": product_id,
            "how": "review",
            "reviewer": ENGINEER,
            "reviewed_at": self.now - timedelta(hours=1),
            "where": "https://git.example/merge/9",
            "cr_revision": 1,
            "recorded_at": self.now,
            **more,
        }
        return self.say(CodeReviewRecorded(**said), ENGINEER)

    def benchmark(self, subject: str, product_id: str, snapshot_id: str, **more: Any) -> Event[Any]:
        end = self.now - timedelta(minutes=10)
        is_of_cr = subject != product_id
        window: dict[str, Any] = {"window_start": end - 24 * H, "window_end": end}
        common: dict[str, Any] = {
            "subject": subject,
            "snapshot_id": snapshot_id,
            "product_id": product_id,
            "cr_id": subject if is_of_cr else None,
            "content_hash": f"{snapshot_id:-<16}"[:16].encode().hex(),
            "slis": 3,
            **window,
        }
        self.say(SnapshotTaken(kind="benchmark", step_s=60, taken_at=self.now, **common), OPS)
        published = {"reason": "before the release", "published_at": self.now, "published_by": OPS, **common, **more}
        return self.say(BenchmarkPublished(**published), OPS)

    def evidence(self, cr_id: str, product_id: str) -> None:
        self.tests(cr_id, product_id, "regression")
        self.tests(cr_id, product_id, "integration", total=88, passed=88, skipped=0)
        self.code_review(cr_id, product_id)

    def deploy(self, cr_id: str, product_id: str, release_id: str | None = None, **more: Any) -> Event[Any]:
        said: dict[str, Any] = {
            "cr_id": cr_id,
            "product_id": product_id,
            "release_id": release_id,
            "deployment": 1,
            "revision": 1,
            "deployed_at": self.now,
            "reported_at": self.now,
            "deployer": DEPLOYER,
            "commit": COMMIT,
            **more,
        }
        return self.say(CRDeployed(**said), "local|argo", said["reported_at"])

    def observe(
        self,
        cr_id: str,
        product_id: str,
        outcome: str = "steady",
        *,
        kind: str = "after",
        comparisons: tuple[ComparedSLI, ...] | None = None,
        sentence: str = "",
        **more: Any,
    ) -> Event[Any]:
        snapshot_id = f"SNAP-{cr_id[3:]}-{kind}"
        hours = 24 if kind == "after" else 4
        taken: dict[str, Any] = {
            "subject": cr_id,
            "snapshot_id": snapshot_id,
            "kind": kind,
            "product_id": product_id,
            "cr_id": cr_id,
            "deployment": 1,
            "revision": 1,
            "window_start": self.now - hours * H,
            "window_end": self.now,
            "step_s": 60,
            "taken_at": self.now,
            "content_hash": "cd" * 16,
            "slis": 3,
        }
        self.say(SnapshotTaken(**taken), "daymark|snapshotter")
        said: dict[str, Any] = {
            "cr_id": cr_id,
            "product_id": product_id,
            "deployment": 1,
            "revision": 1,
            "kind": kind,
            "outcome": outcome,
            "sentence": sentence or f"All 3 SLIs that decide are {outcome}.",
            "comparisons": comparisons if comparisons is not None else steady(),
            "benchmark_id": "SNAP-1",
            "benchmark_hash": "ab" * 16,
            "snapshot_id": snapshot_id,
            "snapshot_hash": "cd" * 16,
            "judge_version": "0.1",
            "closed_at": self.now,
            **more,
        }
        return self.say(ObservationClosed(**said), "daymark|snapshotter")

    def deviate(
        self, cr_id: str, product_id: str, release_id: str | None, incident: str, case: str, investigation: str
    ) -> None:
        deviation_id = f"DEV-{cr_id}-1-1"
        self.say(
            DeviationDetected(
                deviation_id=deviation_id,
                cr_id=cr_id,
                product_id=product_id,
                release_id=release_id,
                deployment=1,
                revision=1,
                severity="critical",
                sli="latency-p99",
                title="Settlement latency p99",
                unit="ms",
                before=181.0,
                after=264.0,
                effect_relative=0.459,
                limit=27.2,
                since_at=self.now - 22 * H,
                slis_moved=1,
                slis_judged=3,
                sentence=MOVED,
                benchmark_id="SNAP-1",
                snapshot_id=f"SNAP-{cr_id[3:]}-after",
                detected_at=self.now,
            ),
            "daymark|snapshotter",
        )
        at = self.now
        opened: dict[str, Any] = {
            "product_id": product_id,
            "cr_id": cr_id,
            "severity": "critical",
            "origin": "deviation",
        }
        title = f"Settlement latency p99 moved after {cr_id}"
        self.say(
            IncidentOpened(incident_id=incident, title=title, deviation_id=deviation_id, opened_at=at, **opened),
            "daymark|incidents",
        )
        self.owe(product_id, incident, case, "Latency p99 stays under 210 ms at month-end load", at)
        self.say(
            InvestigationOpened(
                investigation_id=investigation,
                cr_id=cr_id,
                product_id=product_id,
                deployment=1,
                at=at,
                deviation_id=deviation_id,
                incident_id=incident,
                revision=1,
                severity="critical",
                owner_person=PTASK,
                because=MOVED,
                acknowledge_by=at + timedelta(minutes=15),
                explain_by=at + 2 * H,
                decide_by=at + 4 * H,
            ),
            "daymark|incidents",
        )

    def owe(
        self, product_id: str, incident: str, case: str, title: str, opened_at: datetime, release_id: str | None = None
    ) -> None:
        self.say(
            RegressionCaseOwed(
                case_id=case,
                incident_id=incident,
                product_id=product_id,
                title=title,
                release_id=release_id,
                revision=1,
                at=self.now,
                incident_opened_at=opened_at,
            ),
            "daymark|incidents",
        )

    def investigate(
        self, investigation: str, cr_id: str, product_id: str, decision: str | None = None, reason: str = ""
    ) -> None:
        common: dict[str, Any] = {
            "investigation_id": investigation,
            "cr_id": cr_id,
            "product_id": product_id,
            "deployment": 1,
            "by": PTASK,
        }
        self.after(0.1)
        self.say(InvestigationAcknowledged(at=self.now, **common), PTASK)
        self.after(1)
        explanation = "The new fraud check asks a cold cache on every settlement."
        self.say(InvestigationExplained(at=self.now, explanation=explanation, **common), PTASK)
        if decision:
            self.after(0.5)
            self.say(InvestigationDecided(at=self.now, decision=decision, reason=reason, **common), PTASK)  # type: ignore[arg-type]
            if decision == "rollback":
                self.say(RollbackRequested(at=self.now, reason=reason, **common), PTASK)

    def roll_back(self, cr_id: str, product_id: str) -> None:
        self.say(
            CRRolledBack(
                cr_id=cr_id,
                product_id=product_id,
                deployment=1,
                revision=1,
                rolled_back_at=self.now,
                reported_at=self.now,
                reason="Settlement latency",
            ),
            "local|argo",
        )


MOVED = "Settlement latency p99 moved: 181 -> 264 ms; a shift of 27.2 would have counted"


def compared(
    sli: str, title: str, unit: str, before: float, after: float, limit: float, outcome: str, **more: Any
) -> ComparedSLI:
    word = "moved" if outcome == "moved" else "stayed"
    said: dict[str, Any] = {
        "sentence": f"{title} {word}: {before:g} -> {after:g} {unit}; a shift of {limit:g} would have counted",
        "decides": True,
        "severity": "critical",
        "effect_relative": (after - before) / before,
        **more,
    }
    return ComparedSLI(
        sli=sli,
        title=title,
        unit=unit,
        outcome=outcome,
        before=before,
        after=after,
        limit=limit,
        **said,  # type: ignore[arg-type]
    )


def steady() -> tuple[ComparedSLI, ...]:
    return (
        compared("latency-p99", "Settlement latency p99", "ms", 181.0, 183.0, 27.2, "steady"),
        compared("error-rate", "Failed settlements", "%", 0.12, 0.11, 0.05, "steady"),
        compared("throughput", "Settled messages", "msg/s", 842.0, 851.0, 126.0, "steady", severity="major"),
    )


def moved() -> tuple[ComparedSLI, ...]:
    latency = compared("latency-p99", "Settlement latency p99", "ms", 181.0, 264.0, 27.2, "moved", view="level")
    return (latency, *steady()[1:])
