"""Intake's rules without any I/O."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.intake import domain
from services.intake.domain.change_requests import State
from shared.contracts import Policy
from shared.contracts.inbound import INBOUND, ChangeCR, InboundDeployed, RegisterCR, ReportDeployed, ReportRolledBack
from shared.errors import Conflict, DaymarkError, Forbidden, Invalid, Stale

T0 = datetime(2026, 11, 23, 9, tzinfo=UTC)
H = timedelta(hours=1)
STATES: tuple[State, ...] = ("registered", "deployed", "rolled_back", "withdrawn")


def a_cr(**differs: Any) -> domain.CR:
    command = RegisterCR(product="epl", source="s", external_id="1", title="t", author="emil", ptask="pia", **differs)
    return domain.numbered(domain.draft(command, "local|ci", T0), "CR-1")


def deploy(cr: domain.CR, hours: float, **more: Any) -> domain.CR:
    at = T0 + hours * H
    return domain.deployed(cr, ReportDeployed(deployed_at=at, **more), "local|ci", at + H)[0]


def roll_back(cr: domain.CR, hours: float, **more: Any) -> domain.CR:
    at = T0 + hours * H
    return domain.rolled_back(cr, ReportRolledBack(rolled_back_at=at, reason="x", **more), at + H)[0]


# -- moves ------------------------------------------------------------------------------------------------------------


def test_a_deployment_has_a_way_out_of_every_state() -> None:
    assert all((state, "deployed") in domain.MOVES for state in STATES)


def test_every_state_can_be_reached_and_every_move_ends_in_a_state() -> None:
    assert set(domain.MOVES.values()) == set(STATES) == {state for state, _ in domain.MOVES}
    assert set(domain.RELEASE_MOVES.values()) == {"frozen", "closed"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("deployed", "rolled_back", "withdraw", "change")),
            st.integers(0, 6),
            st.one_of(st.none(), st.integers(1, 4)),
        ),
        max_size=14,
    )
)
def test_whatever_is_said_versions_count_facts_and_deployments_are_numbered_without_gaps(
    said: list[tuple[str, int, int | None]],
) -> None:
    cr, now, facts = a_cr(), T0 + 10 * H, 0
    for what, hours, number in said:
        at = T0 + hours * H
        try:
            if what == "deployed":
                cr, new = domain.deployed(cr, ReportDeployed(deployed_at=at, deployment=number), "local|ci", now)
            elif what == "rolled_back":
                report = ReportRolledBack(rolled_back_at=at, reason="x", deployment=number)
                cr, new = domain.rolled_back(cr, report, now)
            elif what == "withdraw":
                cr, new = domain.withdraw(cr, "x", now)
            else:
                cr, new = domain.change(cr, ChangeCR(title=f"t{hours}"), now, is_held=False)
            facts += len(new)
        except (Conflict, Invalid):
            assert what != "deployed" or number is not None, "a deployer's plain report is never refused"
    assert cr.version == 1 + facts
    assert [one.deployment for one in cr.deployments] == list(range(1, len(cr.deployments) + 1))
    for back in cr.rollbacks:
        there = cr.deployment(back.deployment)
        assert there is not None and there.deployed_at <= back.rolled_back_at
    if cr.deployments:
        is_back = cr.rollback(cr.deployments[-1].deployment) is not None
        assert cr.state == ("rolled_back" if is_back else "deployed")


# -- deployments --------------------------------------------------------------------------------------------------------


def test_a_time_before_the_rollback_is_about_what_was_rolled_back() -> None:
    cr = roll_back(deploy(a_cr(), 1), 3)
    assert deploy(cr, 1) is cr
    assert [(one.deployment, one.revision) for one in deploy(cr, 2).deployments] == [(1, 2)]
    assert [(one.deployment, one.revision) for one in deploy(cr, 4).deployments] == [(1, 1), (2, 1)]


def test_a_correction_keeps_what_it_does_not_say() -> None:
    cr = deploy(a_cr(), 1, commit="c1", deployer="dora")
    assert deploy(cr, 1, commit="c1") is cr
    corrected = deploy(cr, 2).deployments[0]
    assert (corrected.revision, corrected.commit, corrected.deployer) == (2, "c1", "local|dora")


def test_a_deployment_ahead_of_time_is_no_fact_but_a_clock_may_be_a_little_fast() -> None:
    report = ReportDeployed(deployed_at=T0 + timedelta(minutes=4))
    assert domain.deployed(a_cr(), report, "x|y", T0)[0].state == "deployed"
    with pytest.raises(Invalid):
        domain.deployed(a_cr(), ReportDeployed(deployed_at=T0 + timedelta(minutes=6)), "x|y", T0)


def test_a_rollback_without_a_deployment_cannot_be() -> None:
    with pytest.raises(Conflict):
        roll_back(a_cr(), 1)


def test_what_was_withdrawn_and_went_out_anyway_says_so_through_corrections() -> None:
    cr = deploy(domain.withdraw(a_cr(), "x", T0)[0], 1)
    assert deploy(cr, 2).deployments[0].against_process == ("withdrawn",)
    again = deploy(roll_back(cr, 3), 4)  # nobody took the withdrawal back
    assert again.deployments[1].against_process == ("withdrawn",)


def test_a_deploy_before_the_withdrawal_is_not_against_it_however_late_it_is_reported() -> None:
    cr = domain.withdraw(a_cr(), "x", T0 + 2 * H)[0]
    late = deploy(cr, 1)
    assert late.state == "deployed" and late.deployments[0].against_process == ()
    assert deploy(late, 3).deployments[0].against_process == ("withdrawn",)  # the corrected time decides
    assert deploy(deploy(late, 3), 1).deployments[0].against_process == ()


# -- changes ------------------------------------------------------------------------------------------------------------


def test_a_change_names_what_differs_and_an_old_revision_is_stale() -> None:
    cr, facts = domain.change(a_cr(), ChangeCR(title="u", kind="normal"), T0, is_held=False)
    assert facts[0].changed == ("title",) and cr.revision == 2  # type: ignore[attr-defined]
    with pytest.raises(Stale):
        domain.change(cr, ChangeCR(title="v", revision=1), T0, is_held=False)


def test_who_was_ever_named_author_stays_one() -> None:
    cr, _ = domain.change(a_cr(), ChangeCR(author="edda"), T0, is_held=False)
    assert cr.authors == ("local|emil", "local|edda")
    with pytest.raises(Forbidden):
        domain.may_review(cr, "local|emil", "local|emil", {"engineer"}, ())
    domain.may_review(cr, "local|erik", "local|erik", {"engineer"}, ())


@pytest.mark.parametrize(
    ("by", "reviewer", "why"),
    [
        ("ldap|emil", "ldap|emil", "named as local|emil"),  # another who vouches, the same person
        ("local|erik", "ldap|emil", "named as local|emil"),
        ("ldap|ci", "local|erik", "registered"),
        ("ldap|olga", "local|erik", "belongs to operations"),
        ("local|erik", "sso|olga", "belongs to operations"),
    ],
)
def test_nobody_reviews_under_another_issuer_what_they_may_not_under_their_own(
    by: str, reviewer: str, why: str
) -> None:
    with pytest.raises(Forbidden, match=re.escape(why)):
        domain.may_review(a_cr(), by, reviewer, {"engineer"}, {"olga"})


def test_a_registration_is_the_same_by_its_content_not_by_its_spelling() -> None:
    command = RegisterCR(product="epl", source="s", external_id="1", title=" t ", author="EMIL", ptask="local|Pia")
    domain.same_registration(a_cr(), command)
    with pytest.raises(Conflict):
        domain.same_registration(a_cr(), command.model_copy(update={"title": "u"}))


@pytest.mark.parametrize("alias", ["EMIL", " local|emil", "local| emil", "local |emil ", "ＬＯＣＡＬ|ｅｍｉｌ"])
def test_a_person_has_one_name_however_it_is_written(alias: str) -> None:
    command = RegisterCR(product="epl", source="s", external_id="1", title="t", author=alias, ptask="pia")
    assert command.author == "local|emil"


@pytest.mark.parametrize("said", [0, 1763904000, 1763904000000, 1763904000.5, "1763904000", "-1", True])
def test_a_time_is_written_out_never_guessed_from_a_number(said: Any) -> None:
    with pytest.raises(ValidationError, match="deployed_at"):
        ReportDeployed.model_validate({"deployed_at": said})


# -- policies -----------------------------------------------------------------------------------------------------------

SLI: dict[str, Any] = {"id": "p95", "title": "p95", "source": "main", "query": "q", "min_absolute": 1}
POLICY: dict[str, Any] = {
    "id": "epl",
    "name": "EPL",
    "enforcement": "advise",
    "slis": [SLI],
    "clocks": {"critical": {"channels": ["#epl"], "escalate_to": ["boss"]}},
}


def policy(**differs: Any) -> Policy:
    return Policy.model_validate(POLICY | differs)


def test_a_second_person_for_a_looser_policy_is_not_the_same_one_under_another_issuer() -> None:
    product, _ = domain.put_policy(None, policy(), "local|rita", T0)
    looser = policy(enforcement="observe")
    waiting, _ = domain.put_policy(product, looser, "local|rita", T0)
    assert domain.put_policy(waiting, looser, "ldap|rita", T0) == (waiting, [])
    after, facts = domain.put_policy(waiting, looser, "ldap|rolf", T0)
    assert facts and after.policy.enforcement == "observe"


@pytest.mark.parametrize(
    "differs",
    [
        {"enforcement": "observe"},
        {"evidence": {"regression": {"required": False}}},
        {"evidence": {"integration": {"max_age_h": 100}}},
        {"evidence": {"code_review": False}},
        {"benchmark": {"max_age_h": 49}},
        {"freshness_s": 61},
        {"observation": {"settle_min": 16}},
        {"observation": {"patience_min": 121}},
        {"observation": {"recovery_h": 3}},
        {"observation": {"anchor_days": 30}},
        {"samples": {"raw_days": 399}},
        {"observation": {"step_s": 61}},
        {"slis": []},
        {"slis": [SLI | {"shadow": True}]},
        {"slis": [SLI | {"query": "q2"}]},
        {"slis": [SLI | {"source": "other"}]},
        {"slis": [SLI | {"direction": "higher_is_worse"}]},
        {"slis": [SLI | {"severity": "major"}]},
        {"slis": [SLI | {"min_relative": 0.2}]},
        {"slis": [SLI | {"min_absolute": 2}]},
        {"clocks": {"critical": {"acknowledge_min": 16, "channels": ["#epl"], "escalate_to": ["boss"]}}},
        {"clocks": {"critical": {"decide_min": 241, "channels": ["#epl"], "escalate_to": ["boss"]}}},
        {"clocks": {"critical": {"channels": [], "escalate_to": ["boss"]}}},
        {"clocks": {"critical": {"channels": ["#epl"], "escalate_to": ["nobody"]}}},
    ],
)
def test_asking_less_is_loosening_and_the_way_back_is_not(differs: dict[str, Any]) -> None:
    loosens = list(domain.loosened(policy(), policy(**differs)))
    assert len(loosens) == 1, loosens
    product, _ = domain.put_policy(None, policy(), "a|a", T0)
    product, facts = domain.put_policy(product, policy(**differs), "a|a", T0)
    assert not facts and product.proposal is not None
    product, facts = domain.put_policy(product, policy(**differs), "b|b", T0)
    assert facts and product.proposal is None and product.policy == policy(**differs)


@pytest.mark.parametrize(
    "differs",
    [
        {"enforcement": "enforce"},
        {"name": "Other"},
        {"description": "words"},
        {"benchmark": {"max_age_h": 24}},
        {"slis": [SLI, SLI | {"id": "new"}]},
        {"slis": [SLI | {"title": "other words", "min_relative": 0.05}]},
        {"clocks": {"critical": {"acknowledge_min": 5, "channels": ["#epl", "#all"], "escalate_to": ["boss"]}}},
    ],
)
def test_asking_as_much_or_more_needs_one_person(differs: dict[str, Any]) -> None:
    assert list(domain.loosened(policy(), policy(**differs))) == []


# -- releases, evidence, contracts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("2026.12", "epl-2026.12"),
        (" Winter  Release!", "epl-winter-release"),
        ("Größe 7", "epl-groe-7"),
        ("../x", "epl-x"),
    ],
)
def test_a_release_is_named_by_its_product_and_a_slug(name: str, slug: str) -> None:
    release, _ = domain.plan("epl", name, T0, T0)
    assert release.id == slug


def test_a_name_without_letters_is_no_release() -> None:
    with pytest.raises(Invalid):
        domain.plan("epl", "!!!", T0, T0)


def test_of_cases_with_one_mark_the_worst_speaks_and_doubt_proves_nothing() -> None:
    cases = [(("A", "B"), "passed"), (("A",), "error"), (("B",), "passed"), ((), "failed")]
    said = {one.case_id: one.outcome for one in domain.marked(cases, is_in_doubt=False)}
    assert said == {"A": "failed", "B": "passed"}
    said = {one.case_id: one.outcome for one in domain.marked(cases, is_in_doubt=True)}
    assert said == {"A": "failed", "B": "skipped"}


def test_an_inbound_event_names_its_cr_one_way() -> None:
    at = T0.isoformat()
    InboundDeployed.model_validate({"cr_id": "CR-1", "deployed_at": at})
    InboundDeployed.model_validate({"source": "s", "external_id": "e", "deployed_at": at})
    for wrong in ({}, {"source": "s"}, {"cr_id": "CR-1", "source": "s", "external_id": "e"}):
        with pytest.raises(ValidationError):
            InboundDeployed.model_validate({"deployed_at": at, **wrong})


def test_the_data_of_an_event_is_the_body_and_the_name_of_the_cr() -> None:
    for shape in INBOUND.values():
        body: Any = shape.__bases__[0]
        own = set(shape.model_fields) - set(body.model_fields)
        assert own <= {"cr_id", "source", "external_id"}
        assert shape.model_config["extra"] == "forbid"


@given(st.text(max_size=300))
def test_no_text_makes_a_title_that_the_database_would_not_take(text: str) -> None:
    try:
        title = RegisterCR(product="epl", source="s", external_id="1", title=text, author="a", ptask="b").title
    except (ValidationError, DaymarkError):
        return
    assert title.isprintable() and title.encode() and 0 < len(title) <= 200
