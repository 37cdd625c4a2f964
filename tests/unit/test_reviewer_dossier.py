"""The dossier is a function of the set of facts: neither order of arrival nor repetition changes anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.reviewer.domain.document import dossier_document
from services.reviewer.domain.dossier import Dossier, assemble
from services.reviewer.domain.gate import Freshness
from services.reviewer.domain.known import Known
from services.reviewer.domain.stage import stage
from shared.contracts import (
    AlsoDeployed,
    BenchmarkDoubted,
    BenchmarkPinned,
    CRChanged,
    CRDeployed,
    CRRegistered,
    DeviationDetected,
    ObservationSuperseded,
    RegressionCaseGreen,
    RegressionCaseRed,
    ReviewItem,
    SnapshotOverdue,
    SnapshotTaken,
)
from shared.jsons import dumps
from tests.dossiers import codes, in_review, made, rolled_back
from tests.stories import AUTHOR, DEPLOYER, OPS, OPS2, PTASK, T0, H, Story, policy, whole

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


def test_a_benchmark_that_is_doubted_expired_or_stale_shuts_the_gate_under_its_own_name() -> None:
    story = Story()
    story.product(policy())
    story.register("CR-1", "epl", None, "One")
    made_at = story.benchmark("epl", "epl", "SNAP-1").data

    def against() -> set[str]:
        return {code for code in codes(made(story)) if code.startswith("benchmark")}

    assert against() == set()
    of: dict[str, Any] = {"product_id": "epl", "snapshot_id": "SNAP-1"}
    for holds in (True, False):
        story.say(
            BenchmarkDoubted(observed="CR-9", deployment=1, holds=holds, sentence="It moved", at=story.now, **of), OPS
        )
        assert against() == ({"benchmark_deviated"} if holds else set())
    window = {name: getattr(made_at, name) for name in ("window_start", "window_end", "content_hash")}
    story.say(
        BenchmarkPinned(
            pin_id="PIN-1", published_at=made_at.published_at, published_by=OPS, reason="month end", pinned_at=story.now,
            pinned_by=OPS2, expires_at=story.now + 3 * H, **window, **of,
        ),
        OPS2,
    )  # fmt: skip
    story.after(2)
    assert against() == set()
    story.after(2)
    assert against() == {"benchmark_expired"}
    story.benchmark("epl", "epl", "SNAP-2")
    assert against() == set()
    story.after(60)
    assert against() == {"benchmark_stale"}


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
