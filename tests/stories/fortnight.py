"""A fortnight of three products, with everything in it that a page can show."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.contracts import (
    ReviewItem,
)
from tests.stories.before import H, policy
from tests.stories.looks import moved
from tests.stories.production import Story


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
