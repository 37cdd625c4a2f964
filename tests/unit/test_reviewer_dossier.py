"""The dossier is a function of the set of facts: neither order of arrival nor repetition changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.reviewer.domain import gate
from services.reviewer.domain.document import dossier_document
from services.reviewer.domain.dossier import Dossier, assemble
from services.reviewer.domain.gate import Freshness
from services.reviewer.domain.known import Known
from services.reviewer.domain.stage import stage
from shared.contracts import (
    AlsoDeployed,
    CRChanged,
    CRDeployed,
    CRRegistered,
    CRRolledBack,
    CRWithdrawn,
    DeviationDetected,
    ObservationSuperseded,
    Policy,
    RegressionCaseGreen,
    RegressionCaseRed,
    ReviewItem,
    SnapshotOverdue,
    SnapshotTaken,
)
from shared.jsons import dumps
from tests.stories import AUTHOR, COMMIT, DEPLOYER, OPS, OPS2, PTASK, T0, H, Story, moved, policy, whole


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


# -- order ------------------------------------------------------------------------------------------------------------


def interleavings(keys: Sequence[Sequence[Known[Any]]]) -> Iterator[list[Known[Any]]]:
    """Every merge of these sequences that keeps the order within each."""
    if not any(keys):
        yield []
        return
    for number, key in enumerate(keys):
        if key:
            rest = [*keys[:number], key[1:], *keys[number + 1 :]]
            for tail in interleavings(rest):
                yield [key[0], *tail]


def said(dossier: Dossier) -> bytes:
    """Everything that is ever shown of a dossier, as bytes."""
    return dumps(dossier_document(dossier, Freshness(None), dossier.before.moment))


def test_every_interleaving_of_the_heart_facts_gives_the_same_dossier() -> None:
    story = rolled_back()
    heart = (CRRegistered, CRDeployed, SnapshotTaken, DeviationDetected)
    found = [fact for fact in story.known if isinstance(fact.data, heart)]
    rest = [fact for fact in story.known if not isinstance(fact.data, heart)]
    keys: dict[tuple[str, str], list[Known[Any]]] = {}
    for fact in found:
        keys.setdefault((fact.data.topic, fact.data.key), []).append(fact)
    expected = said(made(story))
    orders = list(interleavings(list(keys.values())))
    assert len(orders) == 180  # two of the CR, two of its snapshots, a benchmark, a deviation: 6! / (2! 2!)
    for order in orders:
        for facts in (order + rest, rest + order, order + rest + order):
            assert said(assemble("CR-1", "epl", facts, story.now)) == expected


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_order_and_any_repetition_of_all_facts_is_the_same_dossier(data: st.DataObject) -> None:
    story = _WHOLE
    facts = data.draw(st.permutations(story.known))
    again = data.draw(st.lists(st.sampled_from(story.known), max_size=30))
    for cr_id, product_id in (("CR-3", "epl-x"), ("CR-6", "epl")):
        here = [fact for fact in (*facts, *again) if getattr(fact.data, "product_id", product_id) == product_id]
        assert said(assemble(cr_id, product_id, here, story.now)) == _SAID[cr_id]


_WHOLE = whole(T0 + timedelta(days=9))
_SAID = {
    "CR-3": said(assemble("CR-3", "epl-x", _WHOLE.known, _WHOLE.now)),
    "CR-6": said(assemble("CR-6", "epl", _WHOLE.known, _WHOLE.now)),
}


def test_facts_of_other_changes_and_products_are_no_part_of_it() -> None:
    story = in_review()
    digest = made(story).before.digest
    story.product(policy("scp", "SCP"))
    story.register("CR-2", "epl", "epl-26.12", "Another")
    story.tests("CR-2", "epl", outcome="failed", failed=9)
    story.benchmark("CR-2", "epl", "SNAP-7")
    assert made(story).before.digest == digest


def test_time_that_passes_does_not_change_the_digest() -> None:
    story = in_review()
    digest = made(story).before.digest
    story.after(500)
    assert made(story).before.digest == digest and "tests_too_old" in codes(made(story))


@pytest.mark.parametrize("what", ["tests", "code_review", "benchmark", "change_request", "policy", "debt"])
def test_each_part_of_the_dossier_changes_the_digest_and_voids_the_input(what: str) -> None:
    story = in_review()
    story.review("CR-1", "epl")
    story.go("CR-1", "epl")
    assert made(story).before.reviews[0].counts and made(story).before.go.counts  # type: ignore[union-attr]
    match what:
        case "tests":
            story.tests("CR-1", "epl", "other")
        case "code_review":
            story.code_review("CR-1", "epl")
        case "benchmark":
            story.benchmark("CR-1", "epl", "SNAP-2")
        case "change_request":
            story.say(CRChanged(**story.state("CR-1", "epl", "epl-26.12", "Renamed", {}), changed=("title",)))
        case "policy":
            story.product(policy(freshness_s=61))
        case "debt":
            story.owe("epl", "INC-9", "CASE-9", "Something", story.now)
    before = made(story).before
    assert before.reviews[0].changed == (what,) and not before.reviews[0].counts
    assert before.go is not None and not before.go.counts and before.go.changed == (what,)
    assert {"review_void", "go_void"} <= codes(made(story))


# -- waiting ----------------------------------------------------------------------------------------------------------


def waited(story: Story) -> tuple[str, str, str] | None:
    """(kind, state, sentence) of the look that CR-1's last deployment waits for."""
    found = dossier_document(made(story), Freshness(None), story.now).deployments[-1].waiting
    return None if found is None else (found.kind, found.state, found.sentence)


