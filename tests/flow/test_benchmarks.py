"""Drafts, publishing them, corrections, pins: on a real database and through the snapshotter's own doors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import numpy as np
import pytest

from shared.contracts import (
    BenchmarkDoubted,
    BenchmarkDrafted,
    BenchmarkExpired,
    BenchmarkPinned,
    BenchmarkPublished,
    DeviationDetected,
    ReviewRequested,
)
from tests.observing import POLICY, House, snapshotter
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        await made.policy()
        await made.registered()
        yield made


async def post(house: House, path: str, who: str = "olga", once: str | None = None, **body: Any) -> httpx2.Response:
    return await house.client.post(f"/snapshotter/v1{path}", json=body, headers=house.headers(who, once))


async def in_review(house: House, cr_id: str = "CR-1") -> None:
    await house.hear(ReviewRequested(cr_id=cr_id, product_id="epl", digest="ab", at=await house.now()))


async def test_a_review_finds_a_draft_and_operations_makes_it_the_benchmark(house: House) -> None:
    await in_review(house)
    assert await house.worker.drain() == 1
    (drafted,) = await house.said(BenchmarkDrafted)
    assert (drafted.subject, drafted.drafted_by, drafted.health.state) == ("CR-1", "daymark|snapshotter", "good")
    view = (await house.observation())["benchmark"]
    assert (view["state"], view["snapshot"], view["draft"]) == ("missing", None, drafted.snapshot_id)  # it is none
    draft = (await house.get(f"/snapshots/{drafted.snapshot_id}")).json()
    assert draft["kind"] == "draft" and draft["provenance"]["health"]["history_days"] == 2
    assert [s["id"] for s in (await house.get("/snapshots?kind=draft")).json()["items"]] == [draft["id"]]

    await in_review(house)  # the evidence changed: the draft still serves
    await house.worker.drain()
    assert len(await house.said(BenchmarkDrafted)) == 1

    before = await house.tables()
    path, reason = f"/drafts/{draft['id']}/publish", "an ordinary day"
    for who in ("ada", "erin", "stranger"):  # erin is of operations, and wrote this change
        assert (await post(house, path, who, reason=reason)).status_code == 403, who
    assert (await post(house, "/drafts/SNAP-99/publish", reason=reason)).status_code == 404
    assert await house.tables() == before

    answer = await post(house, path, once="k1", reason=reason)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["kind"] == "benchmark" and made["content_hash"] == draft["content_hash"]
    assert made["provenance"]["draft"] == draft["id"] and made["taken_by"] == "local|olga"
    assert made["readings"] == draft["readings"] and made["window"] == draft["window"]
    (published,) = await house.said(BenchmarkPublished)
    assert published.draft_id == draft["id"] and published.health == drafted.health
    one, other = [
        (await house.get(f"/snapshots/{each}/series?sli=errors")).json() for each in (draft["id"], made["id"])
    ]
    assert one["series"] == other["series"]
    assert (await post(house, path, once="k1", reason=reason)).content == answer.content
    again = await post(house, path, reason=reason)
    assert again.status_code == 409 and made["id"] in again.json()["detail"]
    assert (await post(house, f"/drafts/{made['id']}/publish", reason=reason)).status_code == 409  # no draft
    view = (await house.observation())["benchmark"]
    assert (view["state"], view["snapshot"], view["draft"]) == ("good", made["id"], None)
    assert (await house.get(f"/snapshots/{draft['id']}")).json()["provenance"]["published_as"] == made["id"]
    await house.go_on(hours=2)
    await in_review(house)  # there is a good one: nobody needs another draft
    await house.worker.drain()
    assert len(await house.said(BenchmarkDrafted)) == 1


async def test_a_draft_waits_for_a_source_that_is_down_and_then_says_what_it_could_not_read(house: House) -> None:
    house.prometheus.down = True
    await in_review(house)
    await house.worker.drain()
    assert (
        await house.said() == [] and len(await house.rows("SELECT * FROM agenda WHERE job = 'draft_for_review'")) == 1
    )
    await house.go_on(minutes=61)
    await house.worker.drain()
    (drafted,) = await house.said(BenchmarkDrafted)
    assert [m.sli for m in drafted.missing] == ["latency", "errors", "heap"] and drafted.health.state == "unjudged"
    assert await house.rows("SELECT * FROM agenda WHERE job = 'draft_for_review'") == []


async def test_what_speaks_against_a_window_must_be_answered_before_it_is_published(house: House) -> None:
    gaps = (await house.now()).timestamp()
    house.prometheus.level["latency"] = lambda t: np.where((t > gaps - 8 * 3600) & (t < gaps - 4 * 3600), np.nan, 1.0)
    before = await house.tables()
    refused = await house.publish()
    assert refused.status_code == 409 and "has no number in 17% of the steps" in refused.json()["detail"]
    assert [f["path"] for f in refused.json()["fields"]] == ["body.despite.gaps"]
    assert (await house.publish(change_request="CR-1", reason="a day", despite={"luck": "abc"})).status_code == 422
    assert await house.tables() == before
    draft = (await post(house, "/drafts", "erin", change_request="CR-1", reason="to look at")).json()
    assert draft["provenance"]["health"]["state"] == "doubtful"
    path = f"/drafts/{draft['id']}/publish"
    assert (await post(house, path, reason="a day")).status_code == 409
    despite = {"gaps": "Only the exporter was down."}
    made = await post(house, path, reason="a day", despite={**despite, "flat": "not found, so not kept"})
    assert made.status_code == 201 and made.json()["provenance"]["despite"] == despite
    assert (await house.observation())["benchmark"]["despite"] == despite
    evidence = await house.rows("SELECT detail FROM audit WHERE action = 'publish_snapshot' AND NOT refused")
    assert "exporter was down" in str(evidence[-1]["detail"])


async def test_a_draft_older_than_the_age_limit_is_drafted_again(house: House) -> None:
    draft = (await post(house, "/drafts", product="epl", reason="to look at")).json()
    await house.go_on(hours=49)
    late = await post(house, f"/drafts/{draft['id']}/publish", reason="a day")
    assert late.status_code == 409 and "Draft it again" in late.json()["detail"]


async def test_a_draft_that_measured_otherwise_than_the_policy_asks_now_is_drafted_again(house: House) -> None:
    draft = (await post(house, "/drafts", product="epl", reason="to look at")).json()
    errors = POLICY.slis[1].model_copy(update={"query": "failures"})
    await house.policy(POLICY.model_copy(update={"slis": (POLICY.slis[0], errors, POLICY.slis[2])}))
    answer = await post(house, f"/drafts/{draft['id']}/publish", reason="a day")
    assert answer.status_code == 409 and "(errors): draft it again" in answer.json()["detail"]


async def test_a_correction_names_the_one_whose_place_it_takes(house: House) -> None:
    first = (await house.publish()).json()["id"]
    for other, status in (("SNAP-99", 422), ("SNAP-1x", 422)):
        assert (await house.publish(change_request="CR-1", reason="anew", corrects=other)).status_code == status
    other = (await house.publish(product="epl", reason="for all")).json()["id"]
    wrong = await house.publish(change_request="CR-1", reason="anew", corrects=other)
    assert wrong.status_code == 422 and wrong.json()["fields"][0]["path"] == "body.corrects"
    made = await house.publish(change_request="CR-1", reason="the first had the wrong day", corrects=first)
    assert made.json()["provenance"]["corrects"] == first
    assert (await house.said(BenchmarkPublished))[-1].corrects == first
    assert (await house.get(f"/snapshots/{first}")).status_code == 200  # it stays readable
    view = (await house.observation())["benchmark"]
    assert (view["snapshot"], view["corrects"]) == (made.json()["id"], first)


async def test_a_pin_holds_expires_visibly_and_is_never_silently_replaced(house: House) -> None:
    pinned = (await house.publish(product="epl", reason="before the load test")).json()["id"]
    now = await house.now()
    wanted = {"product": "epl", "snapshot": pinned, "reason": "load test", "expires_at": (now + 3 * DAY).isoformat()}
    before = await house.tables()
    for who in ("ada", "stranger"):
        assert (await post(house, "/pins", who, **wanted)).status_code == 403
    assert (await post(house, "/pins", **{**wanted, "snapshot": "SNAP-99"})).status_code == 404
    assert (await post(house, "/pins", **{**wanted, "expires_at": (now + 31 * DAY).isoformat()})).status_code == 422
    assert (await post(house, "/pins", **{**wanted, "expires_at": "2030-01-01T00:00:00"})).status_code == 422
    assert await house.tables() == before
    answer = await post(house, "/pins", **wanted)
    assert answer.status_code == 201 and answer.json()["state"] == "holds", answer.text
    first = answer.json()["id"]
    (said,) = await house.said(BenchmarkPinned)
    assert said.product_id == "epl" and said.snapshot_id == pinned and said.expires_at == now + 3 * DAY
    await house.go_on(hours=60)
    newer = (await house.publish()).json()["id"]  # for the CR itself, and still the pin holds
    view = (await house.observation())["benchmark"]
    assert (view["state"], view["snapshot"], view["pin"]["id"]) == ("good", pinned, first)

    await house.go_to(now + 3 * DAY)
    await house.worker.drain()
    (expired,) = await house.said(BenchmarkExpired)
    assert expired.because == "expired" and expired.at == now + 3 * DAY
    view = (await house.observation())["benchmark"]
    assert (view["state"], view["snapshot"], view["pin"]["state"]) == ("expired", pinned, "expired")
    assert (await post(house, f"/pins/{first}/end", reason="over")).status_code == 409
    latest = (await house.publish()).json()["id"]
    assert (await house.observation())["benchmark"]["snapshot"] == latest != newer

    again = {**wanted, "expires_at": (await house.now() + DAY).isoformat()}
    second = (await post(house, "/pins", **again)).json()["id"]
    assert (await post(house, f"/pins/{first}/end", reason="over")).status_code == 409
    assert (await post(house, f"/pins/{second}/end", "ada", reason="over")).status_code == 403
    ended = await post(house, f"/pins/{second}/end", reason="the load test is over")
    assert ended.status_code == 200 and ended.json()["ended_by"] == "local|olga"
    assert (await house.observation())["benchmark"]["snapshot"] == latest
    assert await house.rows("SELECT * FROM agenda WHERE job = 'expire_pin'") == []
    listed = (await house.get("/pins?product=epl", "ada")).json()["items"]
    assert [(pin["id"], pin["state"]) for pin in listed] == [(second, "ended"), (first, "expired")]
    assert (await house.get("/pins?product=epl", "stranger")).status_code == 404


async def test_what_deviated_never_becomes_a_benchmark_or_a_pin_without_a_reason(house: House) -> None:
    assert (await house.publish()).status_code == 201
    at = await house.deployed()
    house.prometheus.level["errors"] = lambda t: np.where(t >= at.timestamp(), 2.0, 1.0)
    await house.go_to(at + timedelta(hours=6))
    refused = await house.publish(product="epl", reason="while it is observed", despite={"moved": "we know"})
    assert refused.status_code == 409 and "still observed of CR-1 (deployment 1): the after look" in refused.text
    assert [f["path"] for f in refused.json()["fields"]] == ["body.despite.observed"]
    despite = {"moved": "we know", "observed": "CR-1 touches nothing that this measures"}
    during = await house.publish(product="epl", reason="while it is observed", despite=despite)
    assert during.status_code == 201, during.text
    await house.worker.drain()
    assert await house.said(BenchmarkDoubted) == []
    await house.go_to(at + DAY)
    await house.worker.drain()
    assert len(await house.said(DeviationDetected)) == 1
    (doubt,) = await house.said(BenchmarkDoubted)
    assert (doubt.snapshot_id, doubt.observed, doubt.holds) == (during.json()["id"], "CR-1", True)
    refused = await house.publish(product="epl", reason="a day", despite={"moved": "we know"})
    assert refused.status_code == 409 and "CR-1 (deployment 1), and that deviated" in refused.json()["detail"]
    pin = {
        "product": "epl",
        "snapshot": during.json()["id"],
        "reason": "a week",
        "expires_at": (at + 3 * DAY).isoformat(),
    }
    assert (await post(house, "/pins", **pin)).status_code == 409
    despite = {"deviated": "INV-1 decided to keep it", "moved": "we know"}
    made = await house.publish(product="epl", reason="a day", despite=despite)
    assert made.status_code == 201 and made.json()["provenance"]["despite"] == despite
    # Rolled back two hours later: production stood on it until then, so that time is no measure either.
    await house.go_to(at + DAY + timedelta(hours=2))
    await house.rolled_back()
    house.prometheus.level.clear()
    await house.go_to(at + DAY + timedelta(hours=25))
    assert (await house.publish(product="epl", reason="a day")).status_code == 409
    await house.go_to(at + DAY + timedelta(hours=27))
    again = await house.publish(product="epl", reason="a day")
    assert again.status_code == 409 and "the recovery look ends" in again.text  # nobody knows yet that it is back
    await house.go_to(at + DAY + timedelta(hours=31))
    await house.worker.drain()
    assert (await house.publish(product="epl", reason="a day")).status_code == 201


async def test_changes_of_one_product_deployed_minutes_apart_are_held_against_the_day_before_the_first(
    house: House,
) -> None:
    for n in (2, 3, 4, 5):
        await house.registered(f"CR-{n}")
    for n in (1, 2):
        assert (await house.publish(change_request=f"CR-{n}", reason="both in time")).status_code == 201
    at = await house.deployed()
    await house.go_on(minutes=10)
    assert (await house.observation("CR-2"))["benchmark"]["state"] == "good"
    await house.deployed("CR-2")
    await house.go_on(minutes=10)

    # The third enters review only now: its draft is of the day before the first, and nothing speaks against that.
    await in_review(house, "CR-3")
    await house.worker.drain()
    (drafted,) = await house.said(BenchmarkDrafted)
    assert drafted.window_end <= at < drafted.window_end + timedelta(minutes=5) and "24 hours before" in drafted.reason
    await in_review(house, "CR-3")
    await house.worker.drain()
    assert len(await house.said(BenchmarkDrafted)) == 1  # the same still serves
    assert (await post(house, f"/drafts/{drafted.snapshot_id}/publish", reason="as drafted")).status_code == 201
    assert (await house.observation("CR-3"))["benchmark"]["state"] == "good"

    # Or operations reads now, is refused, and told what to do: each way is one call.
    refused = await house.publish(change_request="CR-4", reason="the last 24 hours")
    detail = refused.json()["detail"]
    assert refused.status_code == 409 and all(
        f"{cr} (deployment 1): the after look ends" in detail for cr in ("CR-1", "CR-2")
    )
    moment = f"{drafted.window_end:%Y-%m-%dT%H:%M:%SZ}"
    assert f'POST /snapshotter/v1/snapshots with "window_end": "{moment}"' in detail
    assert f"pin {(await house.observation('CR-3'))['benchmark']['snapshot']} of CR-3, which was taken before" in detail
    earlier = await house.publish(change_request="CR-4", reason="the day before CR-1", window_end=moment)
    assert earlier.status_code == 201 and earlier.json()["window"]["end"] == moment, earlier.text
    assert earlier.json()["provenance"]["despite"] == {}
    until = (at + 2 * DAY).isoformat()
    pin = await post(house, "/pins", product="epl", snapshot="SNAP-1", reason="for all of today", expires_at=until)
    assert pin.status_code == 201, pin.text
    assert (await house.observation("CR-5"))["benchmark"]["state"] == "good"

    before = await house.tables()
    for end in (at + timedelta(hours=1), at - timedelta(hours=49)):  # not over; stale at once
        answer = await house.publish(change_request="CR-4", reason="a day", window_end=end.isoformat())
        assert answer.status_code == 422 and answer.json()["fields"][0]["path"] == "body.window_end", answer.text
    assert await house.tables() == before


async def test_what_was_rolled_back_before_its_look_is_no_benchmark_unless_somebody_says_why(house: House) -> None:
    assert (await house.publish()).status_code == 201
    await house.registered("CR-2")
    at = await house.deployed()
    await house.go_to(at + timedelta(hours=1))
    despite = {"observed": "CR-1 touches nothing that this measures"}
    during = (await house.publish(product="epl", reason="while it is observed", despite=despite)).json()["id"]
    await house.go_to(at + timedelta(hours=2))
    await house.rolled_back()
    await house.go_to(at + timedelta(hours=8))  # the recovery is over: all that is left are two hours of the bad run
    await house.worker.drain()
    (doubt,) = await house.said(BenchmarkDoubted)
    assert (doubt.snapshot_id, doubt.holds) == (during, True) and "was rolled back before its look" in doubt.sentence
    refused = await house.publish(product="epl", reason="a day")
    assert refused.status_code == 409 and [f["path"] for f in refused.json()["fields"]] == ["body.despite.deviated"]
    assert "CR-1 (deployment 1), and that was rolled back before its look" in refused.json()["detail"]
    await in_review(house, "CR-2")
    await house.worker.drain()
    assert (await house.observation("CR-2"))["benchmark"]["state"] == "deviated"
    (drafted,) = await house.said(BenchmarkDrafted)
    assert drafted.window_end <= at

    # The rollback was reported wrongly: it came after the day. The look is armed again, and speaks for itself.
    await house.go_to(at + timedelta(hours=26))
    await house.rolled_back(at=at + timedelta(hours=25), revision=2)
    await house.worker.drain()
    assert [(each.snapshot_id, each.holds) for each in await house.said(BenchmarkDoubted)] == [
        (during, True),
        (during, False),
    ]


async def test_a_benchmark_whose_run_deviates_later_satisfies_nothing_until_operations_answers_for_it(
    house: House,
) -> None:
    assert (await house.publish()).status_code == 201
    await house.registered("CR-2")
    at = await house.deployed()
    hours = lambda t: (t - at.timestamp()) / 3600  # noqa: E731
    house.prometheus.level["errors"] = lambda t: np.where((hours(t) > 0) & (hours(t) < 20), 2.0, 1.0)
    await house.go_to(at + timedelta(hours=6))
    despite = {"moved": "we know", "observed": "CR-1 touches nothing that this measures"}
    during = (await house.publish(change_request="CR-2", reason="before CR-2", despite=despite)).json()["id"]
    await house.go_to(at + timedelta(hours=21))
    second = await house.deployed("CR-2")  # with a benchmark that nobody doubted
    assert (await house.observation("CR-2"))["benchmark"]["state"] == "good"
    await house.go_to(at + DAY)
    await house.worker.drain()
    assert [each.snapshot_id for each in await house.said(BenchmarkDoubted)] == [during]
    view = (await house.observation("CR-2"))["benchmark"]
    assert view["state"] == "good"  # as it stood at its deploy
    # What is like it was then is no proof of anything: it was then already wrong.
    await house.go_to(second + DAY)
    await house.worker.drain()
    look = (await house.observation("CR-2"))["current"]
    assert look["outcome"] == "inconclusive" and "from a run that deviated: " + during in look["sentence"]
    again = await house.get("/change-requests/CR-2/recomputation")
    assert again.status_code == 200 and again.json()["is_equal"], again.text

    await house.registered("CR-3")
    product = await house.publish(product="epl", reason="a day", despite={"deviated": "we keep it", "moved": "we know"})
    assert product.status_code == 201, product.text
    body: dict[str, Any] = {"reason": "the cache is larger now", "despite": {}}
    path = f"/benchmarks/{during}/uphold"
    before = await house.tables()
    assert (await post(house, path, "ada", **body)).status_code == 403
    assert (await post(house, "/benchmarks/SNAP-99/uphold", **body)).status_code == 404
    assert (await post(house, f"/benchmarks/{product.json()['id']}/uphold", **body)).status_code == 409  # all is said
    refused = await post(house, path, **body)
    assert refused.status_code == 409 and [f["path"] for f in refused.json()["fields"]] == ["body.despite.deviated"]
    assert await house.tables() == before
    body["despite"] = {"deviated": "INV-1 decided to keep it"}
    upheld = await post(house, path, **body)
    assert upheld.status_code == 201, upheld.text
    made = upheld.json()
    assert made["content_hash"] == (await house.get(f"/snapshots/{during}")).json()["content_hash"]
    assert made["provenance"]["corrects"] == during
    # What was answered before stays answered.
    assert made["provenance"]["despite"] == {"moved": "we know", **body["despite"]}
    await house.worker.drain()
    assert len(await house.said(BenchmarkDoubted)) == 1

    # The deploy time was wrong: that deviation is withdrawn, and what was said against the benchmark with it.
    house.prometheus.level.clear()
    await house.deployed(revision=2, at=at - timedelta(hours=1))
    await house.worker.drain()
    assert [(each.snapshot_id, each.holds) for each in await house.said(BenchmarkDoubted)] == [
        (during, True),
        (during, False),
    ]
