"""Early looks: when they are, what they may say, and that looking more often does not alarm more often."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from services.snapshotter import domain
from services.snapshotter.domain import DAY, ChangeRequest, Deployment, Observation, Snapshot, Standing, Verdict, Window
from services.snapshotter.judge import Rule, judge
from services.snapshotter.judge import Window as Readings
from shared.contracts import ComparedSLI as Compared
from shared.contracts import CRDeployed, CRRolledBack, DeviationDetected, DeviationWithdrawn, Policy
from shared.contracts.policy import ObservationRules

T = datetime(2026, 11, 18, 9, tzinfo=UTC)
RULES = ObservationRules(early_looks_min=(15, 60, 360))
CR = ChangeRequest("CR-1", "epl", "epl-1", revision=1)
BENCHMARK = Snapshot(
    "SNAP-1", "benchmark", "epl", None, None, None, Window(T - DAY, T, 60), T, "local|olga", "x", "v1", "h", 1
)
GOOD = Standing(BENCHMARK, "good", "SNAP-1, 0.0 h old")


def look(**more: Any) -> Observation:
    times: dict[str, Any] = {"starts_at": T, "ends_at": T + DAY, "due_at": T + DAY, "armed_at": T}
    return Observation("CR-1", "epl", 1, 1, kind="after", policy_version="v1", **{**times, **more})


def compared(sli: str = "latency", outcome: str = "moved", **more: Any) -> Compared:
    known: dict[str, Any] = {"title": sli, "sentence": f"{sli} rose", "decides": True, "severity": "major", **more}
    return Compared(sli=sli, outcome=outcome, **known)


# -- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("looks", [(0,), (-5,), (1440,), (60, 15), (15, 15), tuple(range(1, 20))])
def test_a_policy_names_early_looks_in_order_and_inside_the_day(looks: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        ObservationRules(early_looks_min=looks)


def test_each_look_has_its_time_and_of_several_that_were_missed_only_the_last_is_taken() -> None:
    assert domain.next_look(RULES, T) == (15, T + timedelta(minutes=15))
    assert domain.next_look(RULES, T, 60) == (360, T + timedelta(minutes=360))
    assert domain.next_look(RULES, T, 360) is None and domain.next_look(ObservationRules(), T) is None
    at = {
        minutes: domain.due_look(RULES, T, T + timedelta(minutes=minutes)) for minutes in (1, 15, 59, 200, 1000, 1440)
    }
    assert at == {1: None, 15: 15, 59: 15, 200: 60, 1000: 360, 1440: None}  # then the look after 24 hours says it all


# -- what -------------------------------------------------------------------------------------------------------------


def test_only_what_decides_and_passes_the_shared_limit_is_raised() -> None:
    several = [compared(), compared("heap", decides=False), compared("cpu"), compared("errors", "steady")]
    numbers = {"latency": {"score": 4.0}, "heap": {"score": 9.0}, "cpu": {"score": 1.1}, "errors": {"score": 0.1}}
    assert [c.sli for c in domain.raised(several, numbers, looks=1)] == ["latency", "cpu"]
    assert [c.sli for c in domain.raised(several, numbers, looks=3)] == ["latency"]
    assert domain.raised([compared()], {}, looks=1) == ()  # a constant that became another has no score: it waits
    assert domain.limit(3, 40) < domain.limit(12, 40) < domain.limit(12, 500)


def test_an_early_look_never_says_that_all_is_well() -> None:
    quiet = domain.early_sentence(15, (), [compared(outcome="steady")], GOOD)
    assert "nothing gross in 1 SLIs so far; the look after 24 hours decides" in quiet
    none = domain.early_sentence(15, (), [compared(outcome="no_data", sentence="latency: no series")], GOOD)
    assert "nothing can be said" in none and "no series" in none
    missing = Standing(None, "missing", "no benchmark was published before the deploy")
    assert "nothing to compare with" in domain.early_sentence(15, (), [], missing)
    taken = domain.EarlyLook(
        "CR-1", 1, 1, 15, T + timedelta(minutes=15), T + timedelta(minutes=16), "nothing", quiet, "h"
    )
    said = domain.said_of(look(), taken)
    assert (said.found, said.window_start, said.window_end) == ("nothing", T, T + timedelta(minutes=15))
    assert "This is no pass." in said.sentence
    with pytest.raises(ValueError, match="deviation"):
        domain.said_of(look(), replace(taken, found="moved"))


def test_an_early_deviation_is_said_once_and_the_day_still_has_its_verdict() -> None:
    early = Snapshot(
        "SNAP-2", "early", "epl", "CR-1", 1, 1, Window(T, T + timedelta(hours=1), 60), T, "x", "", "v1", "h", 2
    )
    both = [compared(before=1.0, after=3.0, limit=1.0), compared("cpu", before=1.0, after=1.5, limit=1.0)]
    deviating, facts = domain.raise_early(
        look(), CR, early, GOOD, both[:1], both, after_min=60, now=T + timedelta(hours=1)
    )
    said = facts[-1]
    assert isinstance(said, DeviationDetected) and said.early_min == 60 and said.slis_moved == 1
    assert said.sentence == "Early, 60 min after the deploy: latency rose"
    assert deviating.is_open and deviating.deviation_id == said.deviation_id == "DEV-CR-1-1-1"
    after = Snapshot("SNAP-3", "after", "epl", "CR-1", 1, 1, Window(T, T + DAY, 60), T + DAY, "x", "", "v1", "h", 2)
    more: dict[str, Any] = {"judge_version": "1", "overdue_because": None, "now": T + DAY}
    for outcome in ("moved", "steady"):
        found = Verdict(outcome, "so", (compared(outcome=outcome),))
        closed, last = domain.close(deviating, CR, found, after, GOOD, **more)
        assert closed.outcome == outcome and closed.deviation_id == "DEV-CR-1-1-1"
        assert not [fact for fact in last if isinstance(fact, DeviationDetected)]


def test_a_rollback_leaves_an_early_deviation_standing_and_a_corrected_deploy_time_withdraws_it() -> None:
    deviating = look(deviation_id="DEV-CR-1-1-1", deviated_at=T + timedelta(hours=1), benchmark_id="SNAP-1")
    policy = Policy(id="epl", name="EPL", enforcement="enforce", slis=(), observation=RULES)
    before = Deployment("CR-1", 1, 1, T, "local|bot", "v1")
    about: dict[str, Any] = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "reported_at": T}
    at = T + timedelta(hours=2)
    back = CRRolledBack(**about, revision=1, rolled_back_at=at, reason="worse")
    change = domain.rolled_back(CR, before, [deviating], back, policy_version="v1", policy=policy, now=at)
    assert not [fact for fact in change.facts if isinstance(fact, DeviationWithdrawn)]
    ended = next(each for each in change.observations if each.kind == "after")
    run = domain.run_of(ended, replace(before, rolled_back_at=at))
    assert run is not None and (run.starts_at, run.ends_at) == (T, at)  # and no benchmark lies in it
    again = CRDeployed(**about, release_id=None, revision=2, deployed_at=at, deployer="local|bot")
    change = domain.deployed(CR, before, [deviating], again, policy_version="v1", now=at)
    assert [fact for fact in change.facts if isinstance(fact, DeviationWithdrawn)]


# -- the budget -------------------------------------------------------------------------------------------------------

_STEP = 60
_DAYS = 240
_SLIS = 6


def _pairs() -> tuple[np.ndarray, np.ndarray]:
    """Quiet days that are less well behaved than they should be: (days * SLIs, 1440) benchmark and after.

    Each has a daily curve, noise that remembers, a level of its own each day, and heavy tails; nothing happens in them.
    """
    rng = np.random.default_rng(20261123)
    n, t = _DAYS * _SLIS, 1440
    curve = 1 + 0.3 * np.sin(2 * np.pi * np.arange(t) / t + rng.uniform(0, 6, (n, 1)))

    def day() -> np.ndarray:
        noise = rng.standard_t(3, (n, t)) * rng.choice([0.01, 0.05, 0.2], (n, 1))
        kernel = np.exp(-np.arange(120) / 40)
        slow = np.apply_along_axis(np.convolve, 1, rng.standard_normal((n, t + 119)), kernel / kernel.sum(), "valid")
        level = np.exp(0.06 * rng.standard_t(3, (n, 1)))
        return np.asarray(100 * level * curve * np.exp(0.25 * slow) * np.maximum(1 + noise, 0.01))

    return day(), day()


@pytest.fixture(scope="module")
def scores() -> dict[int, np.ndarray]:
    """minutes -> (quiet days,) the largest score of a CR's SLIs at a look after so many minutes."""
    before, after = _pairs()
    n = before.shape[0]
    rules = [Rule(f"s{i}", f"s{i}", "", "both", 0.1, 0.0, True) for i in range(n)]
    none: tuple[None, ...] = (None,) * n
    found: dict[int, np.ndarray] = {}
    for minutes in (10, 15, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720):
        window = Readings(86400.0, _STEP, 0.0, after[:, :minutes], none)
        answers = judge(
            Readings(0.0, _STEP, 0.0, before, none), window, rules, deployed_at_s=86400.0, settle_s=15 * minutes
        )
        moved = [a.numbers.get("score", 0.0) if a.outcome == "moved" else 0.0 for a in answers]
        found[minutes] = np.array(moved).reshape(_DAYS, _SLIS).max(axis=1)
    return found


