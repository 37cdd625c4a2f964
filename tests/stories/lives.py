"""Three changes of two products, of which everything is said that can be said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from shared.contracts import (
    AnchorChosen,
    BenchmarkDoubted,
    BenchmarkDrafted,
    BenchmarkExpired,
    BenchmarkHealth,
    BenchmarkPinned,
    CRChanged,
    CRWithdrawn,
    DeviationWithdrawn,
    EarlyLookTaken,
    IncidentClosed,
    InvestigationClosed,
    InvestigationEscalated,
    ObservationSuperseded,
    RegressionCaseGreen,
    RegressionCaseRed,
    ReviewRequested,
    ReviewVoided,
    SnapshotDelayed,
    SnapshotOverdue,
)
from tests.stories.before import COMMIT, OPS, OPS2, H, policy
from tests.stories.looks import moved
from tests.stories.production import Story

#: change request, its product, the stage it ends in
CRS = (("CR-1", "epl", "verified"), ("CR-2", "epl", "withdrawn"), ("CR-3", "epl-x", "recovered"))
CALM = BenchmarkHealth(state="good", sentence="Like the 7 days before it.", history_days=7)


def lives() -> Story:
    """Every type of fact at least once: what is added to the contracts and not here fails a test."""
    s = Story()
    s.product(policy())
    s.product(policy("epl-x", "EPL-X", "advise"))
    first = s.release("epl", "26.12", s.now + 48 * H)
    s.release("epl-x", "3.1", s.now + 48 * H)
    _register(s, first)
    _measure(s)
    _review(s)
    s.freeze("epl", "26.12", s.now)
    _correct(s, first)
    _fall_and_recover(s)
    s.product(policy(freshness_s=30))
    s.tests("CR-2", "epl")
    s.say(CRWithdrawn(cr_id="CR-2", product_id="epl", reason="next year", withdrawn_at=s.now))
    s.close("epl", "26.12", s.now)
    return s


def _register(s: Story, first: str) -> None:
    s.register("CR-1", "epl", first, "Tune the settlement queue")
    s.register("CR-2", "epl", first, "Faster export")
    s.register("CR-3", "epl-x", None, "Another pool")
    changed = s.state("CR-1", "epl", first, "Tune both settlement queues", {"changed": ("title",)})
    s.say(CRChanged(**changed), "local|edda")
    s.evidence("CR-1", "epl")
    s.evidence("CR-2", "epl")
    s.tests("CR-3", "epl-x", outcome="failed", failed=2, passed=407)


def _measure(s: Story) -> None:
    """A draft that is published, chosen as the anchor, pinned, let go of and doubted for a while."""
    window: dict[str, Any] = {"window_start": s.now - 25 * H, "window_end": s.now - H}
    s.say(
        BenchmarkDrafted(
            subject="epl", snapshot_id="SNAP-0", product_id="epl", cr_id=None, content_hash="ef" * 16, origin="pulled",
            reason="asked for", drafted_at=s.now, drafted_by=OPS, slis=3, health=CALM, **window,
        )
    )  # fmt: skip
    s.benchmark("epl", "epl", "SNAP-1", draft_id="SNAP-0", health=CALM)
    s.benchmark("CR-3", "epl-x", "SNAP-2")
    of_snap_1: dict[str, Any] = {"product_id": "epl", "snapshot_id": "SNAP-1"}
    s.say(
        AnchorChosen(
            content_hash="ab" * 16, instead_of=None, reason="a calm day", chosen_by=OPS, chosen_at=s.now,
            **of_snap_1, **window,
        ),
        OPS,
    )  # fmt: skip
    s.say(
        BenchmarkPinned(
            pin_id="PIN-1", content_hash="ab" * 16, published_at=s.now, published_by=OPS, reason="month end",
            pinned_at=s.now, pinned_by=OPS2, expires_at=s.now + 72 * H, **of_snap_1, **window,
        ),
        OPS2,
    )  # fmt: skip
    ended = {"because": "ended", "reason": "it is over", "by": OPS2, "at": s.now}
    s.say(BenchmarkExpired(pin_id="PIN-1", **of_snap_1, **ended), OPS2)
    for holds in (True, False):
        s.say(
            BenchmarkDoubted(
                observed="CR-9", deployment=1, holds=holds, sentence="CR-9 deviates.", at=s.now, **of_snap_1
            )
        )


def _review(s: Story) -> None:
    s.say(ReviewRequested(**s.seen("CR-2", "epl")))
    given = s.review("CR-2", "epl", "not_ready", items=[{"id": "backout", "text": "How long?"}])
    s.acknowledge("CR-2", "epl", given, {"backout": "Four minutes."})
    s.tests("CR-2", "epl", "integration", total=90, passed=90, skipped=0)
    seen = s.seen("CR-2", "epl")
    s.say(ReviewVoided(review_id=given, digest_now=seen["digest"], changed=("integration",), **seen))
    s.prepared("CR-1", "epl")
    s.prepared("CR-2", "epl")


def _correct(s: Story, first: str) -> None:
    """CR-1 seems to deviate; its deploy time was wrong, and all that followed from it is taken back."""
    s.after(1)
    s.deploy("CR-1", "epl", first)
    s.deploy("CR-3", "epl-x")
    s.after(0.5).deviate("CR-1", "epl", first, "INC-1", "CASE-1", "INV-1")
    s.after(0.5).deploy("CR-1", "epl", first, revision=2, deployed_at=s.now - timedelta(minutes=50))
    because = "the deploy time was corrected"
    about: dict[str, Any] = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "at": s.now}
    s.say(ObservationSuperseded(revision=1, kind="after", reason=because, **about))
    s.say(DeviationWithdrawn(revision=1, deviation_id="DEV-CR-1-1-1", reason=because, **about))
    s.say(InvestigationClosed(investigation_id="INV-1", reason=because, **about))
    s.say(
        IncidentClosed(incident_id="INC-1", product_id="epl", reason=because, is_withdrawn=True, closed_at=s.now),
        "daymark|incidents",
    )
    s.tests("CR-1", "epl", run_at=s.now - 5 * H)  # said after the deploy, of a run before it
    s.after(24)
    about = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "revision": 2}
    window: dict[str, Any] = {"window_start": s.now - 24 * H, "window_end": s.now - 23 * H, "looked_at": s.now - 23 * H}
    quiet = "Early, 60 min after the deploy: nothing gross in 3 SLIs so far."
    s.say(EarlyLookTaken(after_min=60, found="nothing", sentence=quiet, content_hash="cd" * 16, **window, **about))
    tried: dict[str, Any] = {"due_at": s.now - H, "tried_at": s.now - H, "tried_until": s.now}
    s.say(SnapshotDelayed(kind="after", reason="the source does not answer for 1 of 3 SLIs: x", **tried, **about))
    overdue: dict[str, Any] = {"due_at": s.now - H, "overdue_at": s.now, "reason": "1 of 3 SLIs: no answer"}
    s.say(SnapshotOverdue(cr_id="CR-1", product_id="epl", deployment=1, revision=2, kind="after", **overdue))
    s.observe("CR-1", "epl", "steady", revision=2)


def _fall_and_recover(s: Story) -> None:
    """CR-3 deviates, nobody looks for a while, it is rolled back, recovers, and its case is proven."""
    s.observe("CR-3", "epl-x", "moved", comparisons=moved())
    s.deviate("CR-3", "epl-x", None, "INC-2", "CASE-2", "INV-2")
    about = {"investigation_id": "INV-2", "cr_id": "CR-3", "product_id": "epl-x", "deployment": 1}
    late: dict[str, Any] = {"step": "acknowledge", "to": ("local|pia",), "channels": ("mail",)}
    s.after(0.3).say(InvestigationEscalated(due_at=s.now, at=s.now, **late, **about))
    s.investigate("INV-2", "CR-3", "epl-x", "rollback", "it was worse")
    s.roll_back("CR-3", "epl-x")
    s.after(4).observe("CR-3", "epl-x", "steady", kind="recovery")
    case: dict[str, Any] = {
        "case_id": "CASE-2", "incident_id": "INC-2", "product_id": "epl-x", "title": "Latency p99 stays under 210 ms",
        "release_id": "epl-x-3.1", "at": s.now,
    }  # fmt: skip
    s.say(RegressionCaseRed(commit=COMMIT, result_id="RES-1", revision=2, **case), "daymark|incidents")
    s.say(
        RegressionCaseGreen(commit="5e", result_id="RES-2", red_commit=COMMIT, revision=3, **case), "daymark|incidents"
    )
