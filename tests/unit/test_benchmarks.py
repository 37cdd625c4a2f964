"""Which benchmark counts: pins, their end, what speaks against one. And that reviewer and snapshotter say the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.reviewer.domain import benchmark as reviewed
from services.reviewer.domain.known import Facts, Known
from services.snapshotter import domain
from services.snapshotter.domain import ChangeRequest, Deployment, Observation, Pin, Provenance, Snapshot, Window
from services.snapshotter.handlers.health import health
from shared.contracts import BenchmarkExpired, BenchmarkPublished
from shared.errors import Conflict, Invalid
from tests.unit.test_benchmark_health import DAY, POLICY, T, captured

CR = ChangeRequest("CR-1", "epl", revision=1, authors=frozenset({"local|erin"}), deployers=frozenset({"local|bot"}))


def benchmark(
    n: int, at: datetime, by: str = "local|olga", cr_id: str | None = "CR-1", kind: Any = "benchmark"
) -> Snapshot:
    window = Window(at - DAY, at, 300)
    return Snapshot(f"SNAP-{n}", kind, "epl", cr_id, None, None, window, at, by, "why", "v1", f"hash-{n}", 3)


def pinned(n: int, snapshot: str, at: datetime, until: datetime, by: str = "local|olga", **more: Any) -> Pin:
    return Pin(n, "epl", snapshot, "a load test this week", at, by, until, **more)


def stands(
    *benchmarks: Snapshot, deployed_at: datetime | None = None, now: datetime, pins: tuple[Pin, ...] = ()
) -> Any:
    return domain.standing(benchmarks, CR, deployed_at=deployed_at, now=now, max_age_h=48, pins=pins)


# -- pins -------------------------------------------------------------------------------------------------------------


def test_a_pinned_benchmark_holds_whatever_is_published_meanwhile_and_however_old_it_is() -> None:
    old, new = benchmark(1, T, cr_id=None), benchmark(2, T + 3 * DAY)
    pin = pinned(1, "SNAP-1", T + DAY, T + 9 * DAY)
    found = stands(old, new, now=T + 8 * DAY, pins=(pin,))
    assert (found.state, found.counts, found.pin) == (
        "good",
        old,
        pin,
    ) and "pinned by local|olga until" in found.sentence


def test_when_a_pin_expires_nothing_takes_its_place_but_what_is_published_after_that() -> None:
    old, meanwhile = benchmark(1, T, cr_id=None), benchmark(2, T + 3 * DAY)
    pin = pinned(1, "SNAP-1", T + DAY, T + 4 * DAY)
    found = stands(old, meanwhile, now=T + 4 * DAY + timedelta(hours=1), pins=(pin,))
    assert (found.state, found.counts) == ("expired", old) and "none was published since" in found.sentence
    anew = benchmark(3, T + 4 * DAY + timedelta(hours=2))
    assert stands(old, meanwhile, anew, now=T + 5 * DAY, pins=(pin,)).counts == anew


def test_an_ended_pin_leaves_the_latest_and_one_set_after_the_deploy_changes_nothing() -> None:
    old, new = benchmark(1, T, cr_id=None), benchmark(2, T + DAY)
    ended = pinned(1, "SNAP-1", T + DAY, T + 9 * DAY, ended_at=T + 2 * DAY, ended_by="local|omar")
    assert stands(old, new, now=T + 2 * DAY + timedelta(hours=1), pins=(ended,)).counts == new
    assert stands(old, new, now=T + 2 * DAY - timedelta(hours=1), pins=(ended,)).counts == old
    late = pinned(2, "SNAP-1", T + 2 * DAY, T + 9 * DAY)
    assert stands(old, new, deployed_at=T + 2 * DAY, now=T + 5 * DAY, pins=(late,)).counts == new


def test_a_pin_by_who_made_the_change_is_left_aside_for_it() -> None:
    old, new = benchmark(1, T, cr_id=None), benchmark(2, T + DAY)
    found = stands(old, new, now=T + DAY * 1.5, pins=(pinned(1, "SNAP-1", T + DAY, T + 9 * DAY, by="local|erin"),))
    assert found.counts == new and "PIN-1 does not hold for it" in found.sentence


def test_an_expired_benchmark_can_show_that_something_moved_but_not_that_nothing_did() -> None:
    against = domain.Standing(benchmark(1, T), "expired", "SNAP-1 was pinned until yesterday")
    assert domain.verdict("after", "steady", [], against).outcome == "inconclusive"
    assert domain.verdict("after", "moved", [], against).outcome == "moved"


@pytest.mark.parametrize(
    ("until", "kind", "product", "error"),
    [
        (timedelta(0), "benchmark", "epl", Invalid),
        (-DAY, "benchmark", "epl", Invalid),
        (31 * DAY, "benchmark", "epl", Invalid),
        (DAY, "draft", "epl", Conflict),
        (DAY, "after", "epl", Conflict),
        (DAY, "benchmark", "scp", Conflict),
    ],
)
def test_a_pin_is_refused_for_a_date_too_far_or_past_and_for_what_is_no_benchmark(
    until: timedelta, kind: str, product: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        domain.pin(
            1,
            benchmark(1, T, kind=kind),
            product,
            who="local|olga",
            reason="x",
            expires_at=T + until,
            max_days=30,
            now=T,
        )


# -- both say the same ------------------------------------------------------------------------------------------------

_PEOPLE = ("local|olga", "local|omar", "local|erin", "local|bot")
_HOUR = st.integers(0, 400)


@settings(max_examples=150, deadline=None)
@given(
    published=st.lists(st.tuples(_HOUR, st.sampled_from(_PEOPLE), st.booleans()), max_size=5),
    pins=st.lists(
        st.tuples(_HOUR, st.integers(0, 4), st.integers(1, 200), st.sampled_from(_PEOPLE), _HOUR), max_size=3
    ),
    doubts=st.lists(st.tuples(_HOUR, st.integers(0, 4), st.integers(1, 2), st.booleans()), max_size=4),
    deployed=st.one_of(st.none(), st.tuples(_HOUR, st.sampled_from([0, 1, 2, 21, 59]))),
)
def test_the_reviewer_and_the_snapshotter_say_the_same_of_any_history(
    published: list[tuple[int, str, bool]],
    pins: list[tuple[int, int, int, str, int]],
    doubts: list[tuple[int, int, int, bool]],
    deployed: tuple[int, int] | None,
) -> None:
    """Each hour of the history has a minute of its own: nothing happens at once, but for what happens at the deploy."""
    kept = [
        benchmark(n, T + timedelta(hours=h, minutes=n), by, "CR-1" if of_cr else None)
        for n, (h, by, of_cr) in enumerate(published, 1)
    ]
    set_: list[Pin] = []
    facts: list[Known[Any]] = []

    def say(data: Any, at: datetime) -> None:
        facts.append(Known(f"e{len(facts)}", data.type, "x|1", len(facts), at, "x", data))

    for b in kept:
        say(domain.published(b, Provenance(b.id, "pulled"))[1], b.taken_at)
    for n, (hour, which, length, by, ends) in enumerate(sorted(pins), 1):
        at = T + timedelta(hours=hour, minutes=20 + n)
        if which >= len(kept) or kept[which].taken_at > at:
            continue
        made, fact = domain.pin(
            n,
            kept[which],
            "epl",
            who=by,
            reason="x",
            expires_at=at + timedelta(hours=length, minutes=7),
            max_days=30,
            now=at,
        )
        say(fact, at)
        end_at = T + timedelta(hours=ends, minutes=40 + n)
        if made.holds_at(end_at):
            made, fact = domain.end(made, who="local|omar", reason="over", now=end_at)
            say(fact, end_at)
        set_.append(made)
    spoken = []
    for n, (hour, which, observed, holds) in enumerate(sorted(doubts), 1):
        at = T + timedelta(hours=hour, minutes=50 + n)
        if which < len(kept):
            spoken.append(domain.Doubt("epl", n, kept[which].id, f"CR-{observed}", 1, holds, "so it was", at))
            say(domain.doubted(spoken[-1]), at)
    now = T + timedelta(hours=401)
    deployed_at = None if deployed is None else T + timedelta(hours=deployed[0], minutes=deployed[1])
    ours = domain.standing(kept, CR, deployed_at=deployed_at, now=now, max_age_h=48, pins=tuple(set_), doubts=spoken)
    everything, moment = Facts(facts), deployed_at or now
    theirs = reviewed.benchmark(
        everything.said_by(moment), everything, {"erin": "authored", "bot": "deployed"}, "CR-1", "epl",
        POLICY, moment, is_deploy=deployed_at is not None,
    )  # fmt: skip
    states = {"counts": "good"}
    assert states.get(theirs.state, theirs.state) == ours.state
    if ours.counts is not None:
        assert theirs.snapshot_id == ours.counts.id
    assert (theirs.pin.pin_id if theirs.pin else None) == (ours.pin.id if ours.pin else None)


# -- what speaks against one --------------------------------------------------------------------------------------------


def look(**more: Any) -> Observation:
    times: dict[str, Any] = {"starts_at": T, "ends_at": T + DAY, "due_at": T + DAY, "armed_at": T}
    known: dict[str, Any] = {"kind": "after", "state": "closed", "outcome": "moved", "deviated_at": T + DAY}
    return Observation("CR-2", "epl", 1, 1, policy_version="v1", **{**times, **known, **more})


def test_a_run_that_deviated_lasts_from_its_deploy_to_its_rollback() -> None:
    of = Deployment("CR-2", 1, 1, T)
    back = replace(of, rolled_back_at=T + timedelta(hours=30))
    early = replace(of, rolled_back_at=T + timedelta(hours=2))
    cut = look(state="superseded", outcome=None, superseded_because="rolled back at 2026-11-18 11:00:00Z")
    run = domain.run_of(look(), of)
    assert run is not None and (run.starts_at, run.ends_at) == (T, T + DAY)
    assert domain.run_of(look(), back).ends_at == T + timedelta(hours=30)  # type: ignore[union-attr]
    assert domain.run_of(cut, early).ends_at == T + timedelta(hours=2)  # type: ignore[union-attr]
    assert domain.run_of(look(state="superseded", superseded_because="the deploy time was corrected"), of) is None
    assert domain.run_of(look(outcome="steady", deviated_at=None), of) is None
    assert domain.run_of(look(outcome="steady", deviated_at=None), back) is None  # it was well for a day
    taken = domain.run_of(replace(cut, deviated_at=None, superseded_at=T + timedelta(hours=3)), early)
    assert taken is not None and (taken.ends_at, taken.found_at) == (T + timedelta(hours=2), T + timedelta(hours=3))
    good, window = health(POLICY, captured(), captured(days=3)), Window(T - DAY / 2, T + DAY / 2, 300)
    assert domain.objections(good, window, [taken])["deviated"].endswith("and that was rolled back before its look")
    still = domain.run_of(look(state="scheduled", outcome=None, deviated_at=None), of)
    assert still is not None and still.found_at is None and still.ends_at == T + DAY


def test_a_window_in_a_run_that_deviated_is_refused_unless_that_is_answered() -> None:
    run = domain.run_of(look(), Deployment("CR-2", 1, 1, T))
    assert run is not None
    good = health(POLICY, captured(), captured(days=3))
    touching, inside = Window(T - DAY, T, 300), Window(T - timedelta(hours=1), T + timedelta(hours=23), 300)
    assert domain.objections(good, touching, [run]) == {}
    found = domain.objections(good, inside, [run])
    assert set(found) == {"deviated"} and "CR-2" in found["deviated"]
    with pytest.raises(Conflict, match="deviated") as refused:
        domain.refuse_doubtful(found, {"gaps": "not the point"})
    assert [field["path"] for field in refused.value.fields] == ["body.despite.deviated"]
    assert domain.refuse_doubtful(found, {"deviated": "kept by decision", "gaps": "x"}) == {
        "deviated": "kept by decision"
    }


def test_a_window_in_a_run_that_is_still_observed_is_refused_and_the_look_is_named() -> None:
    run = domain.run_of(look(state="scheduled", outcome=None, deviated_at=None), Deployment("CR-2", 1, 1, T))
    assert run is not None
    good = health(POLICY, captured(), captured(days=3))
    found = domain.objections(good, Window(T - timedelta(hours=1), T + timedelta(hours=23), 300), [run])
    assert set(found) == {"observed"} and "the after look ends 2026-11-19 09:00 UTC" in found["observed"]
    with pytest.raises(Conflict) as refused:
        domain.refuse_doubtful(found, {"deviated": "not what is asked"})
    assert [field["path"] for field in refused.value.fields] == ["body.despite.observed"]


def said_against(run: domain.Run, kept: Snapshot, despite: dict[str, str], *said: domain.Doubt) -> Any:
    return domain.doubts([(kept, despite)], [run], said, product_id="epl", version=len(said), now=T + 2 * DAY)


def test_what_was_published_before_its_run_deviated_is_doubted_once_and_cleared_when_that_is_withdrawn() -> None:
    run = domain.run_of(look(), Deployment("CR-2", 1, 1, T))
    assert run is not None
    inside = benchmark(1, T + timedelta(hours=6))
    (doubt,) = said_against(run, inside, {"observed": "we know that CR-2 is out"})
    assert doubt.holds and "SNAP-1 was taken while CR-2 (deployment 1) was observed" in doubt.sentence
    assert said_against(run, inside, {}, doubt) == ()
    (cleared,) = domain.doubts([(inside, {})], [], [doubt], product_id="epl", version=1, now=T + 3 * DAY)
    assert (cleared.holds, cleared.sequence) == (False, 2)
    assert said_against(run, benchmark(2, T), {}) == ()  # its window ends where the run begins
    after = benchmark(3, T + timedelta(hours=30))
    assert said_against(run, after, {"deviated": "kept by decision"}) == ()  # they knew, and said why
    (doubt,) = said_against(run, inside, {"deviated": "of another run"})  # said before this was found
    assert doubt.holds


def test_a_benchmark_whose_run_deviated_since_satisfies_nothing_until_somebody_answers_for_it() -> None:
    run = domain.run_of(look(), Deployment("CR-2", 1, 1, T))
    kept = benchmark(1, T + timedelta(hours=6), cr_id=None)
    assert run is not None
    (doubt,) = said_against(run, kept, {})
    known_at, now = T + 2 * DAY, T + 2 * DAY + timedelta(hours=1)

    def state(deployed_at: datetime | None = None, pins: tuple[Pin, ...] = (), **more: Any) -> str:
        found = domain.standing(
            [kept], CR, deployed_at=deployed_at, now=now, max_age_h=48, pins=pins, doubts=[doubt], **more
        )
        return str(found.state)

    assert state() == "deviated"
    assert state(known_at - timedelta(hours=1)) == "good"  # nobody knew when it was deployed
    assert state(known_at - timedelta(hours=1), doubted_by=now) == "deviated"  # who judges now, does
    assert state(pins=(pinned(1, "SNAP-1", T + DAY, T + 9 * DAY),)) == "deviated"
    assert state(pins=(pinned(2, "SNAP-1", known_at + timedelta(minutes=1), T + 9 * DAY),)) == "good"
    found = domain.verdict("after", "steady", [], domain.Standing(kept, "deviated", doubt.sentence))
    assert found.outcome == "inconclusive" and "from a run that deviated: SNAP-1 was taken" in found.sentence


def test_a_pinned_benchmark_that_was_taken_for_another_change_shows_its_health_and_what_was_answered() -> None:
    kept = benchmark(1, T, cr_id="CR-9")
    found = health(POLICY, captured(), captured(days=3))
    published = Provenance(kept.id, "uploaded", corrects="SNAP-0", health=found, despite={"gaps": "at night"})
    _, fact = domain.pin(
        1, kept, "epl", who="local|olga", reason="x", expires_at=T + DAY, max_days=30, now=T + timedelta(hours=1),
        published=published, despite={"deviated": "kept by decision"},
    )  # fmt: skip
    facts = Facts([Known("e1", fact.type, "pin|PIN-1", 1, T + timedelta(hours=1), "x", fact)])
    shown = reviewed.benchmark(facts, facts, {}, "CR-1", "epl", POLICY, T + timedelta(hours=2))
    assert (shown.state, shown.health, shown.origin, shown.corrects) == ("counts", found, "uploaded", "SNAP-0")
    assert dict(shown.despite) == {"gaps": "at night", "deviated": "kept by decision"}


def test_a_benchmark_published_at_the_very_moment_of_the_deploy_is_late_for_both() -> None:
    kept = benchmark(1, T)
    fact = domain.published(kept, Provenance(kept.id, "pulled"))[1]
    facts = Facts([Known("e1", fact.type, "x|1", 1, T, "x", fact)])
    assert stands(kept, deployed_at=T, now=T + DAY).state == "late"
    assert reviewed.benchmark(facts, facts, {}, "CR-1", "epl", POLICY, T, is_deploy=True).state == "late"
    assert stands(kept, now=T).state == "good"
    assert reviewed.benchmark(facts, facts, {}, "CR-1", "epl", POLICY, T).state == "counts"


def test_what_a_pin_and_a_benchmark_say_is_kept_whole_on_the_wire() -> None:
    made = Provenance(
        "SNAP-1", "uploaded", "SNAP-9", "SNAP-3", health(POLICY, captured(), captured(days=2)), {"gaps": "x"}
    )
    said = domain.published(benchmark(1, T), made)[1]
    assert isinstance(said, BenchmarkPublished)
    again = BenchmarkPublished.model_validate_json(said.model_dump_json())
    assert again == said and again.health is not None and again.despite == {"gaps": "x"} and again.corrects == "SNAP-3"
    expired = domain.expire(pinned(1, "SNAP-1", T, T + DAY), who="daymark|snapshotter")
    assert isinstance(expired, BenchmarkExpired) and expired.at == T + DAY and expired.because == "expired"
