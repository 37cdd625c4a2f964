"""What is shown of a look before its answer: that it is due and waits for a source, and early looks that raised nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import pytest

from services.reviewer.console import words
from services.reviewer.domain.document import DeploymentDocument, dossier_document
from services.reviewer.domain.gate import Freshness
from services.reviewer.domain.stage import stage
from services.reviewer.domain.waiting import Waiting
from shared.contracts import EarlyLookTaken, ObservationKind, ObservationSuperseded, SnapshotDelayed, SnapshotOverdue
from tests.dossiers import in_review, made
from tests.stories import H, Story

NO_ANSWER = "the source does not answer for 1 of 3 SLIs: HTTP 503 (errors)"


def shown(story: Story) -> DeploymentDocument:
    return dossier_document(made(story), Freshness(None), story.now).deployments[-1]


def waited(story: Story) -> Waiting:
    found = shown(story).waiting
    assert found is not None
    return found


def deployed() -> Story:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl")
    return story


def delayed(
    story: Story, reason: str = NO_ANSWER, due_at: datetime | None = None, kind: ObservationKind = "after"
) -> None:
    due = due_at or story.now
    story.say(
        SnapshotDelayed(
            cr_id="CR-1", product_id="epl", deployment=1, revision=1, kind=kind, due_at=due, tried_at=story.now,
            tried_until=due + 2 * H, reason=reason,
        )
    )  # fmt: skip


def test_a_look_that_is_due_says_what_it_waits_for_and_until_when_until_it_ends() -> None:
    story = deployed()
    digest = made(story).before.digest
    due = story.after(24).now
    delayed(story, "the source does not answer for 3 of 3 SLIs: main cannot be reached (latency, errors, heap)")
    delayed(story.after(0.5), due_at=due)
    one = waited(story)
    assert (one.kind, one.state, stage(made(story), story.now)) == ("after", "due", "observing")
    until = due + 2 * H
    last = f"{until:%H:%M} UTC" if until.date() == due.date() else words.clock(until)
    assert one.sentence == (
        f"The after snapshot has been due since {words.clock(due)}: {NO_ANSWER}. It is tried until {last};"
        " then it is overdue."
    )
    assert one.delay is not None and one.delay.reason == NO_ANSWER and one.delay.tried_at >= due + 0.5 * H
    story.after(2)
    assert waited(story).state == "overdue" and stage(made(story), story.now) == "needs_person"
    assert NO_ANSWER in waited(story).sentence and "patience is over" in waited(story).sentence
    story.observe("CR-1", "epl")
    assert shown(story).waiting is None and stage(made(story), story.now) == "verified"
    assert made(story).deployments[-1].delays == () and made(story).before.digest == digest


@pytest.mark.parametrize("ended_by", ["overdue", "superseded", "corrected", "rolled_back"])
def test_what_a_look_waited_for_ends_with_the_look(
    ended_by: Literal["overdue", "superseded", "corrected", "rolled_back"],
) -> None:
    story = deployed()
    delayed(story.after(24))
    assert NO_ANSWER in waited(story).sentence
    about: dict[str, Any] = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "revision": 1, "kind": "after"}
    match ended_by:
        case "overdue":
            story.say(SnapshotOverdue(**about, due_at=story.now, overdue_at=story.now, reason="errors: no answer"))
        case "superseded":
            story.say(ObservationSuperseded(**about, reason="the deploy time was corrected", at=story.now))
        case "corrected":
            story.deploy("CR-1", "epl", revision=2, deployed_at=story.now - 20 * H)
        case "rolled_back":
            story.roll_back("CR-1", "epl")
    assert made(story).deployments[-1].delays == () and NO_ANSWER not in waited(story).sentence


def test_a_recovery_waits_for_its_source_as_well() -> None:
    story = deployed()
    story.after(2).roll_back("CR-1", "epl")
    delayed(story.after(4), kind="recovery")
    one = waited(story)
    assert (one.kind, one.state) == ("recovery", "due") and one.sentence.startswith(
        "The recovery snapshot has been due"
    )
    assert stage(made(story), story.now) == "recovering"


def test_quiet_early_looks_are_shown_and_pass_nothing() -> None:
    story = deployed()
    story.after(1)
    about: dict[str, Any] = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "revision": 1, "content_hash": "ab"}
    times = {"window_start": story.now - H, "window_end": story.now, "looked_at": story.now}
    for minutes, found in ((60, "nothing"), (15, "no_data")):
        sentence = f"Early, {minutes} min after the deploy: {found}."
        story.say(EarlyLookTaken(**about, **times, after_min=minutes, found=found, sentence=sentence))
    looks = shown(story).early_looks
    assert [(one.after_min, one.found, one.holds) for one in looks] == [(15, "no_data", True), (60, "nothing", True)]
    assert stage(made(story), story.now) == "observing" and waited(story).state == "to_come"
    assert "good" not in words.EARLY.values() and words.EARLY.keys() == {"nothing", "no_data"}
    story.deploy("CR-1", "epl", revision=2, deployed_at=story.now)
    assert [one.superseded for one in shown(story).early_looks] == ["the deploy time was corrected"] * 2
