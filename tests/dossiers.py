"""Dossiers made of a story's facts, as the reviewer makes them."""

from __future__ import annotations

from typing import Any

from services.reviewer.domain import gate
from services.reviewer.domain.dossier import Dossier, assemble
from tests.stories import T0, H, Story, moved, policy


def made(story: Story, cr_id: str = "CR-1", product_id: str = "epl") -> Dossier:
    return assemble(cr_id, product_id, story.known, story.now)


def codes(dossier: Dossier) -> set[str]:
    return {reason.code for reason in gate.missing(dossier)}


def in_review(**rules: Any) -> Story:
    story = Story()
    story.product(policy(**rules))
    story.release("epl", "26.12", T0 + 48 * H)
    story.register("CR-1", "epl", "epl-26.12", "Tune the settlement queue")
    story.evidence("CR-1", "epl")
    story.benchmark("epl", "epl", "SNAP-1")
    return story


def rolled_back() -> Story:
    """The whole life of one CR: reviewed, deployed, deviating, rolled back, recovered."""
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl")
    story.after(24.1).observe("CR-1", "epl", "moved", comparisons=moved())
    story.deviate("CR-1", "epl", "epl-26.12", "INC-1", "CASE-1", "INV-1")
    story.investigate("INV-1", "CR-1", "epl", "rollback", "Come back with a warm cache.")
    story.roll_back("CR-1", "epl")
    story.after(4).observe("CR-1", "epl", kind="recovery")
    return story
