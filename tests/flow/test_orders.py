"""Facts arrive in any order across topics, and more than once: what follows from them is the same.

Order is kept only within one key of one topic, which is all that the bus promises.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import pytest

from services.reviewer.domain import document
from services.reviewer.domain.dossier import assemble
from services.reviewer.domain.gate import Freshness
from services.reviewer.domain.known import Known, known
from services.reviewer.domain.stage import stage
from shared.contracts import (
    FACTS,
    BenchmarkPublished,
    CRDeployed,
    CRRegistered,
    CRRolledBack,
    DeviationDetected,
    DeviationWithdrawn,
    Event,
    ObservationClosed,
    ObservationSuperseded,
    ProductChanged,
    ReleasePlanned,
    SnapshotOverdue,
    SnapshotTaken,
)
from shared.jsons import dumps
from tests.flow.hearing import Hearer, interleavings
from tests.flow.world import HOUR, MINUTE, _prepared
from tests.servers.postgres import Databases
from tests.stories import COMMIT, Story, policy
from tests.stories.lives import CRS, lives

SHUFFLES = 500
THROUGH_THE_DATABASE = 16


def moved(story: Story, cr: str = "CR-1", product: str = "epl", revision: int = 1) -> None:
    """What the snapshotter says when a look moved."""
    story.observe(cr, product, "moved", revision=revision)
    story.say(deviation(story, cr, product, revision), "daymark|snapshotter")


def deviation(story: Story, cr: str, product: str, revision: int = 1) -> DeviationDetected:
    return DeviationDetected(
        deviation_id=f"DEV-{cr}-1-{revision}", cr_id=cr, product_id=product, release_id=f"{product}-26.12", deployment=1,
        revision=revision, severity="critical", sli="latency-p99", title="Settlement latency p99", unit="ms", before=200.0,
        after=320.0, effect_relative=0.6, limit=20.0, since_at=story.now - 20 * HOUR, slis_moved=1, slis_judged=3,
        sentence="It rose by 60 %.", benchmark_id="SNAP-1", snapshot_id=f"SNAP-{cr[3:]}-after", detected_at=story.now,
    )  # fmt: skip


def back(cr: str, product: str, at: datetime) -> CRRolledBack:
    return CRRolledBack(
        cr_id=cr, product_id=product, deployment=1, revision=1, rolled_back_at=at, reported_at=at, reason="it was worse"
    )


def lanes(events: Sequence[Event[Any]]) -> list[list[Event[Any]]]:
    """The events by topic and key, each lane in its order: what the bus keeps."""
    found: dict[tuple[str, str], list[Event[Any]]] = {}
    for event in events:
        found.setdefault((event.data.topic, event.key), []).append(event)
    return list(found.values())


def shuffled(rows: list[list[Event[Any]]], seed: int, *, duplicates: float = 0.2) -> list[Event[Any]]:
    """One arrival: lanes mixed at random, some letters said again later in their lane (a relay that sent twice)."""
    rng = random.Random(seed)
    waiting = []
    for row in rows:
        lane = list(row)
        for place in range(len(row)):
            if rng.random() < duplicates:
                lane.insert(rng.randint(place + 1, len(lane)), row[place])
        waiting.append(lane[::-1])
    order = []
    while waiting:
        lane = rng.choice(waiting)
        order.append(lane.pop())
        waiting = [lane for lane in waiting if lane]
    return order


def shown(facts: Sequence[Known[Any]], cr: str, product: str, at: datetime) -> bytes:
    """The whole document of a dossier, as its door would write it."""
    return dumps(document.dossier_document(assemble(cr, product, facts, at), Freshness(at), at))


@pytest.fixture(scope="module")
async def reviewer(postgres: Databases) -> AsyncIterator[Hearer]:
    url = await postgres.fresh(await postgres.template("world", _prepared))
    hearer = Hearer(url, "reviewer")
    yield hearer
    await hearer.close()
    await postgres.drop(url)


async def dossier_of(hearer: Hearer, cr: str, product: str, at: datetime) -> bytes:
    """The document from the facts that the hearer kept."""
    from services.reviewer import store

    async with hearer.db.house() as tx:
        facts = [*(await store.of_crs(tx, [cr]))[cr], *(await store.of_products(tx, [product]))[product]]
    return shown(facts, cr, product, at)


# -- the heart ------------------------------------------------------------------------------------------------------


def heart() -> tuple[Story, list[list[Event[Any]]]]:
    """A change from its registration to a deviation, with just what a dossier needs to know of it."""
    story = Story()
    story.product(policy())
    story.register("CR-1", "epl", None, "Tune the settlement queue")
    story.benchmark("CR-1", "epl", "SNAP-1")
    story.after(1).deploy("CR-1", "epl")
    story.after(24)
    moved(story)
    return story, lanes(story.events)


def test_every_interleaving_of_the_heart_facts_gives_one_dossier() -> None:
    story, rows = heart()
    assert {kind for row in rows for kind in (type(event.data) for event in row)} >= {
        CRRegistered, CRDeployed, SnapshotTaken, BenchmarkPublished, ObservationClosed, DeviationDetected, ProductChanged,
    }  # fmt: skip
    orders = interleavings(*rows)
    assert len(orders) == 840  # 8! / (1! 2! 4! 1!)
    told = {shown([known(event) for event in order], "CR-1", "epl", story.now) for order in orders}
    assert len(told) == 1
    assert b'"stage":"deviating"' in told.pop()


async def test_every_interleaving_of_the_heart_facts_is_kept_as_one_dossier_by_the_reviewer(reviewer: Hearer) -> None:
    story, rows = heart()
    expected = shown(story.known, "CR-1", "epl", story.now)
    for number, order in enumerate(interleavings(*rows)):
        if number % 14:  # all 840 are held above; here every fourteenth goes through consumer, step and table
            continue
        await reviewer.empty()
        await reviewer.hear(*order)
        assert await dossier_of(reviewer, "CR-1", "epl", story.now) == expected, [event.type for event in order]


async def test_letter_by_letter_is_the_same_as_in_one_batch(reviewer: Hearer) -> None:
    story, rows = heart()
    expected = shown(story.known, "CR-1", "epl", story.now)
    for seed in range(6):
        await reviewer.empty()
        for event in shuffled(rows, seed):
            await reviewer.hear(event)
        assert await dossier_of(reviewer, "CR-1", "epl", story.now) == expected


# -- whole lives ----------------------------------------------------------------------------------------------------


def test_the_lives_leave_out_no_type_of_fact() -> None:
    said = {event.type for event in lives().events}
    assert said == FACTS.keys(), "tests/stories/lives.py must say a new type of fact as well, or no shuffle holds it"


def test_the_lives_end_as_they_were_written() -> None:
    story = lives()
    stages = [(cr, product, stage(assemble(cr, product, story.known, story.now), story.now)) for cr, product, _ in CRS]
    assert stages == list(CRS)


def test_500_shuffles_of_whole_lives_with_duplicates_give_the_same_dossiers() -> None:
    story = lives()
    rows = lanes(story.events)
    expected = [shown(story.known, cr, product, story.now) for cr, product, _ in CRS]
    heard = {event.id: known(event) for event in story.events}
    for seed in range(SHUFFLES):
        facts = [heard[event.id] for event in shuffled(rows, seed)]
        for (cr, product, _), told in zip(CRS, expected, strict=True):
            assert shown(facts, cr, product, story.now) == told, f"seed {seed}, {cr}"


async def test_shuffled_lives_heard_by_a_fresh_reviewer_give_the_same_dossiers(reviewer: Hearer) -> None:
    story = lives()
    rows = lanes(story.events)
    expected = [shown(story.known, cr, product, story.now) for cr, product, _ in CRS]
    for seed in range(THROUGH_THE_DATABASE):
        await reviewer.empty()
        order, rng = shuffled(rows, seed), random.Random(seed)
        while order:
            size = rng.randint(1, 20)
            await reviewer.hear(*order[:size])
            order = order[size:]
        for (cr, product, _), told in zip(CRS, expected, strict=True):
            assert await dossier_of(reviewer, cr, product, story.now) == told, f"seed {seed}, {cr}"


def test_even_a_lane_that_is_out_of_order_gives_the_same_dossier() -> None:
    story = lives()
    expected = [shown(story.known, cr, product, story.now) for cr, product, _ in CRS]
    for seed in range(50):
        facts = story.known
        random.Random(seed).shuffle(facts)
        assert [shown(facts, cr, product, story.now) for cr, product, _ in CRS] == expected


# -- incidents ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def incidents(postgres: Databases) -> AsyncIterator[Hearer]:
    url = await postgres.fresh(await postgres.template("world", _prepared))
    hearer = Hearer(url, "incidents")
    yield hearer
    await hearer.close()
    await postgres.drop(url)


async def left_behind(hearer: Hearer) -> dict[str, Any]:
    """What the incidents service made of what it heard, without numbers and times, which follow arrival."""
    await hearer.settle()
    return {
        "investigations": [
            tuple(row)
            for row in await hearer.rows(
                "SELECT cr_id, deployment, revision, kind, deviation_id, owner, severity, state, reason"
                " FROM investigations WHERE kind = 'deviation' OR state NOT IN ('decided', 'closed') ORDER BY 1, 2, 3, 4"
            )
        ],
        "incidents": [
            tuple(row)
            for row in await hearer.rows(
                "SELECT cr_id, deviation_id, origin, closed_at IS NULL, closed_reason FROM incidents ORDER BY 1, 2"
            )
        ],
        "cases": [
            tuple(row)
            for row in await hearer.rows(
                "SELECT i.deviation_id, c.title, CASE WHEN NOT c.is_withdrawn THEN c.release_id END, c.state, c.is_withdrawn"
                " FROM cases c"
                " JOIN incidents i ON i.id = c.incident_id ORDER BY 1, 2"
            )
        ],
        "awaited": [
            tuple(row)
            for row in await hearer.rows("SELECT subject, revision FROM agenda WHERE job = 'miss_look' ORDER BY 1")
        ],
        "parked": [tuple(row) for row in await hearer.rows("SELECT topic, key FROM parked ORDER BY 1, 2")],
    }


def deviating(*, corrected: bool = False, rolled_back: bool = False, overdue: bool = False) -> Story:
    s = Story()
    s.product(policy())
    s.say(
        ReleasePlanned(release_id="epl-26.12", product_id="epl", name="26.12", planned_at=s.now + 99 * HOUR, at=s.now)
    )
    s.register("CR-1", "epl", None, "Tune the settlement queue")
    s.deploy("CR-1", "epl")
    s.after(24)
    about: dict[str, Any] = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "revision": 1}
    if overdue:
        s.say(SnapshotOverdue(**about, kind="after", due_at=s.now, overdue_at=s.now, reason="1 of 3 SLIs: x"))
    moved(s)
    if corrected:
        s.deploy("CR-1", "epl", revision=2, deployed_at=s.now - 2 * HOUR, reported_at=s.now)
        s.say(ObservationSuperseded(**about, kind="after", reason="the deploy time was corrected", at=s.now))
        s.say(
            DeviationWithdrawn(**about, deviation_id="DEV-CR-1-1-1", reason="the deploy time was corrected", at=s.now)
        )
    if rolled_back:
        s.say(back("CR-1", "epl", s.now))
    return s


@pytest.mark.parametrize("how", ["deviating", "corrected", "rolled_back", "overdue"])
async def test_every_interleaving_leaves_the_same_investigation_incident_and_debt(incidents: Hearer, how: str) -> None:
    story = deviating(**{how: True} if how != "deviating" else {})
    heard = [event for event in story.events if type(event.data) in incidents.on]
    orders = interleavings(*lanes(heard))
    rng = random.Random(how)
    await incidents.empty()
    await incidents.hear(*heard)
    expected = await left_behind(incidents)
    assert expected["parked"] == [] and len(expected["incidents"]) == 1
    assert expected["investigations"][0][7] == {"corrected": "closed", "rolled_back": "closed"}.get(how, "opened")
    for order in rng.sample(orders, min(24, len(orders))):
        await incidents.empty()
        await incidents.hear(*order)
        assert await left_behind(incidents) == expected, [event.type for event in order]


async def test_shuffles_with_duplicates_letter_by_letter_leave_the_same(incidents: Hearer) -> None:
    story = deviating(corrected=True)
    heard = [event for event in story.events if type(event.data) in incidents.on]
    await incidents.empty()
    await incidents.hear(*heard)
    expected = await left_behind(incidents)
    for seed in range(20):
        await incidents.empty()
        for event in shuffled(lanes(heard), seed, duplicates=0.5):
            await incidents.hear(event)
        assert await left_behind(incidents) == expected, f"seed {seed}"


# -- snapshotter ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def snapshotter(postgres: Databases) -> AsyncIterator[Hearer]:
    url = await postgres.fresh(await postgres.template("world", _prepared))
    hearer = Hearer(url, "snapshotter")
    yield hearer
    await hearer.close()
    await postgres.drop(url)


async def test_whenever_the_policy_is_heard_the_same_looks_are_armed(snapshotter: Hearer) -> None:
    s = Story()
    s.product(policy())
    s.register("CR-1", "epl", None, "Tune the settlement queue")
    s.deploy("CR-1", "epl")
    s.after(2).deploy("CR-1", "epl", revision=2, deployed_at=s.now - HOUR, reported_at=s.now)
    s.after(1).say(back("CR-1", "epl", s.now))
    s.deploy("CR-1", "epl", deployment=2, commit=COMMIT)
    heard = [event for event in s.events if type(event.data) in snapshotter.on]

    async def armed() -> list[Any]:
        await snapshotter.settle()
        looks = await snapshotter.rows(
            "SELECT deployment, revision, kind, state, starts_at, due_at, superseded_because FROM observations"
            " ORDER BY 1, 2, 3"
        )
        jobs = await snapshotter.rows(
            "SELECT subject, revision, due_at FROM agenda WHERE job = 'take_snapshot' ORDER BY 1"
        )
        return [[tuple(row) for row in looks], [tuple(row) for row in jobs]]

    await snapshotter.empty()
    await snapshotter.hear(*heard)
    expected = await armed()
    assert [job[0] for job in expected[1]] == ["CR-1/1/recovery", "CR-1/2/after"]
    for order in interleavings(*lanes(heard)):
        await snapshotter.empty()
        await snapshotter.hear(*order)
        assert await armed() == expected, [event.type for event in order]
    for seed in range(20):
        await snapshotter.empty()
        for event in shuffled(lanes(heard), seed, duplicates=0.6):
            await snapshotter.hear(event)
        assert await armed() == expected, f"seed {seed}"


async def test_a_correction_that_arrives_again_and_an_older_one_after_it_change_nothing(snapshotter: Hearer) -> None:
    s = Story()
    s.product(policy())
    s.register("CR-1", "epl", None, "Tune the settlement queue")
    first = s.deploy("CR-1", "epl")
    second = s.deploy("CR-1", "epl", revision=2, deployed_at=s.now - 30 * MINUTE)
    await snapshotter.empty()
    await snapshotter.hear(*s.events)
    before = await snapshotter.rows("SELECT * FROM observations ORDER BY revision")
    await snapshotter.hear(first)
    await snapshotter.hear(second, first, second)
    assert await snapshotter.rows("SELECT * FROM observations ORDER BY revision") == before
    assert [row["state"] for row in before] == ["superseded", "scheduled"]