def test_a_deployment_waits_for_its_look_until_there_is_an_answer_and_silence_is_said() -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl")
    assert waited(story)[:2] == ("after", "to_come")  # type: ignore[index]
    story.after(24.5)
    assert waited(story)[:2] == ("after", "due")  # type: ignore[index]
    story.after(3)  # the policy's patience is two hours, and nobody said a word
    kind, state, sentence = waited(story) or ("", "", "")
    assert (kind, state) == ("after", "overdue") and "nothing has been heard of it" in sentence
    story.observe("CR-1", "epl", "no_data")
    assert waited(story) is None
    story.roll_back("CR-1", "epl")
    assert waited(story)[:2] == ("recovery", "to_come")  # type: ignore[index]


def test_a_verdict_that_was_overdue_says_so_and_names_who_else_was_deployed() -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl")
    story.after(26)
    about: dict[str, Any] = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "revision": 1, "kind": "after"}
    story.say(SnapshotOverdue(**about, due_at=story.now - 2 * H, overdue_at=story.now, reason="errors: source is down"))
    assert waited(story)[:2] == ("after", "overdue")  # type: ignore[index]
    other = AlsoDeployed(change_request="CR-2", deployment=1, deployed_at=story.now - 5 * H)
    story.observe("CR-1", "epl", "no_data", also_deployed=(other,))
    (look,) = made(story).deployments[-1].observations
    assert look.overdue == "errors: source is down" and look.also_deployed == (other,) and waited(story) is None


def test_a_look_that_was_armed_again_holds_with_its_later_verdict() -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl")
    story.after(25)
    about: dict[str, Any] = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "revision": 1, "kind": "after"}
    story.say(ObservationSuperseded(**about, reason="rolled back at 2 h", at=story.now))
    story.observe("CR-1", "epl", "steady")
    (look,) = made(story).deployments[-1].observations
    assert look.holds and look.outcome == "steady"


# -- evidence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"outcome": "failed", "failed": 2}, "tests_failed"),
        ({"outcome": "empty", "total": 0, "passed": 0, "skipped": 0}, "tests_empty"),
        ({"total": 5, "passed": 0, "skipped": 5}, "tests_empty"),
        ({"outcome": "inconsistent", "problems": ("counts differ",)}, "tests_inconsistent"),
        ({"lost": 1}, "tests_lost"),
        ({"run_at": T0 - 80 * H}, "tests_too_old"),
        ({"run_at": T0 + 80 * H}, "tests_in_future"),
        ({"commit": "0000000"}, "tests_wrong_commit"),
        ({"commit": None}, "tests_wrong_commit"),
    ],
)
def test_a_suite_that_does_not_prove_it_is_missing_with_its_reason(result: dict[str, Any], code: str) -> None:
    story = Story()
    story.product(policy())
    story.register("CR-1", "epl", None, "One")
    story.tests("CR-1", "epl", "integration")
    story.tests("CR-1", "epl", "regression", **result)
    found = next(suite for suite in made(story).before.tests if suite.kind == "regression")
    assert found.code == code and found.state in ("missing", "failed") and found.sentence.endswith(".")
    assert code in codes(made(story))


def test_an_old_run_that_is_recorded_late_hides_nothing() -> None:
    story = in_review()
    story.tests("CR-1", "epl", outcome="failed", failed=1)
    story.tests("CR-1", "epl", run_at=T0 - H)
    assert "tests_failed" in codes(made(story))


def test_a_change_that_names_no_commit_takes_the_results_it_is_given() -> None:
    story = Story()
    story.product(policy())
    story.register("CR-1", "epl", None, "One", commit=None)
    story.evidence("CR-1", "epl")
    assert not [code for code in codes(made(story)) if code.startswith("tests")]


def test_a_benchmark_counts_only_when_it_was_published_before_and_is_young_and_whole() -> None:
    story = Story()
    story.product(policy())
    story.register("CR-1", "epl", None, "One")
    assert "benchmark_missing" in codes(made(story))
    story.benchmark("epl", "epl", "SNAP-1", missing=({"sli": "error-rate", "reason": "source down"},))
    assert "benchmark_incomplete" in codes(made(story))
    story.benchmark("CR-1", "epl", "SNAP-2")
    assert made(story).before.benchmark.state == "counts"
    story.after(60)
    assert made(story).before.benchmark.state == "stale"