def alarms(scores: dict[int, np.ndarray], looks: tuple[int, ...]) -> float:
    """The share of quiet days that raise something in any of these looks, the budget shared over them."""
    least = domain.limit(len(looks), _SLIS)
    return float(np.mean(np.max([scores[minutes] for minutes in looks], axis=0) >= least))


def test_looking_more_often_does_not_alarm_more_often(scores: dict[int, np.ndarray]) -> None:
    single = {minutes: alarms(scores, (minutes,)) for minutes in scores}
    worst = max(single.values())
    assert 0 < worst <= 0.05, single  # the made days do alarm: there is something to share
    schedules = [(15, 60, 360), (15, 30, 60, 120, 240, 480), tuple(scores)]
    shared = [alarms(scores, looks) for looks in schedules]
    assert all(rate <= worst for rate in shared), (shared, single)
    unshared = np.mean(np.max(list(scores.values()), axis=0) >= domain.limit(1, _SLIS))
    assert unshared > worst  # what would happen without sharing: so the sharing is what holds it


def test_what_triples_is_raised_by_the_first_looks_all_the_same() -> None:
    rng = np.random.default_rng(5)
    curve = 100 * (1 + 0.2 * np.sin(2 * np.pi * np.arange(1440) / 1440))
    before, after = (curve * (1 + 0.03 * rng.standard_normal((4, 1440))) for _ in range(2))
    after[0] *= 3
    rules = [Rule(f"s{i}", f"s{i}", "ms", "higher_is_worse", 0.1, 0.0, True) for i in range(4)]
    none: tuple[None, ...] = (None,) * 4
    for minutes in (15, 60, 360):
        answers = judge(
            Readings(0.0, _STEP, 0.0, before, none),
            Readings(86400.0, _STEP, 0.0, after[:, :minutes], none),
            rules,
            deployed_at_s=86400.0,
            settle_s=15 * minutes,
        )
        told = [compared(a.sli, a.outcome) for a in answers]
        numbers = {a.sli: dict(a.numbers) for a in answers}
        assert [c.sli for c in domain.raised(told, numbers, looks=3)] == ["s0"], minutes
