"""Sets of facts as the four services would say them, without the services: for the reviewer's tests and screenshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from services.reviewer.domain import gate
from services.reviewer.domain.dossier import assemble
from services.reviewer.domain.gate import Freshness
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
    GateAnswered,
    GoDecided,
    IncidentOpened,
    InvestigationAcknowledged,
    InvestigationDecided,
    InvestigationExplained,
    InvestigationOpened,
    ItemAnswer,
    ObservationClosed,
    Policy,
    ProductChanged,
    RegressionCaseOwed,
    ReleaseClosed,
    ReleaseFrozen,
    ReleasePlanned,
    ReviewAcknowledged,
    ReviewGiven,
    ReviewItem,
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
    return Policy(id=product_id, name=name, enforcement=enforcement, slis=slis, **more)


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

    # -- operations and the PTASK engineer ------------------------------------------------------------------------

    def seen(self, cr_id: str, product_id: str) -> dict[str, Any]:
        """What somebody who looks at the dossier now is bound to."""
        before = assemble(cr_id, product_id, self.known, self.now).before
        return {
            "cr_id": cr_id,
            "product_id": product_id,
            "digest": before.digest,
            "parts": before.parts,
            "at": self.now,
        }

    def review(self, cr_id: str, product_id: str, verdict: str = "ready", comment: str = "", **more: Any) -> str:
        review_id = f"REV-{len(self.events)}"
        said: dict[str, Any] = {"by": OPS, "items": (), **more}
        self.say(
            ReviewGiven(review_id=review_id, verdict=verdict, comment=comment, **self.seen(cr_id, product_id), **said),
            said["by"],
        )
        return review_id

    def acknowledge(self, cr_id: str, product_id: str, review_id: str, answers: Mapping[str, str]) -> None:
        given = tuple(ItemAnswer(review_id=review_id, item_id=item, answer=answer) for item, answer in answers.items())
        seen = self.seen(cr_id, product_id)
        self.say(ReviewAcknowledged(review_id=review_id, by=PTASK, answers=given, **seen), PTASK)

    def go(self, cr_id: str, product_id: str, decision: str = "go", reason: str = "") -> None:
        seen = self.seen(cr_id, product_id)
        self.say(GoDecided(decision=decision, reason=reason, by=PTASK, **seen), PTASK)

    def ask_gate(self, cr_id: str, product_id: str) -> bool:
        found = gate.answer(assemble(cr_id, product_id, self.known, self.now), Freshness(self.now), self.now)
        self.say(
            GateAnswered(
                answer_id=f"GATE-{len(self.events)}",
                go=found.go,
                is_ready=found.is_ready,
                enforcement=found.enforcement,
                reasons=found.reasons,
                as_of=self.now,
                asked_by="local|argo",
                **self.seen(cr_id, product_id),
            ),
            "local|argo",
        )
        return found.go

    def prepared(self, cr_id: str, product_id: str) -> None:
        """Reviewed, decided, asked for: as the process wants it before a deploy."""
        self.review(cr_id, product_id, comment="Numbers are calm, backout rehearsed.")
        self.after(0.2).go(cr_id, product_id, reason="All evidence is green.")
        self.after(0.2).ask_gate(cr_id, product_id)
        self.after(0.05)

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
        **said,
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


def whole(now: datetime) -> Story:
    """A fortnight of three products, ending at `now`: verified, rolled back, deviating, observed, in review, owing."""
    story = Story(now - timedelta(days=9))
    story.product(policy("epl", "EPL"))
    story.product(policy("epl-x", "EPL-X"))
    story.product(policy("scp", "SCP", "observe"))
    old = story.release("epl", "26.11", now - timedelta(days=8))
    story.register("CR-1", "epl", old, "Raise the settlement batch size")
    story.evidence("CR-1", "epl")
    story.benchmark("epl", "epl", "SNAP-1")
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl", old)
    story.after(24.1).observe("CR-1", "epl")
    story.close("epl", "26.11", now - timedelta(days=8))

    story.now = now - timedelta(days=4)
    x = story.release("epl-x", "26.11.2", now - timedelta(days=3))
    story.register("CR-2", "epl-x", x, "Read reference rates from the new feed")
    story.register("CR-3", "epl-x", x, "Fraud check before every settlement")
    story.register("CR-4", "epl-x", x, "Retry a settlement that timed out")
    for cr_id in ("CR-2", "CR-3"):
        story.evidence(cr_id, "epl-x")
    story.benchmark("epl-x", "epl-x", "SNAP-2")
    story.prepared("CR-2", "epl-x")
    story.deploy("CR-2", "epl-x", x)
    ask = story.review(
        "CR-3",
        "epl-x",
        "not_ready",
        "The check is called once per message. I want to know what it costs at month-end.",
        items=(ReviewItem(id="load", text="What does the fraud check cost at month-end load?"),),
    )
    story.after(0.4).acknowledge("CR-3", "epl-x", ask, {"load": "2 ms on average in the load test of last Friday."})
    story.after(0.1).go("CR-3", "epl-x", reason="Answered; the fraud team waits for it.")
    story.after(0.1).ask_gate("CR-3", "epl-x")
    story.after(1).deploy("CR-3", "epl-x", x)
    story.now = now - timedelta(days=3) + H
    story.observe("CR-2", "epl-x")
    story.after(1)
    story.observe(
        "CR-3", "epl-x", "moved", comparisons=moved(), sentence="1 of 3 SLIs that decide moved: Settlement latency p99."
    )
    story.deviate("CR-3", "epl-x", x, "INC-1", "CASE-1", "INV-1")
    story.investigate("INV-1", "CR-3", "epl-x", "rollback", "The check needs a warm cache; we come back with one.")
    story.after(0.3).roll_back("CR-3", "epl-x")
    story.after(4.1).observe(
        "CR-3", "epl-x", kind="recovery", sentence="All 3 SLIs that decide are back at the benchmark."
    )
    following = story.release("epl-x", "26.12", now + timedelta(days=6))
    story.register("CR-7", "epl-x", following, "Fraud check with a warm cache")

    story.now = now - timedelta(hours=30)
    s = story.release("scp", "pilot-3", now - timedelta(hours=20))
    story.register("CR-5", "scp", s, "Shadow settlement for the new corridor", kind="standard")
    story.tests("CR-5", "scp")
    story.deploy("CR-5", "scp", s, deployed_at=now - timedelta(hours=20), reported_at=now - timedelta(hours=20))

    story.now = now - timedelta(hours=26)
    e = story.release("epl", "26.12", now + timedelta(days=1))
    story.register(
        "CR-6", "epl", e, "Tune the settlement queue", kind="normal", planned_start=now + timedelta(hours=22)
    )
    story.register("CR-8", "epl", e, "Drop the legacy report writer")
    story.register("CR-9", "epl", e, "Emergency: renew the queue certificate", kind="emergency")
    story.evidence("CR-9", "epl")
    story.benchmark("epl", "epl", "SNAP-9")
    story.prepared("CR-9", "epl")
    story.deploy("CR-9", "epl", e)
    story.now = now - timedelta(hours=5)
    story.evidence("CR-6", "epl")
    story.tests("CR-8", "epl", outcome="failed", total=412, passed=405, failed=4)
    story.tests("CR-8", "epl", "integration", total=80, passed=80, lost=8, skipped=0)
    story.evidence("CR-4", "epl-x")
    story.benchmark("epl-x", "epl-x", "SNAP-10")
    story.benchmark("epl", "epl", "SNAP-11")
    story.after(0.5).review(
        "CR-6",
        "epl",
        "need_more",
        "Nearly there.",
        items=(
            ReviewItem(id="backout", text="How long does the backout take at peak?"),
            ReviewItem(id="oncall", text="Who is on call on the night of the change?"),
        ),
    )
    story.now = now - timedelta(minutes=40)
    story.observe(
        "CR-9", "epl", "moved", comparisons=moved(), sentence="1 of 3 SLIs that decide moved: Settlement latency p99."
    )
    story.deviate("CR-9", "epl", e, "INC-2", "CASE-2", "INV-2")
    story.investigate("INV-2", "CR-9", "epl")
    story.events = [event for event in story.events if event.time <= now]
    return story
