"""What may happen to incidents, regression cases and investigations: the rules, without any I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import pytest

from services.incidents import domain
from services.incidents.domain import (
    CASE_MOVES,
    MOVES,
    STEPS,
    Case,
    CaseState,
    Incident,
    Investigation,
    InvestigationState,
    Release,
)
from shared.contracts import (
    Clock,
    IncidentClosed,
    IncidentOpened,
    InvestigationClosed,
    InvestigationDecided,
    InvestigationEscalated,
    RegressionCaseGreen,
    RegressionCaseOwed,
    RegressionCaseRed,
    RollbackRequested,
)
from shared.errors import Conflict, Forbidden

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CLOCK = Clock(acknowledge_min=15, explain_min=120, decide_min=240, channels=("oncall",), escalate_to=("lead",))
STATES: tuple[InvestigationState, ...] = get_args(InvestigationState)
PIA = "local|pia"


def investigation(**differs: Any) -> Investigation:
    acknowledge_by, explain_by, decide_by = domain.deadlines(NOW, CLOCK)
    made = Investigation(
        id="INV-1", cr_id="CR-1", product_id="epl", deployment=1, revision=1, kind="deviation", deviation_id="DEV-CR-1-1-1",
        incident_id="INC-1", severity="critical", owner=PIA, because="It rose.", state="opened", opened_at=NOW,
        acknowledge_by=acknowledge_by, explain_by=explain_by, decide_by=decide_by, policy_version="v", version=1,
    )  # fmt: skip
    return replace(made, **differs)


def case(**differs: Any) -> Case:
    return replace(Case("CASE-1", "INC-1", "epl", "Stays fast", "epl-1", "owed", NOW, version=1), **differs)


def incident(**differs: Any) -> Incident:
    return replace(Incident("INC-1", "epl", None, "Slow", "", "major", "person", None, NOW), **differs)


def do(what: str, on: Investigation) -> Investigation:
    """The happening, by whoever may; the value after it."""
    acts: dict[str, Any] = {
        "acknowledge": lambda: domain.acknowledge(on, PIA, NOW),
        "explain": lambda: domain.explain(on, PIA, "because", NOW),
        "keep": lambda: domain.decide(on, PIA, "keep", "known", NOW),
        "rollback": lambda: domain.decide(on, PIA, "rollback", "worse", NOW),
    }
    moved: Investigation = acts[what]()[0]
    return moved


# -- investigations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "what"), list(product(STATES, ("acknowledge", "explain", "keep", "rollback"))))
def test_an_investigation_moves_as_its_table_says_and_in_no_other_way(state: InvestigationState, what: str) -> None:
    there = investigation(state=state)
    if (state, what) in MOVES:
        assert do(what, there).state == MOVES[state, what]
    else:
        with pytest.raises(Conflict):
            do(what, there)


def test_every_state_can_be_reached_and_the_two_ends_have_no_way_out() -> None:
    assert set(MOVES.values()) | {"opened"} == set(STATES)
    assert {state for state in STATES if not any(before == state for before, _ in MOVES)} == {"decided", "closed"}


def test_keeping_needs_an_explanation_and_a_rollback_does_not() -> None:
    with pytest.raises(Conflict, match="must be explained"):
        do("keep", investigation())
    with pytest.raises(Conflict, match="must be explained"):
        do("keep", do("acknowledge", investigation()))
    assert do("keep", do("explain", investigation())).decision == "keep"
    assert do("rollback", investigation()).decision == "rollback"


def test_only_the_ptask_engineer_of_the_change_decides_whatever_the_state() -> None:
    for state in STATES:
        with pytest.raises(Forbidden, match=r"Only local\|pia"):
            domain.decide(investigation(state=state), "local|paul", "rollback", "r", NOW)
    with pytest.raises(Forbidden, match="names no PTASK engineer"):
        domain.decide(investigation(owner=None), PIA, "rollback", "r", NOW)


def test_a_rollback_is_decided_and_requested_in_two_facts_with_their_own_sequence() -> None:
    moved, facts = domain.decide(investigation(version=4), PIA, "rollback", "worse", NOW)
    assert [type(fact) for fact in facts] == [InvestigationDecided, RollbackRequested]
    assert moved.version == 4 + len(facts) and moved.decided_by == PIA
    kept, facts = domain.decide(investigation(state="explained", version=4), PIA, "keep", "known", NOW)
    assert [type(fact) for fact in facts] == [InvestigationDecided] and kept.version == 5


def test_explaining_acknowledges_and_keeps_who_acknowledged_before() -> None:
    at_once, _ = domain.explain(investigation(), "local|eli", "because", NOW)
    assert (at_once.acknowledged_by, at_once.explained_by) == ("local|eli", "local|eli")
    taken, _ = domain.acknowledge(investigation(), PIA, NOW)
    after, _ = domain.explain(taken, "local|eli", "because", NOW + MINUTE)
    assert (after.acknowledged_by, after.acknowledged_at, after.explained_by) == (PIA, NOW, "local|eli")


def test_closing_ends_what_is_open_and_leaves_what_has_ended_as_it_is() -> None:
    for state in STATES:
        there = investigation(state=state)
        moved, facts = domain.close(there, "withdrawn", NOW)
        if state in ("decided", "closed"):
            assert moved is there and facts == []
        else:
            assert moved.state == "closed" and [type(fact) for fact in facts] == [InvestigationClosed]


# -- clocks -------------------------------------------------------------------------------------------------------


def test_all_three_clocks_run_from_the_opening() -> None:
    assert domain.deadlines(NOW, CLOCK) == (NOW + 15 * MINUTE, NOW + 120 * MINUTE, NOW + 240 * MINUTE)
    assert [domain.due(investigation(), step) for step in STEPS] == list(domain.deadlines(NOW, CLOCK))


@pytest.mark.parametrize("step", STEPS)
def test_a_missed_step_is_escalated_once_to_whom_the_policy_names(step: Any) -> None:
    missed, (fact,) = domain.escalate(investigation(), step, CLOCK, NOW)
    assert isinstance(fact, InvestigationEscalated)
    assert (fact.step, fact.to, fact.channels, fact.due_at) == (step, ("lead",), ("oncall",), domain.due(missed, step))
    assert missed.escalated == (step,) and domain.escalate(missed, step, CLOCK, NOW) == (missed, [])


def test_what_was_done_is_not_escalated() -> None:
    acknowledged = do("acknowledge", investigation())
    explained = do("explain", investigation())
    ended = do("rollback", investigation())
    done = {
        step: [domain.is_done(one, step) for one in (investigation(), acknowledged, explained, ended)] for step in STEPS
    }
    assert done == {
        "acknowledge": [False, True, True, True],
        "explain": [False, False, True, True],
        "decide": [False, False, False, True],
    }
    assert domain.escalate(acknowledged, "acknowledge", CLOCK, NOW)[1] == []
    assert domain.escalate(domain.close(investigation(), "r", NOW)[0], "decide", CLOCK, NOW)[1] == []


def test_no_answer_is_as_grave_as_the_gravest_question_that_decides() -> None:
    from shared.contracts import ComparedSLI

    def one(severity: Any, outcome: Any, decides: bool = True) -> ComparedSLI:
        return ComparedSLI(
            sli="x", title="X", unit="ms", outcome=outcome, sentence="s", severity=severity, decides=decides
        )

    assert domain.unanswered(()) == "critical"
    assert domain.unanswered((one("minor", "no_data"), one("critical", "steady"))) == "minor"
    assert domain.unanswered((one("minor", "no_data"), one("critical", "inconclusive", False))) == "minor"
    assert domain.unanswered((one("major", "no_data"), one("critical", "inconclusive"))) == "critical"


# -- incidents and cases ------------------------------------------------------------------------------------------


def test_an_incident_opens_and_closes_once() -> None:
    opened, (said,) = domain.open_incident(incident())
    assert isinstance(said, IncidentOpened) and opened.version == 1
    closed, (end,) = domain.close_incident(opened, "mended", NOW)
    assert isinstance(end, IncidentClosed) and not end.is_withdrawn and closed.version == 2
    with pytest.raises(Conflict):
        domain.close_incident(closed, "again", NOW)


@pytest.mark.parametrize(
    ("state", "outcome"), list(product(get_args(CaseState), ("passed", "failed", "skipped", "error")))
)
def test_a_case_moves_only_from_owed_to_red_to_green(state: CaseState, outcome: str) -> None:
    there = case(state=state, red_commit="bad" if state != "owed" else None)
    seen, facts = domain.see_case(there, outcome, commit="good", result_id="RES-1", now=NOW)
    wanted = CASE_MOVES.get((state, outcome))
    if wanted is None:
        assert seen is there and facts == []
    else:
        kind = RegressionCaseRed if wanted == "red" else RegressionCaseGreen
        assert seen.state == wanted and [type(fact) for fact in facts] == [kind]
        assert facts[0].revision == seen.version == there.version + 1  # type: ignore[attr-defined]


def test_the_same_commit_that_fails_and_passes_proves_nothing() -> None:
    red, _ = domain.see_case(case(), "failed", commit="bad", result_id="RES-1", now=NOW)
    assert domain.see_case(red, "passed", commit="bad", result_id="RES-2", now=NOW) == (red, [])
    green, (fact,) = domain.see_case(red, "passed", commit="good", result_id="RES-3", now=NOW)
    assert isinstance(fact, RegressionCaseGreen) and (fact.red_commit, fact.commit) == ("bad", "good")
    assert (green.red_result, green.green_result) == ("RES-1", "RES-3")


def test_a_run_of_nothing_named_and_a_withdrawn_case_prove_nothing() -> None:
    assert domain.see_case(case(), "failed", commit=None, result_id="RES-1", now=NOW)[1] == []
    assert domain.see_case(case(is_withdrawn=True), "failed", commit="bad", result_id="RES-1", now=NOW)[1] == []


def test_a_case_is_owed_again_only_when_its_release_changes() -> None:
    fresh, (first,) = domain.owe(case(version=0, release_id=None), "epl-1", NOW)
    assert isinstance(first, RegressionCaseOwed) and first.release_id == "epl-1" and first.revision == 1
    assert domain.owe(fresh, "epl-1", NOW) == (fresh, [])
    moved, (again,) = domain.owe(fresh, "epl-2", NOW)
    assert again.revision == 2 and moved.release_id == "epl-2"  # type: ignore[attr-defined]
    _, (alone,) = domain.owe(case(version=0, release_id=None), None, NOW)
    assert alone.release_id is None  # type: ignore[attr-defined]


def test_debt_is_owed_by_the_first_planned_release_that_is_not_frozen() -> None:
    day = timedelta(days=1)
    releases = [
        Release("c", "epl", NOW + 3 * day, "planned"),
        Release("a", "epl", NOW + day, "frozen"),
        Release("b", "epl", NOW + 2 * day, "planned"),
        Release("z", "epl", NOW, "closed"),
    ]
    assert domain.owing_release(releases) == "b"
    assert domain.owing_release(releases[::-1]) == "b"
    assert domain.owing_release([releases[1], releases[3]]) is None
    assert domain.owing_release([Release("y", "epl", NOW, "planned"), Release("x", "epl", NOW, "planned")]) == "x"
