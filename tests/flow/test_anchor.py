"""The anchor that nobody chose, on a real database: which release it is at a deploy, and that finding it stays cheap."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.snapshotter import store
from services.snapshotter.domain import ROLLED_BACK, Observation, Snapshot, Window
from shared.db import Tx
from tests.observing import POLICY, House, snapshotter
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        yield made


async def verified(house: House, cr_id: str) -> tuple[datetime, str]:
    """Register, publish, deploy, and the steady look a day later: when it was deployed, and the after snapshot."""
    await house.registered(cr_id)
    assert (await house.publish(change_request=cr_id, reason="an ordinary day")).status_code == 201
    at = await house.deployed(cr_id)
    await house.go_to(at + DAY)
    await house.worker.drain()
    look = (await house.observation(cr_id))["current"]
    assert look["outcome"] == "steady", look
    return at, look["snapshot"]


async def test_no_verified_change_moves_the_anchor_and_a_rollback_or_time_does(house: House) -> None:
    async def anchor() -> tuple[str | None, str | None]:
        view = (await house.get("/products/epl/anchor")).json()
        assert not view["is_chosen"] and not view["choices"] and not view["is_doubted"]
        return view["change_request"], view["snapshot"]

    rules = POLICY.observation.model_copy(update={"step_s": 900, "history_days": 0})
    await house.policy(POLICY.model_copy(update={"slis": POLICY.slis[:1], "observation": rules}))
    assert await anchor() == (None, None)
    _, first = await verified(house, "CR-1")
    assert await anchor() == ("CR-1", first)
    second_at, second = await verified(house, "CR-2")
    assert await anchor() == ("CR-1", first)
    assert (await house.observation("CR-2"))["current"]["anchor"] == first
    await house.rolled_back("CR-1")
    assert await anchor() == ("CR-2", second)
    assert (await house.observation("CR-2"))["current"]["anchor"] == first  # what it was held against stays
    assert (await house.get("/change-requests/CR-2/recomputation")).json()["is_equal"]
    _, third = await verified(house, "CR-3")
    assert (await house.observation("CR-3"))["current"]["anchor"] == second
    await house.go_to(second_at + 90 * DAY - timedelta(minutes=1))
    assert await anchor() == ("CR-2", second)
    await house.go_on(minutes=1)
    assert await anchor() == ("CR-3", third)
    await house.go_on(days=2)
    assert await anchor() == (None, None)
    said = (await house.get("/products/epl/anchor")).json()["sentence"]
    assert f"its last verified release, CR-3 ({third} of " in said and "older than the horizon of 90 days" in said


# -- which release, of many --------------------------------------------------------------------------------------------


async def look(
    tx: Tx,
    number: int,
    at: datetime,
    *,
    closed_h: float = 24,
    product: str = "epl",
    outcome: Any = "steady",
    **more: Any,
) -> Observation:
    """A look at CR-`number`, deployed `at`, whose verdict came after `closed_h`; what is to differ in `more`."""
    window = Window(at, at + DAY, 60)
    closed_at = at + timedelta(hours=closed_h)
    await store.insert_snapshot(
        tx,
        Snapshot(
            f"SNAP-{number}", "after", product, f"CR-{number}", 1, 1, window, closed_at, "daymark|snapshotter", "", "p1",
            f"hash{number}", 1,
        ),
        None,
        raw_days=400,
    )  # fmt: skip
    given: dict[str, Any] = {"state": "closed", "snapshot_id": f"SNAP-{number}", "closed_at": closed_at}
    made = Observation(
        f"CR-{number}", product, 1, 1, "after", at, at + DAY, at + DAY, at, "p1", outcome=outcome, **given | more
    )
    await store.save_observation(tx, made)
    return made


async def test_what_deviated_was_rolled_back_or_corrected_is_passed_over_by_what_was_known_at_the_deploy(
    house: House,
) -> None:
    begin = await house.now()

    def day(number: float) -> datetime:
        return begin + number * DAY

    async with house.db.house() as tx:
        await look(tx, 9, day(-9), product="scp")
        first = await look(tx, 1, day(0))
        back = Observation("CR-1", "epl", 1, 1, "recovery", day(49), day(50), day(50), day(50), "p1")
        await store.save_observation(tx, back)  # heard of on the 50th day
        await look(tx, 2, day(1), outcome="moved", deviated_at=day(2))
        await look(tx, 3, day(2), deviated_at=day(2.1))  # an early look raised it; kept or not, it is not verified
        await look(tx, 4, day(3), outcome="inconclusive")
        corrected: dict[str, Any] = {"state": "superseded", "superseded_because": "the deploy time was corrected"}
        await look(tx, 5, day(4), superseded_at=day(60), **corrected)
        await look(tx, 6, day(5), closed_h=96)  # its source was down: the verdict came on the 9th day
        await look(tx, 7, day(6))
        ended: dict[str, Any] = {
            "state": "superseded",
            "superseded_because": f"{ROLLED_BACK}then",
            "superseded_at": day(1.5),
        }
        await look(tx, 8, day(1), outcome=None, **ended)
        open_look: dict[str, Any] = {"state": "scheduled", "snapshot_id": None, "closed_at": None}
        await look(tx, 10, day(8), outcome=None, **open_look)

        async def at(by: float, since: float = -90, besides: Observation | None = None) -> str | None:
            found = await store.first_verified(tx, "epl", day(by), day(since), besides)
            return found.id if found else None

        known = {by: await at(by) for by in (0.9, 1, 1.1, 49.9, 50.1, 60.1)}
        assert known == {0.9: None, 1: None, 1.1: "SNAP-1", 49.9: "SNAP-1", 50.1: "SNAP-5", 60.1: "SNAP-7"}
        # the first verdict, not the first deploy: else CR-6 would have taken the place of CR-7 when it was verified
        assert [await at(by, since=5) for by in (7.1, 8.9, 9.1, 95)] == ["SNAP-7"] * 4
        assert [await at(95, since) for since in (6, 6.1)] == ["SNAP-7", None]
        assert await at(1.1, besides=first) is None  # a corrected deploy is not held against its own mistaken look
        last = await store.last_verified(tx, "epl", day(95))
        assert last is not None and last.id == "SNAP-6"
        assert await store.last_verified(tx, "epl", day(0.9)) is None


async def test_the_anchor_is_found_without_reading_the_looks_of_years(house: House) -> None:
    """By the counters of the database itself: nothing is read from end to end, and few rows of the index are."""
    async with house.db.house() as tx:
        await look(tx, 1, tx.now - 400 * DAY)
        await tx.raw.execute(
            "INSERT INTO snapshots SELECT (jsonb_populate_record(s, jsonb_build_object('number', n, 'id', 'SNAP-' || n,"
            " 'cr_id', 'CR-' || n))).* FROM snapshots s, generate_series(2, 2000) n"
        )
        await tx.raw.execute(
            "INSERT INTO observations SELECT (jsonb_populate_record(o, jsonb_build_object('cr_id', 'CR-' || n,"
            " 'snapshot_id', 'SNAP-' || n, 'starts_at', o.starts_at + t, 'closed_at', o.closed_at + t,"
            " 'outcome', CASE WHEN n % 10 = 0 THEN 'moved' ELSE 'steady' END))).*"
            " FROM observations o, generate_series(2, 2000) n, LATERAL (SELECT n * interval '6 hours' AS t) later"
        )
        await tx.raw.execute("SELECT pg_stat_force_next_flush()")
    await house.admin(lambda admin: admin.execute("ANALYZE snapshotter.observations, snapshotter.snapshots"))

    async def counted() -> tuple[int, int]:
        (row,) = await house.rows(
            "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname IN ('observations', 'snapshots'))"
            " AS whole, (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE indexrelname = 'observations_verified')"
            " AS verified"
        )
        return int(row["whole"]), int(row["verified"])

    before = await counted()
    async with house.db.house() as tx:
        first = await store.first_verified(tx, "epl", tx.now, tx.now - 90 * DAY)
        last = await store.last_verified(tx, "epl", tx.now)
        await tx.raw.execute("SELECT pg_stat_force_next_flush()")
    assert first is not None and first.id == "SNAP-1241"  # 310 days after the first; every tenth deviated
    assert last is not None and last.id == "SNAP-1596"
    after = await counted()
    assert after[0] == before[0], "a table was read from end to end"
    assert 0 < after[1] - before[1] <= 20, "the index was not used, or read far beyond the first"
