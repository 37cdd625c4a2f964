"""The anchor: whose choice it is, from when it holds, and what a verdict says of creep."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.snapshotter.domain import (
    Anchor,
    AnchorChoice,
    Run,
    Snapshot,
    Window,
    by_default,
    choice_at,
    choose,
    chosen,
    creep_sentence,
    horizon,
)
from shared.contracts import ComparedSLI, read_policy
from shared.errors import Conflict

T = datetime(2026, 9, 8, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def snapshot(number: int = 1, kind: Any = "benchmark", product: str = "epl") -> Snapshot:
    window = Window(T - DAY, T, 60)
    return Snapshot(
        f"SNAP-{number}",
        kind,
        product,
        "CR-1",
        None,
        None,
        window,
        T,
        "local|olga",
        "ordinary",
        "p1",
        f"hash{number}",
        1,
    )


def choice(number: int, at: datetime = T) -> AnchorChoice:
    return AnchorChoice("epl", number, f"SNAP-{number}", at, "local|olga", "the new region")


def compared(outcome: Any = "steady", view: str | None = None, effect: float | None = 0.34) -> ComparedSLI:
    return ComparedSLI(
        sli="p99", title="p99 latency", outcome=outcome, sentence="p99 latency rose", decides=True, severity="major",
        view=view, effect_relative=effect,
    )  # fmt: skip


def test_a_choice_holds_for_deploys_after_it_and_the_last_one_counts() -> None:
    choices = [choice(1, T), choice(2, T + DAY)]
    assert choice_at(choices, T) is None and choice_at(choices, T + DAY) == choices[0]
    assert choice_at(choices, T + 2 * DAY) == choices[1]


def test_an_anchor_is_a_benchmark_of_the_product_and_another_than_before() -> None:
    made, fact = choose("epl", snapshot(2), [choice(1)], by="local|omar", reason="accepted", now=T, despite={})
    assert (made.number, fact.instead_of, fact.content_hash, fact.chosen_by) == (2, "SNAP-1", "hash2", "local|omar")
    for other in (snapshot(2, "after"), snapshot(2, product="scp")):
        with pytest.raises(Conflict, match="no benchmark of epl"):
            choose("epl", other, [], by="local|omar", reason="accepted", now=T, despite={})
    with pytest.raises(Conflict, match="already"):
        choose("epl", snapshot(1), [choice(1)], by="local|omar", reason="accepted", now=T, despite={})


def run(found_at: datetime | None, starts_at: datetime = T - DAY / 2) -> Run:
    return Run("CR-9", 1, "after", starts_at, starts_at + DAY, found_at)


def test_without_a_choice_it_is_a_verified_release_and_says_so() -> None:
    first = by_default(snapshot(2, "after"), None, "epl", 90 * DAY)
    assert (first.choice, first.is_doubted, first.since) == (
        None,
        False,
        T - DAY,
    )  # itself the first of the releases since
    within = "CR-1, the first release that was verified within the horizon of 90 days"
    assert first.sentence == f"SNAP-2 of 2026-09-08, from {within}"
    assert chosen(snapshot(), choice(1)).since == T


def test_with_none_it_says_why_and_what_operations_may_do() -> None:
    may = "; operations may choose one of its benchmarks"
    nothing = by_default(None, None, "epl", 90 * DAY)
    assert (nothing.snapshot, nothing.since, nothing.is_doubted) == (None, None, False)
    assert nothing.sentence == f"epl has no anchor: no release of it was verified yet{may}"
    old = by_default(None, snapshot(2, "after"), "epl", 1.5 * DAY)
    assert old.snapshot is None  # time has passed it
    was = "its last verified release, CR-1 (SNAP-2 of 2026-09-08), is older than the horizon of 1.5 days"
    assert old.sentence == f"epl has no anchor: {was}{may}"


@pytest.mark.parametrize(
    ("anchor_days", "raw_days", "days"), [(90, 400, 90), (90, 30, 30), (500, 400, 400), (2, 400, 2)]
)
def test_the_horizon_ends_where_raw_samples_do(anchor_days: float, raw_days: float, days: float) -> None:
    given = {"observation": {"anchor_days": anchor_days}, "samples": {"raw_days": raw_days}}
    policy = read_policy({"id": "epl", "name": "EPL", "enforcement": "observe", "slis": [], **given})
    assert horizon(policy) == days * DAY


def test_a_chosen_anchor_whose_run_deviates_afterwards_proves_no_absence_of_creep() -> None:
    knew = AnchorChoice("epl", 1, "SNAP-1", T + DAY, "local|olga", "as decided", {"deviated": "INV-1 keeps it"})
    for one, found_at, is_doubted in (
        (choice(1), T, True),  # chosen before that rule, or heard late: nobody has answered for it
        (choice(1), None, False),
        (knew, T, False),
        (knew, T + 2 * DAY, True),  # another one than the one that was answered for
    ):
        anchor = chosen(snapshot(), one, [run(found_at)])
        assert anchor.is_doubted is is_doubted
        assert ("its run deviated: INV-1 keeps it" in anchor.sentence) is (one is knew)
        said = creep_sentence(anchor, [None], [compared()])
        assert said.startswith("Whether anything crept cannot be said" if is_doubted else "No SLI that is steady has")
        assert creep_sentence(anchor, [None], [compared("moved", "creep")]).startswith("1 SLI has crept away")
    many = chosen(snapshot(), choice(1), [run(T)] * 5).sentence
    assert many.endswith(f"since: {', '.join(['CR-9 (deployment 1)'] * 3)} and 2 more")
    with pytest.raises(Conflict, match="already"):
        choose("epl", snapshot(), [knew], by="local|omar", reason="again", now=T, despite={}, runs=[run(T)])
    with pytest.raises(Conflict, match="and that deviated"):
        choose("epl", snapshot(), [choice(1)], by="local|omar", reason="again", now=T, despite={}, runs=[run(T)])


def test_what_is_said_of_creep_never_takes_absence_for_health() -> None:
    first = by_default(snapshot(1, "after"), None, "epl", 90 * DAY)
    assert "SNAP-1 of 2026-09-08, chosen by local|olga" in chosen(snapshot(), choice(1)).sentence
    assert creep_sentence(None, None, []) == ""  # a recovery
    nothing = by_default(None, None, "epl", 90 * DAY)
    said = creep_sentence(nothing, None, [compared()])
    assert said == f"Creep was not looked at: {nothing.sentence}."
    itself = chosen(snapshot(), choice(1))
    assert "the benchmark is the anchor itself" in creep_sentence(itself, None, [compared()])
    gone = creep_sentence(first, ["the raw samples of SNAP-1 have expired"] * 2, [compared(), compared()])
    assert gone.startswith("Creep was not looked at: the raw samples of SNAP-1 have expired")
    partly = creep_sentence(first, [None, "SNAP-1 has no such SLI"], [compared(), compared()])
    assert "No SLI that is steady has crept away" in partly
    assert "For 1 of 2 it could not be looked at, first: SNAP-1 has no such SLI." in partly


def test_creep_is_named_with_how_far_and_releases_only_when_there_are_enough() -> None:
    first = by_default(snapshot(1, "after"), None, "epl", 90 * DAY)
    crept = creep_sentence(first, [None] * 5, [compared("moved", "creep")] * 4 + [compared("moved", "level")], 5)
    assert crept.startswith("4 SLIs have crept away from the anchor (SNAP-1")
    assert crept.endswith("p99 latency +34%, p99 latency +34%, p99 latency +34% and 1 more.")
    calm = creep_sentence(first, [None], [compared()], 6)
    assert calm.endswith("Over the 6 releases since, none has moved little by little or at one of them.")
    over = creep_sentence(first, [None], [compared("moved", "jump at a release", None)], 9)
    assert over.endswith("1 SLI has moved over the 9 releases since: p99 latency rose.")
    assert isinstance(first, Anchor)
