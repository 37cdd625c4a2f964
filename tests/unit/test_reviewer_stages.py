"""What was said before a deploy stays as it stood; the stage follows the life of a change; the gate is one answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from services.reviewer.console.steps import steps
from services.reviewer.domain import gate
from services.reviewer.domain.document import line
from services.reviewer.domain.dossier import assemble
from services.reviewer.domain.gate import Freshness
from services.reviewer.domain.stage import stage
from shared.contracts import (
    CRRegistered,
    CRRolledBack,
    CRWithdrawn,
    ObservationSuperseded,
    Policy,
    ReviewItem,
    SnapshotOverdue,
)
from tests.dossiers import codes, in_review, made, rolled_back
from tests.stories import COMMIT, OPS2, T0, H, Story, moved, policy, whole


def test_silence_after_the_policys_patience_needs_a_person_and_a_verdict_that_comes_all_the_same_ends_it() -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl")
    last = made(story).last
    assert last is not None
    over = last.deploy.deployed_at + 24 * H + timedelta(minutes=policy().observation.patience_min)
    assert stage(made(story), over - timedelta(seconds=1)) == "observing"
    assert stage(made(story), over) == "needs_person"
    story.after(30).observe("CR-1", "epl", "steady")
    assert stage(made(story), story.now) == "verified"


def test_patience_with_a_look_does_not_run_before_its_deploy_was_reported() -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    went_live = story.now
    story.after(30).deploy("CR-1", "epl", deployed_at=went_live)
    assert stage(made(story), story.now) == "observing"
    story.roll_back("CR-1", "epl", rolled_back_at=went_live + H)
    assert stage(made(story), story.now) == "recovering"
    assert stage(made(story), story.now + 24 * H) == "needs_person"


# -- after the deploy -------------------------------------------------------------------------------------------------


def test_what_was_said_before_a_rollback_is_no_work_on_the_next_attempt_whatever_clocks_say() -> None:
    story = in_review()
    story.evidence("CR-1", "epl")
    story.review("CR-1", "epl")
    went_live = story.now
    story.after(0.1).go("CR-1", "epl")  # meanwhile it had been deployed and rolled back, which was reported late
    story.tests("CR-1", "epl", run_at=went_live)
    story.after(0.1).deploy("CR-1", "epl", deployed_at=went_live)
    story.roll_back("CR-1", "epl", rolled_back_at=went_live)
    found = made(story)
    assert not found.has_reopened and stage(found, story.now) == "recovering"
    story.roll_back("CR-1", "epl", rolled_back_at=story.now + H, revision=2)  # corrected, by a clock that is ahead
    assert not made(story).has_reopened


def test_what_is_said_after_a_rollback_is_work_on_the_next_attempt_within_the_same_second_too() -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl")
    story.roll_back("CR-1", "epl", rolled_back_at=story.now + timedelta(seconds=1))  # rounded up
    assert stage(made(story), story.now + H) == "recovering"
    story.review("CR-1", "epl")
    found = made(story)
    assert found.has_reopened and stage(found, story.now) == "in_review"
    assert found.present == found.before


def test_a_withdrawal_that_came_after_an_unreported_deploy_is_no_breach_of_it_but_shown() -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    went_live = story.now
    story.after(2).say(CRWithdrawn(cr_id="CR-1", product_id="epl", reason="Not this month.", withdrawn_at=story.now))
    assert stage(made(story), story.now) == "withdrawn"
    story.after(1).deploy("CR-1", "epl", deployed_at=went_live)
    found = made(story)
    assert found.last is not None and stage(found, story.now) == "observing" and found.last.flags == ()
    assert "withdrawn when it was in production already" in found.last.not_known_then[-1].sentence


def test_what_was_said_stays_as_it_stood_when_it_was_deployed() -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    before = made(story).before
    story.deploy("CR-1", "epl")
    story.after(1).tests("CR-1", "epl", outcome="failed", failed=1, run_at=T0)
    story.code_review("CR-1", "epl", reviewed_at=T0)
    story.product(policy(enforcement="observe"))
    story.review("CR-1", "epl", "not_ready", by=OPS2, items=(ReviewItem(id="a", text="Late"),))
    after = made(story)
    assert (
        after.before.digest == before.digest and after.before.reviews == before.reviews and after.before.go == before.go
    )
    assert after.before.policy is not None and after.before.policy.enforcement == "enforce"
    assert after.last is not None and [word.what for word in after.last.not_known_then] == ["tests", "code_review"]
    assert after.last.flags == ()


def test_a_corrected_deploy_time_moves_what_was_known() -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl")
    early = T0 + timedelta(seconds=1)
    story.after(2).deploy("CR-1", "epl", revision=2, deployed_at=early)
    last = made(story).last
    assert last is not None and last.deploy.revision == 2 and len(last.deploy.corrected) == 1
    assert last.gate is None and not last.stood.reviews and last.stood.cr is None


def test_the_gate_that_was_never_asked_is_told_and_so_is_a_deploy_against_it() -> None:
    story = in_review()
    story.deploy("CR-1", "epl")
    assert made(story).last.flags == ("The gate was never asked before this deploy.",)  # type: ignore[union-attr]
    story = in_review()
    started_at = story.now
    story.after(0.01).ask_gate("CR-1", "epl")
    story.after(0.01).deploy("CR-1", "epl", deployed_at=started_at)
    assert "asked 36 s after" in made(story).last.flags[0]  # type: ignore[union-attr]
    story = in_review()
    assert not story.ask_gate("CR-1", "epl")
    story.deploy("CR-1", "epl", against_process=("withdrawn",), commit="other")
    last = made(story).last
    assert last is not None and last.gate is not None and not last.gate.go and len(last.flags) == 3


def test_after_a_rollback_the_next_attempt_needs_its_own_input() -> None:
    story = rolled_back()
    found = made(story)
    assert found.before.attempt == 2 and {"review_void", "go_void"} <= codes(found)
    assert found.present is found.last.stood  # type: ignore[union-attr]
    assert [review.counts for review in found.present.reviews] == [True]
    story.tests("CR-1", "epl", commit=COMMIT)
    assert made(story).present.attempt == 2 and stage(made(story), story.now) == "in_review"


# -- stage ------------------------------------------------------------------------------------------------------------


def stages(story: Story) -> str:
    return stage(made(story), story.now)


def test_the_stage_follows_the_life_of_a_change() -> None:
    story = Story()
    story.product(policy())
    story.register("CR-1", "epl", None, "One")
    assert stages(story) == "registered"
    story.evidence("CR-1", "epl")
    assert stages(story) == "in_review"
    story.benchmark("epl", "epl", "SNAP-1")
    story.review("CR-1", "epl")
    assert stages(story) == "in_review"
    story.go("CR-1", "epl")
    assert stages(story) == "ready"
    story.after(0.1).deploy("CR-1", "epl")
    assert stages(story) == "deployed"
    assert stages(story.after(1)) == "observing"
    story.after(23).observe("CR-1", "epl")
    assert stages(story) == "verified"


def test_the_stage_follows_a_deviation_to_its_end() -> None:
    seen: list[str] = []
    story = Story()
    for fact in rolled_back().events:
        story.events.append(fact)
        story.now = fact.time + timedelta(seconds=1)
        now = stages(story)
        if not seen or seen[-1] != now:
            seen.append(now)
    assert seen == [
        "registered", "in_review", "ready", "deployed", "observing", "deviating", "investigating", "recovering", "recovered",
    ]  # fmt: skip


@pytest.mark.parametrize("outcome", ["no_data", "inconclusive"])
def test_a_look_that_cannot_say_needs_a_person(outcome: str) -> None:
    story = in_review()
    story.deploy("CR-1", "epl")
    story.after(24).observe("CR-1", "epl", outcome)
    assert stages(story) == "needs_person"


def test_an_overdue_look_needs_a_person_until_it_is_there() -> None:
    story = in_review()
    story.deploy("CR-1", "epl")
    story.after(27)
    late: dict[str, Any] = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "revision": 1, "kind": "after"}
    story.say(SnapshotOverdue(**late, due_at=story.now - H, overdue_at=story.now, reason="prom does not answer"))
    assert stages(story) == "needs_person"
    story.observe("CR-1", "epl")
    assert stages(story) == "verified" and len(made(story).last.observations) == 1  # type: ignore[union-attr]


def test_a_superseded_verdict_stays_readable_and_decides_nothing() -> None:
    story = in_review()
    story.deploy("CR-1", "epl")
    story.after(24).observe("CR-1", "epl")
    story.deploy("CR-1", "epl", revision=2, deployed_at=story.now - 20 * H)
    gone: dict[str, Any] = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "revision": 1, "kind": "after"}
    story.say(ObservationSuperseded(**gone, reason="the deploy time was corrected", at=story.now))
    assert stages(story) == "observing"
    assert made(story).last.observations[0].superseded == "the deploy time was corrected"  # type: ignore[union-attr]


def test_a_rollback_that_does_not_come_back_needs_a_person() -> None:
    story = in_review()
    story.deploy("CR-1", "epl")
    story.after(2).roll_back("CR-1", "epl")
    assert stages(story) == "recovering"
    story.after(4).observe("CR-1", "epl", "moved", kind="recovery", comparisons=moved())
    assert stages(story) == "needs_person"


def test_kept_with_a_reason_is_an_end() -> None:
    story = in_review()
    story.deploy("CR-1", "epl")
    story.after(24).observe("CR-1", "epl", "moved", comparisons=moved())
    story.deviate("CR-1", "epl", None, "INC-1", "CASE-1", "INV-1")
    assert stages(story) == "deviating"
    story.investigate("INV-1", "CR-1", "epl", "keep", "Expected: twice the load.")
    assert stages(story) == "kept"


def test_facts_without_their_change_are_kept_as_a_stub() -> None:
    story = Story()
    story.deploy("CR-1", "epl")
    story.say(
        CRRolledBack(
            cr_id="CR-2", product_id="epl", deployment=1, revision=1, rolled_back_at=T0, reported_at=T0, reason="x"
        )
    )
    found = made(story)
    assert found.cr is None and found.withdrawn is None and stage(found, story.now) == "observing"
    assert {"not_registered", "no_policy", "deployed"} <= codes(found)
    assert stage(made(story, "CR-2"), story.now) == "registered"


# -- the gate ---------------------------------------------------------------------------------------------------------


def asked(story: Story, fresh: Freshness) -> gate.GateAnswer:
    return gate.answer(made(story), fresh, story.now)


def test_the_gate_is_open_when_nothing_is_missing_and_the_facts_are_fresh() -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    assert asked(story, Freshness(story.now)).go
    for stale in (
        Freshness(None),
        Freshness(story.now - timedelta(seconds=61)),
        Freshness(story.now, ["1 letter(s) of CR-1 are parked"]),
        Freshness(story.now, not_heard="some id"),
    ):
        answer = asked(story, stale)
        assert not answer.go and not answer.is_ready and len(answer.reasons) == 1


def test_without_a_policy_the_gate_is_shut() -> None:
    story = Story()
    story.register("CR-1", "epl", None, "One")
    answer = asked(story, Freshness(story.now))
    assert not answer.go and answer.enforcement == "enforce" and "no_policy" in {each.code for each in answer.reasons}


@pytest.mark.parametrize("enforcement", ["observe", "advise", "enforce"])
def test_only_enforce_blocks(enforcement: str) -> None:
    story = Story()
    story.product(policy(enforcement=enforcement))
    story.register("CR-1", "epl", None, "One")
    answer = asked(story, Freshness(story.now))
    assert not answer.is_ready and answer.go == (enforcement != "enforce")


def test_every_reason_is_a_code_and_one_plain_sentence() -> None:
    story = whole(T0 + timedelta(days=9))
    seen = set()
    for cr_id, product_id in _every_change(story):
        for reason in asked_of(story, cr_id, product_id).reasons:
            seen.add(reason.code)
            assert (
                reason.code.replace("_", "").isalpha() and reason.sentence[0].isupper() and len(reason.sentence) <= 600
            )
    assert len(seen) >= 8


def asked_of(story: Story, cr_id: str, product_id: str) -> gate.GateAnswer:
    return gate.answer(assemble(cr_id, product_id, story.known, story.now), Freshness(None), story.now)


def _every_change(story: Story) -> Iterable[tuple[str, str]]:
    return [(event.data.cr_id, event.data.product_id) for event in story.events if isinstance(event.data, CRRegistered)]


def test_a_policy_that_asks_for_nothing_asks_for_nothing() -> None:
    story = Story()
    rules = Policy.model_validate(
        {
            **policy().model_dump(),
            "evidence": {"regression": {"required": False}, "integration": {"required": False}, "code_review": False},
        }
    )
    story.product(rules)
    story.register("CR-1", "epl", None, "One")
    assert codes(made(story)) == {"benchmark_missing", "review_missing", "go_missing"}
    assert made(story).before.has_evidence


# -- the line that a page draws ----------------------------------------------------------------------------------------


def drawn(story: Story) -> Sequence[tuple[str, str]]:
    found = line(made(story), Freshness(story.now), story.now)
    return [(step.name, step.state) for step in steps(found)][4:]


def test_no_page_says_observed_or_deviated_of_what_nobody_could_see() -> None:
    story = in_review()
    story.deploy("CR-1", "epl")
    story.after(27)
    rest = [("Needs a person", "bad"), ("Decided", "todo")]
    assert drawn(story) == [("Not observed", "skipped"), *rest]  # silence
    story.observe("CR-1", "epl", "no_data")
    assert drawn(story) == [("Not observed", "skipped"), *rest]
    story.roll_back("CR-1", "epl")
    story.after(5).observe("CR-1", "epl", "moved", kind="recovery", comparisons=moved())
    assert drawn(story) == [("Rolled back", "done"), ("Needs a person", "bad"), ("Recovered", "todo")]
    unclear = in_review()
    unclear.deploy("CR-1", "epl")
    unclear.after(25).observe("CR-1", "epl", "inconclusive")
    assert drawn(unclear) == [("Observed", "done"), *rest]
    kept = in_review()
    kept.deploy("CR-1", "epl")
    kept.after(24).observe("CR-1", "epl", "moved", comparisons=moved())
    kept.deviate("CR-1", "epl", None, "INC-1", "CASE-1", "INV-1")
    kept.investigate("INV-1", "CR-1", "epl", "keep", "Expected: twice the load.")
    assert drawn(kept) == [("Deviated", "done"), ("Investigated", "done"), ("Kept", "now")]
