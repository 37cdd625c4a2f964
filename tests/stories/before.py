"""What is said before a deploy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import NAMESPACE_URL, uuid5

from services.reviewer.domain import gate
from services.reviewer.domain.dossier import assemble
from services.reviewer.domain.gate import Freshness
from services.reviewer.domain.known import Known, aggregate_of, known
from shared.contracts import (
    SLI,
    BenchmarkPublished,
    CodeReviewRecorded,
    CRRegistered,
    Event,
    Fact,
    GateAnswered,
    GoDecided,
    ItemAnswer,
    Policy,
    ProductChanged,
    ReleaseClosed,
    ReleaseFrozen,
    ReleasePlanned,
    ReviewAcknowledged,
    ReviewGiven,
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


class Before:
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

    def after(self, hours: float) -> Self:
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