def test_a_benchmark_after_the_deploy_is_late_and_never_counts() -> None:
    story = Story()
    story.product(policy())
    story.register("CR-1", "epl", None, "One")
    story.deploy("CR-1", "epl")
    story.after(1).benchmark("epl", "epl", "SNAP-1")
    assert made(story).before.benchmark.state == "late" and "benchmark_late" in codes(made(story))


def test_a_benchmark_of_the_author_or_the_deployer_does_not_count_and_the_one_before_it_does() -> None:
    story = Story()
    story.product(policy())
    story.register("CR-1", "epl", None, "One", author="local|olga")
    story.benchmark("epl", "epl", "SNAP-1", published_by="local|Olga")
    before = made(story).before.benchmark
    assert before.state == "missing" and "local|olga, who authored CR-1" in before.sentence
    assert "benchmark_missing" in codes(made(story))
    story.benchmark("epl", "epl", "SNAP-2", published_by="local|omar")
    story.benchmark("CR-1", "epl", "SNAP-3", published_by="local|olga")
    before = made(story).before.benchmark
    assert (before.state, before.snapshot_id) == ("counts", "SNAP-2")


def test_that_the_deployer_made_the_benchmark_is_shown_when_it_is_heard_and_voids_no_input() -> None:
    story = in_review()
    story.review("CR-1", "epl")
    digest = made(story).before.digest
    story.deploy("CR-1", "epl", deployer=OPS)
    stood = made(story).before
    assert stood.benchmark.state == "missing" and "who deployed CR-1" in stood.benchmark.sentence
    assert stood.digest == digest


def test_debt_counts_until_it_is_proven_and_only_from_before_the_freeze() -> None:
    story = in_review()
    opened = story.now
    story.owe("epl", "INC-1", "CASE-1", "One", opened, "epl-26.12")
    story.freeze("epl", "26.12", T0 + 48 * H)
    story.owe("epl", "INC-2", "CASE-2", "Two", story.now + H)
    cases = {case.case_id: case for case in made(story).before.debt}
    assert cases["CASE-1"].counts and not cases["CASE-2"].counts
    common: dict[str, Any] = {
        "case_id": "CASE-1",
        "incident_id": "INC-1",
        "product_id": "epl",
        "title": "One",
        "release_id": "epl-26.12",
        "result_id": "RES-1",
    }
    story.say(RegressionCaseRed(**common, revision=2, at=story.now, commit="bad"))
    assert "debt_open" in codes(made(story))
    story.say(RegressionCaseGreen(**common, revision=3, at=story.now, commit="good", red_commit="bad"))
    assert "debt_open" not in codes(made(story))
    assert [case.state for case in made(story).before.debt if case.case_id == "CASE-1"] == ["green"]


# -- people -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "who", [AUTHOR, PTASK, DEPLOYER, "local|servicenow", "local|argo", "LOCAL|Edda", f"ldap{AUTHOR[5:]}"]
)
def test_who_had_a_hand_in_the_change_does_not_count_even_when_it_is_heard_later(who: str) -> None:
    story = in_review()
    story.review("CR-1", "epl", by=who.casefold())
    story.deploy("CR-1", "epl")
    review = made(story).before.reviews[0]
    assert not review.counts and "does not count" in review.why_not
    assert ("named as" in review.why_not) == who.startswith("ldap")  # another who vouches for the name, the same person


def test_an_author_of_any_revision_is_an_author() -> None:
    story = in_review()
    changed = story.state("CR-1", "epl", "epl-26.12", "Handed over", {"author": OPS})
    story.say(CRChanged(**changed, changed=("author",)))
    changed = story.state("CR-1", "epl", "epl-26.12", "Handed back", {})
    story.say(CRChanged(**changed, changed=("author",)))
    story.review("CR-1", "epl", by=OPS)
    story.review("CR-1", "epl", by=OPS2)
    assert [review.counts for review in made(story).before.reviews] == [False, True]


def test_the_last_input_of_a_person_counts_and_one_no_is_enough() -> None:
    story = in_review()
    item = (ReviewItem(id="a", text="Why?"),)
    first = story.review("CR-1", "epl", "not_ready", items=item)
    story.review("CR-1", "epl", "ready", by=OPS2)
    assert "review_not_ready" in codes(made(story)) and stage(made(story), story.now) == "not_ready"
    story.acknowledge("CR-1", "epl", first, {"a": "Because."})
    assert "review_not_ready" not in codes(made(story))
    story.review("CR-1", "epl", "ready")
    assert [review.counts for review in made(story).before.reviews] == [False, True, True]


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
