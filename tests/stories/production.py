"""What is said from the deploy on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from shared.contracts import (
    ComparedSLI,
    CRDeployed,
    CRRolledBack,
    DeviationDetected,
    Event,
    IncidentOpened,
    InvestigationAcknowledged,
    InvestigationDecided,
    InvestigationExplained,
    InvestigationOpened,
    ObservationClosed,
    RegressionCaseOwed,
    RollbackRequested,
    SnapshotTaken,
)
from tests.stories.before import COMMIT, DEPLOYER, PTASK, Before, H
from tests.stories.looks import MOVED, steady


class Story(Before):
    """Says facts in order, from the registration to the end."""

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
            self.say(InvestigationDecided(at=self.now, decision=decision, reason=reason, **common), PTASK)
            if decision == "rollback":
                self.say(RollbackRequested(at=self.now, reason=reason, **common), PTASK)

    def roll_back(self, cr_id: str, product_id: str, **more: Any) -> None:
        said: dict[str, Any] = {
            "cr_id": cr_id,
            "product_id": product_id,
            "deployment": 1,
            "revision": 1,
            "rolled_back_at": self.now,
            "reported_at": self.now,
            "reason": "Settlement latency",
            **more,
        }
        self.say(CRRolledBack(**said), "local|argo")
