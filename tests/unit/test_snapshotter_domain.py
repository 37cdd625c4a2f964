"""The snapshotter's rules as pure functions: windows, which benchmark counts, what a correction does, what is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.snapshotter import domain
from services.snapshotter.domain import (
    DAY,
    MOVES,
    ChangeRequest,
    Deployment,
    Observation,
    Snapshot,
    Standing,
    Window,
    benchmark_window,
    close,
    delay,
    deployed,
    described,
    fitting,
    move,
    rolled_back,
    standing,
    verdict,
)
from shared.contracts import (
    ComparedSLI,
    CRChanged,
    CRDeployed,
    CRRolledBack,
    DeviationDetected,
    DeviationWithdrawn,
    ObservationSuperseded,
    Policy,
    SnapshotDelayed,
)
from shared.contracts.policy import ObservationRules
from shared.errors import Forbidden

T = datetime(2026, 11, 20, 9, 30, 17, 250_000, UTC)
POLICY = Policy(id="epl", name="EPL", enforcement="enforce", slis=(), observation=ObservationRules(recovery_h=4))
CR = ChangeRequest("CR-1", "epl", "epl-1", revision=1, authors=frozenset({"local|erin"}))


def benchmark(n: int, at: datetime, by: str = "local|olga", cr_id: str | None = "CR-1") -> Snapshot:
    window = Window(at - DAY, at, 60)
    return Snapshot(f"SNAP-{n}", "benchmark", "epl", cr_id, None, None, window, at, by, "why", "v1", "hash", 3)


def deploy(revision: int = 1, at: datetime = T, deployment: int = 1, deployer: str = "local|bot") -> CRDeployed:
    return CRDeployed(
        cr_id="CR-1", product_id="epl", release_id="epl-1", deployment=deployment, revision=revision, deployed_at=at,
        reported_at=at, deployer=deployer,
    )  # fmt: skip


def rollback(at: datetime, revision: int = 1) -> CRRolledBack:
    return CRRolledBack(
        cr_id="CR-1",
        product_id="epl",
        deployment=1,
        revision=revision,
        rolled_back_at=at,
        reported_at=at,
        reason="worse",
    )


class Told:
    """One deployment, told facts one after another."""

    def __init__(self) -> None:
        self.cr, self.deployment = CR, Deployment("CR-1", 1)
        self.looks: dict[tuple[str, int], Observation] = {}
        self.facts: list[Any] = []

    def __call__(self, fact: CRDeployed | CRRolledBack, now: datetime = T) -> Told:
        looks = tuple(self.looks.values())
        if isinstance(fact, CRDeployed):
            change = deployed(self.cr, self.deployment, looks, fact, policy_version="v1", now=now)
        else:
            change = rolled_back(self.cr, self.deployment, looks, fact, policy_version="v1", policy=POLICY, now=now)
        self.cr, self.deployment = change.cr, change.deployment
        self.looks |= {(look.kind, look.revision): look for look in change.observations}
        self.facts += change.facts
        return self

    @property
    def pending(self) -> list[tuple[str, int, datetime]]:
        return [(look.kind, look.revision, look.due_at) for look in self.looks.values() if look.is_open]


def compared(sli: str, outcome: str = "steady", **more: Any) -> ComparedSLI:
    fields: dict[str, Any] = {"title": sli, "sentence": f"{sli} did so", "decides": True, "severity": "major", **more}
    return ComparedSLI(sli=sli, outcome=outcome, **fields)


# -- windows ----------------------------------------------------------------------------------------------------------


@given(st.datetimes(datetime(2001, 1, 1), datetime(2100, 1, 1)), st.sampled_from([10, 15, 60, 300, 3600]))
def test_a_benchmark_covers_24_whole_hours_that_are_over(now: datetime, step_s: int) -> None:
    now = now.replace(tzinfo=UTC)
    window = benchmark_window(now, step_s)
    assert window.end - window.start == DAY and window.end <= now < window.end + timedelta(seconds=step_s)
    assert window.end.timestamp() % step_s == 0


def test_the_settle_time_takes_at_most_a_quarter_of_a_short_look() -> None:
    look = Told()(deploy())(rollback(T + timedelta(hours=1))).looks["recovery", 1]
    short = replace(look, ends_at=look.starts_at + timedelta(minutes=20))
    assert domain.settle_s(look, POLICY) == 15 * 60 and domain.settle_s(short, POLICY) == 5 * 60


# -- moves ------------------------------------------------------------------------------------------------------------


def test_every_state_can_be_reached_and_left() -> None:
    reached = {"scheduled"}
    for _ in MOVES:
        reached |= {to for (state, _what), to in MOVES.items() if state in reached}
    assert reached == {"scheduled", "due", "capturing", "overdue", "closed", "superseded"}
    assert {state for state, _ in MOVES} == reached


def test_a_closed_look_is_not_closed_again() -> None:
    with pytest.raises(ValueError, match="closed cannot be"):
        move("closed", "judged")


def test_time_and_the_agenda_say_where_an_open_look_stands() -> None:
    look = Told()(deploy()).looks["after", 1]
    assert look.state_at(T, 0) == "scheduled"
    assert look.state_at(T + DAY, 0) == "due"
    assert look.state_at(T + DAY, 2) == "capturing"


# -- which benchmark counts -------------------------------------------------------------------------------------------


def stands(*known: Snapshot, deployed_at: datetime | None = T, cr: ChangeRequest = CR) -> Standing:
    return standing(known, cr, deployed_at=deployed_at, now=T + timedelta(days=9), max_age_h=48)


def test_the_last_one_published_before_the_deploy_counts() -> None:
    early, last = benchmark(1, T - timedelta(hours=9)), benchmark(2, T - timedelta(hours=1), cr_id=None)
    late = benchmark(3, T + timedelta(seconds=1))
    for order in permutations([early, last, late]):
        found = stands(*order)
        assert (found.state, found.counts, found.late) == ("good", last, (late,))


def test_one_published_in_the_moment_of_the_deploy_is_late() -> None:
    found = stands(benchmark(1, T))
    assert found.state == "late" and found.counts is None


def test_an_old_one_is_stale_and_none_is_missing() -> None:
    assert stands(benchmark(1, T - timedelta(hours=49))).state == "stale"
    assert stands().state == "missing"


def test_one_of_another_cr_or_product_does_not_count() -> None:
    other = replace(benchmark(1, T - timedelta(hours=1), cr_id=None), product_id="scp")
    assert stands(other, benchmark(2, T - timedelta(hours=1), cr_id="CR-2")).counts is None


def test_one_by_the_author_or_deployer_does_not_count() -> None:
    before = T - timedelta(hours=1)
    assert stands(benchmark(1, before, by="local|erin", cr_id=None)).counts is None
    cr = replace(CR, deployers=frozenset({"local|olga"}))
    found = stands(benchmark(1, before), benchmark(2, before, by="local|omar"), cr=cr)
    assert found.counts is not None and found.counts.id == "SNAP-2"


def test_operations_does_not_publish_for_what_it_authored_even_at_an_older_revision() -> None:
    fact = CRChanged(
        cr_id="CR-1", product_id="epl", release_id=None, source="jira", external_id="1", title="t", kind="normal",
        author="local|eli", ptask="local|pia", revision=2, at=T, changed=("author",),
    )  # fmt: skip
    cr = described(CR, fact)
    for who in ("local|erin", "local|eli", "ldap|eli"):  # and whoever else vouches for the name
        with pytest.raises(Forbidden, match="authored"):
            domain.refuse_own(cr, who)
    domain.refuse_own(cr, "local|olga")


# -- what is heard ----------------------------------------------------------------------------------------------------


def test_a_deploy_is_looked_at_24_hours_later() -> None:
    assert Told()(deploy()).pending == [("after", 1, T + DAY)]


def test_revisions_end_the_same_in_any_order() -> None:
    reports = [deploy(revision, T + timedelta(hours=revision)) for revision in (1, 2, 3)]
    for order in permutations(reports):
        told = Told()
        for fact in order:
            told(fact)
        assert told.pending == [("after", 3, T + timedelta(hours=3) + DAY)]


def test_deploy_and_rollback_end_the_same_in_any_order() -> None:
    back = T + timedelta(hours=2)
    facts: list[CRDeployed | CRRolledBack] = [deploy(), rollback(back), rollback(back + timedelta(hours=1), revision=2)]
    for order in permutations(facts):
        told = Told()
        for fact in order:
            told(fact)
        assert told.pending == [("recovery", 2, back + timedelta(hours=5))]
        assert told.looks["after", 1].state == "superseded"


def test_a_rollback_after_the_24_hours_leaves_the_look_at_the_deploy() -> None:
    told = Told()(deploy())(rollback(T + timedelta(hours=30)))
    assert [kind for kind, *_ in told.pending] == ["after", "recovery"]


def test_what_a_look_waits_for_is_said_once_each_anew_when_it_is_armed_again_and_not_for_ever() -> None:
    day = T + DAY
    told = Told()(deploy())

    def tried(because: str) -> SnapshotDelayed | None:
        look, said = delay(told.looks["after", 1], because, [], tried_until=day + timedelta(hours=2), now=day)
        told.looks["after", 1] = look
        return said

    said = [tried(because) for because in ("prom is down", "prom is down", "prom answers 503", "prom is down")]
    assert [one and one.reason for one in said] == ["prom is down", None, "prom answers 503", "prom is down"]
    told(rollback(T + timedelta(hours=20)))
    assert told.looks["after", 1].state == "superseded"
    with pytest.raises(ValueError, match="superseded"):
        tried("prom is down")
    told(rollback(day + timedelta(hours=1), revision=2))  # it had come after the day: the look stands again
    assert tried("prom is down") is not None
    assert sum(tried(f"prom is down, {number}") is not None for number in range(99)) == 6  # ten in all


def test_a_superseded_verdict_takes_its_deviation_along() -> None:
    told = Told()(deploy())
    moved = [compared("errors", "moved", before=1.0, after=2.0, limit=0.1)]
    against = stands(benchmark(1, T - timedelta(hours=1)))
    look, facts = close(
        told.looks["after", 1], CR, verdict("after", "moved", moved, against), benchmark(7, T), against,
        judge_version="1", overdue_because=None, now=T + DAY,
    )  # fmt: skip
    assert isinstance(facts[-1], DeviationDetected)
    told.looks["after", 1] = look
    told(deploy(2, T + timedelta(minutes=1)))
    assert [fact.type for fact in told.facts] == [ObservationSuperseded.type, DeviationWithdrawn.type]
    assert told.looks["after", 1].outcome == "moved"  # what was found stays readable


# -- verdicts ---------------------------------------------------------------------------------------------------------


def test_nothing_is_steady_against_a_stale_benchmark_but_moved_stays_moved() -> None:
    stale = stands(benchmark(1, T - timedelta(hours=60)))
    assert verdict("after", "steady", [compared("a")], stale).outcome == "inconclusive"
    assert verdict("after", "moved", [compared("a", "moved")], stale).outcome == "moved"


def test_the_gravest_is_by_severity_then_by_how_far_it_moved_whatever_the_unit() -> None:
    slis = [
        compared("minor", "moved", severity="minor", before=1.0, after=99.0, effect_relative=98.0),
        compared("shadow", "moved", severity="critical", decides=False, before=1.0, after=99.0, effect_relative=98.0),
        compared("some", "moved", before=1000.0, after=1200.0, effect_relative=0.2),
        compared("most", "moved", before=0.010, after=0.007, effect_relative=-0.3),
    ]
    found = domain.verdict("after", "moved", slis, stands(benchmark(1, T - timedelta(hours=1))))
    assert "first of all: most did so" in found.sentence and found.sentence.startswith("Moved: 3 of 3")


def test_what_moved_only_beside_another_wakes_nobody_for_itself() -> None:
    """A minor SLI that rose fourfold makes a minor deviation, though a critical one leaned with it."""
    plain = compared("queue", "moved", severity="minor", before=10.0, after=40.0, effect_relative=3.0)
    leaned = compared(
        "latency", "moved", severity="critical", before=100.0, after=104.0, effect_relative=0.04, beside=True
    )
    against = stands(benchmark(1, T - timedelta(hours=1)))

    def said(*slis: ComparedSLI) -> tuple[DeviationDetected, str]:
        found = verdict("after", "moved", slis, against)
        look = Told()(deploy()).looks["after", 1]
        fact = close(
            look, CR, found, benchmark(7, T), against, judge_version="1", overdue_because=None, now=T + DAY
        )[1][-1]  # fmt: skip
        assert isinstance(fact, DeviationDetected)
        return fact, found.sentence

    fact, sentence = said(leaned, plain)
    assert (fact.severity, fact.sli, fact.effect_relative, fact.slis_moved) == ("minor", "queue", 3.0, 2)
    assert fact.sentence == plain.sentence and "2 of 2 SLIs moved, first of all: queue did so" in sentence
    assert said(leaned)[0].severity == "critical"  # a deviation always has one; a graver clock is the safe one


def test_words_are_cut_only_as_far_as_a_letter_needs() -> None:
    few = (compared("a", sentence="x" * 300),)
    assert fitting(few) == few
    many = [compared(f"s{n}", title="ü" * 200, sentence="y" * 400) for n in range(500)]
    cut = fitting(many)
    assert len(cut) == 500 and sum(len(c.model_dump_json().encode()) for c in cut) < 200_000
