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
    anchored,
    choice_at,
    choose,
    creep_sentence,
    may_be_default,
)
from shared.contracts import ComparedSLI
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


def test_no_run_that_deviated_or_is_observed_gives_the_anchor_by_default() -> None:
    assert may_be_default(snapshot(), {}, [run(T, starts_at=T)])  # it began when the window was over
    assert may_be_default(snapshot(), {"gaps": "the exporter was down"}, [])
    for found_at in (None, T, T + 9 * DAY):
        assert not may_be_default(snapshot(), {}, [run(found_at)])
    for code in ("deviated", "observed"):  # also when it turned out well: no verdict moves the anchor
        assert not may_be_default(snapshot(), {code: "we know"}, [])
    many = [f"SNAP-{n}" for n in range(1, 6)]
    assert (
        "and may be it: SNAP-1, SNAP-2, SNAP-3 and 2 more came"
        in anchored(snapshot(6), None, "epl", passed=many).sentence
    )
    assert anchored(None, None, "epl", passed=["SNAP-1"]).sentence.startswith(
        "epl has no anchor: SNAP-1 came from a run"
    )


def test_a_chosen_anchor_whose_run_deviates_afterwards_proves_no_absence_of_creep() -> None:
    knew = AnchorChoice("epl", 1, "SNAP-1", T + DAY, "local|olga", "as decided", {"deviated": "INV-1 keeps it"})
    for chosen, found_at, is_doubted in (
        (choice(1), T, True),  # chosen before that rule, or heard late: nobody has answered for it
        (choice(1), None, False),
        (knew, T, False),
        (knew, T + 2 * DAY, True),  # another one than the one that was answered for
    ):
        anchor = anchored(snapshot(), chosen, "epl", runs=[run(found_at)])
        assert anchor.is_doubted is is_doubted
        assert ("its run deviated: INV-1 keeps it" in anchor.sentence) is (chosen is knew)
        said = creep_sentence(anchor, [None], [compared()])
        assert said.startswith("Whether anything crept cannot be said" if is_doubted else "No SLI that is steady has")
        assert creep_sentence(anchor, [None], [compared("moved", "creep")]).startswith("1 SLI has crept away")
    with pytest.raises(Conflict, match="already"):
        choose("epl", snapshot(), [knew], by="local|omar", reason="again", now=T, despite={}, runs=[run(T)])
    with pytest.raises(Conflict, match="and that deviated"):
        choose("epl", snapshot(), [choice(1)], by="local|omar", reason="again", now=T, despite={}, runs=[run(T)])


def test_what_is_said_of_creep_never_takes_absence_for_health() -> None:
    first = anchored(snapshot(), None, "epl")
    assert first.sentence == "SNAP-1 of 2026-09-08, the first benchmark that was published"
    assert "chosen by local|olga" in anchored(snapshot(), choice(1), "epl").sentence
    assert creep_sentence(None, None, []) == ""  # a recovery
    nothing = anchored(None, None, "epl")
    assert creep_sentence(nothing, None, [compared()]).startswith("Creep was not looked at: epl has no anchor")
    assert "the benchmark is the anchor itself" in creep_sentence(first, None, [compared()])
    gone = creep_sentence(first, ["the raw samples of SNAP-1 have expired"] * 2, [compared(), compared()])
    assert gone.startswith("Creep was not looked at: the raw samples of SNAP-1 have expired")
    partly = creep_sentence(first, [None, "SNAP-1 has no such SLI"], [compared(), compared()])
    assert "No SLI that is steady has crept away" in partly
    assert "For 1 of 2 it could not be looked at, first: SNAP-1 has no such SLI." in partly


def test_creep_is_named_with_how_far_and_releases_only_when_there_are_enough() -> None:
    first = anchored(snapshot(), None, "epl")
    crept = creep_sentence(first, [None] * 5, [compared("moved", "creep")] * 4 + [compared("moved", "level")], 5)
    assert crept.startswith("4 SLIs have crept away from the anchor (SNAP-1")
    assert crept.endswith("p99 latency +34%, p99 latency +34%, p99 latency +34% and 1 more.")
    calm = creep_sentence(first, [None], [compared()], 6)
    assert calm.endswith("Over the 6 releases since, none has moved little by little or at one of them.")
    over = creep_sentence(first, [None], [compared("moved", "jump at a release", None)], 9)
    assert over.endswith("1 SLI has moved over the 9 releases since: p99 latency rose.")
    assert isinstance(first, Anchor)
