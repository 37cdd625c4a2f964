"""What stands around a verdict: computing it again from what is stored, the anchor, on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import httpx2
import numpy as np
import pytest

from services.snapshotter.judge.alarms import SHARES
from shared.contracts import AnchorChosen, ObservationClosed
from tests.observing import POLICY, House, snapshotter
from tests.servers.postgres import Databases

DAY = timedelta(hours=24)


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with snapshotter(postgres) as made:
        yield made


async def looked_at(house: House, cr_id: str = "CR-1", *, step: float = 1.0) -> dict[str, Any]:
    """Deploy, `step` times the latency from then on, and the verdict a day later."""
    at = await house.deployed(cr_id)
    before = house.prometheus.level.get("latency", lambda t: np.ones_like(t))
    since = at.timestamp()
    house.prometheus.level["latency"] = lambda t: before(t) * np.where(t >= since, step, 1.0)
    await house.go_to(at + DAY)
    await house.worker.drain()
    found: dict[str, Any] = (await house.observation(cr_id))["current"]
    return found


async def choose(house: House, who: str = "olga", product: str = "epl", **body: Any) -> httpx2.Response:
    return await house.client.post(
        f"/snapshotter/v1/products/{product}/anchor",
        json={"snapshot": "SNAP-1", "reason": "how things are now", **body},
        headers=house.headers(who),
    )


# -- computing again --------------------------------------------------------------------------------------------------


async def test_a_stored_verdict_is_what_the_stored_samples_say(house: House) -> None:
    await house.begin()
    look = await looked_at(house, step=1.6)
    assert look["outcome"] == "moved" and look["history_days"] == 2
    budget = look["budget"]
    assert budget["alarms"] == 0.05 and budget["slis"] == 3
    assert budget["limit of the score"] > budget["lower beside another"] > 0
    assert budget["final look"] < budget["alarms"] and "references" not in budget  # there is no anchor yet
    house.prometheus.down = True  # from here on nothing but the database can answer
    answer = await house.get("/change-requests/CR-1/recomputation", "ada")
    assert answer.status_code == 200, answer.text
    (again,) = answer.json()["verdicts"]
    assert answer.json()["is_equal"] and again["is_equal"] and again["differences"] == [], again
    assert again["slis"] == 3 and again["numbers"] > 30 and again["judge_version"] == look["judge_version"]
    assert (await house.get("/change-requests/CR-1/recomputation", "stranger")).status_code == 404

    picture = await house.get("/change-requests/CR-1/explanation?sli=latency", "ada")
    assert picture.status_code == 200 and picture.headers["content-type"].startswith("image/svg+xml")
    drawn = ElementTree.fromstring(picture.content)
    paths = [each.get("class") for each in drawn.iter("{http://www.w3.org/2000/svg}path") if each.get("class")]
    assert paths == ["earlier", "earlier", "before", "after"]  # two days, the benchmark, and what came after
    assert drawn.findtext("{http://www.w3.org/2000/svg}desc") == look["comparisons"][0]["sentence"]
    assert "seen from" in picture.text and "Latency p95 has moved" in picture.text
    assert "its limit" in picture.text and "beside others" not in picture.text  # it moved by itself
    calm = (await house.get("/change-requests/CR-1/explanation?sli=errors", "ada")).text
    assert "lower beside others that moved" in calm  # the others had less to pass, and did not
    assert (await house.get("/change-requests/CR-1/explanation?sli=nothing")).status_code == 404
    assert (await house.get("/change-requests/CR-1/explanation?sli=latency&kind=recovery")).status_code == 409
    assert (await house.get("/change-requests/CR-1/explanation?sli=latency", "stranger")).status_code == 404

    # what was changed after the fact is found: an outcome, a number by a millionth
    await house.rows(
        "UPDATE observations SET comparisons = jsonb_set(jsonb_set(comparisons, '{slis,0,outcome}', '\"steady\"'),"
        " '{numbers,errors,after}', to_jsonb((comparisons #>> '{numbers,errors,after}')::float8 * 1.000001))"
    )
    (again,) = (await house.get("/change-requests/CR-1/recomputation")).json()["verdicts"]
    assert [(d["sli"], d["what"]) for d in again["differences"]] == [("latency", "outcome"), ("errors", "after")]
    assert "were changed" in again["sentence"]


async def test_before_the_verdict_there_is_nothing_to_compute_again(house: House) -> None:
    await house.begin()
    assert (await house.get("/change-requests/CR-1/recomputation")).status_code == 409
    assert (await house.get("/change-requests/CR-9/recomputation")).status_code == 404


async def test_the_days_before_a_deploy_are_stored_once_for_all_verdicts_that_learn_from_them(house: House) -> None:
    await house.begin()
    at = await house.deployed()
    await house.go_to(at + DAY)
    await house.worker.drain()
    back = await house.rolled_back()
    await house.go_to(back + timedelta(hours=4))
    await house.worker.drain()
    assert [c.kind for c in await house.said(ObservationClosed)] == ["after", "recovery"]
    (history,) = await house.rows("SELECT id, window_start, window_end FROM snapshots WHERE kind = 'history'")
    assert (history["window_start"], history["window_end"]) == (at - 2 * DAY, at)
    listed = [one["kind"] for one in (await house.get("/snapshots")).json()["items"]]
    assert "history" not in listed  # nobody looks for it there, unless asked
    (item,) = (await house.get("/snapshots?kind=history&product=epl")).json()["items"]
    assert item["id"] == history["id"]
    series = (await house.get(f"/snapshots/{history['id']}/series?sli=latency")).json()
    assert len(series["series"][0]["values"]) == 2 * 288
    found = (await house.get("/change-requests/CR-1/recomputation")).json()
    assert found["is_equal"] and [one["kind"] for one in found["verdicts"]] == ["after", "recovery"], found


# -- the anchor -------------------------------------------------------------------------------------------------------


async def test_ten_verified_steps_of_three_percent_raise_an_alarm_though_none_alone_does(house: House) -> None:
    coarse = POLICY.observation.model_copy(update={"step_s": 900, "history_days": 0})
    await house.policy(POLICY.model_copy(update={"slis": POLICY.slis[:1], "observation": coarse}))
    house.prometheus.level["latency"] = lambda t: 1 / (1 + 0.2 * np.sin(2 * np.pi * t / 86400))  # the same at all hours
    found = []
    for n in range(1, 11):
        await house.registered(f"CR-{n}")
        await house.publish(change_request=f"CR-{n}", reason="before the next small step")
        found.append(await looked_at(house, f"CR-{n}", step=1.03))
        if found[-1]["outcome"] == "moved":
            break
    *verified, last = found
    assert len(verified) >= 5 and all(look["outcome"] == "steady" for look in verified)
    assert (last["outcome"], last["comparisons"][0]["view"]) == ("moved", "creep over releases")
    first = verified[0]["snapshot"]  # and no verified CR since has moved it
    assert {look["anchor"] for look in found[1:]} == {first}
    assert f"the anchor ({first} of " in verified[1]["creep"] and "from CR-1, the first release" in verified[1]["creep"]
    assert "1 SLI has moved over the 6 releases since: Latency p95 rose" in last["creep"]
    assert last["comparisons"][0]["sentence"].count("since CR-1") == 1  # its own level is the first of those
    assert verified[0]["anchor"] is None and "no release of it was verified yet; operations may" in verified[0]["creep"]
    assert (
        "No SLI that is steady has crept away" in verified[1]["creep"] and "releases since" not in verified[1]["creep"]
    )
    closed = (await house.said(ObservationClosed))[-1]
    assert closed.creep == last["creep"] and closed.anchor_id == first and closed.limits
    again = (await house.get(f"/change-requests/{closed.cr_id}/recomputation")).json()
    assert again["is_equal"], again
    budget = last["budget"]
    assert (
        budget["references"] > 0
        and budget["releases"] > 0
        and sum(share for part, share in budget.items() if part in SHARES) <= budget["alarms"]
    )

    # operations accepts it, by an act on the record: the next deploy is held against the new anchor, the last stays
    despite = {"deviated": "operations accepts it"}
    published = await house.publish(change_request=closed.cr_id, reason="accepted as it is", despite=despite)
    newest = published.json()["id"]
    assert (await choose(house, snapshot=newest, reason="the new cipher costs that")).status_code == 409
    answer = await choose(house, snapshot=newest, reason="the new cipher costs that", despite=despite)
    assert answer.status_code == 201, answer.text
    assert answer.json()["is_chosen"] and answer.json()["snapshot"] == newest
    assert (await house.observation(closed.cr_id))["current"]["creep"] == last["creep"]
    await house.registered("CR-11")
    await house.publish(change_request="CR-11", reason="before the next", despite=despite)
    after = await looked_at(house, "CR-11")
    assert (after["outcome"], after["anchor"]) == ("steady", newest), after


async def crept(house: House, anchor_days: float) -> dict[str, Any]:
    """CR-1 is verified; three days later latency is half as much again, in CR-2's benchmark already. The look at CR-2."""
    rules = {"step_s": 900, "history_days": 4, "anchor_days": anchor_days}
    coarse = POLICY.observation.model_copy(update=rules)
    await house.policy(POLICY.model_copy(update={"slis": POLICY.slis[:2], "observation": coarse}))
    flat = house.prometheus.level["latency"] = lambda t: 1 / (1 + 0.2 * np.sin(2 * np.pi * t / 86400))
    await house.registered()
    await house.publish()
    assert (await looked_at(house))["outcome"] == "steady"
    house.prometheus.level["latency"] = lambda t: 1.5 * flat(t)
    await house.go_on(hours=72)
    await house.registered("CR-2")
    await house.publish(change_request="CR-2", reason="an ordinary day")
    return await looked_at(house, "CR-2")


async def test_what_crept_away_from_the_anchor_between_deploys_is_seen_at_the_next_one(house: House) -> None:
    look = await crept(house, 90)
    anchor = (await house.observation("CR-1"))["current"]["snapshot"]
    assert (look["outcome"], look["comparisons"][0]["view"], look["anchor"]) == ("moved", "creep", anchor), look
    assert (
        f"1 SLI has crept away from the anchor ({anchor} of" in look["creep"]
        and "alone: Latency p95 +" in look["creep"]
    )
    assert look["comparisons"][1]["outcome"] == "steady"
    assert (await house.get("/change-requests/CR-2/recomputation")).json()["is_equal"]
    rules = {"step_s": 900, "history_days": 4, "anchor_days": 3}  # CR-1 was deployed four days before
    tried = (await backtest(house, observation=rules)).json()["verdicts"][0]
    assert (tried["change_request"], tried["now"], tried["flips"]) == ("CR-2", "steady", True), tried


async def test_beyond_the_horizon_nothing_is_called_creep_and_nothing_free_of_it(house: House) -> None:
    look = await crept(house, 3)
    assert (look["outcome"], look["anchor"]) == ("steady", None) and "references" not in look["budget"]
    assert look["creep"].startswith(
        "Creep was not looked at: epl has no anchor: its last verified release, CR-1 (SNAP-"
    )
    assert look["creep"].endswith("is older than the horizon of 3 days; operations may choose one of its benchmarks.")
    assert (await house.get("/change-requests/CR-2/recomputation")).json()["is_equal"]
    rules = {"step_s": 900, "history_days": 4, "anchor_days": 90}
    tried = (await backtest(house, observation=rules)).json()["verdicts"][0]
    assert (tried["now"], tried["flips"], tried["slis"][0]["sli"]) == ("moved", True, "latency"), tried


async def test_only_operations_chooses_an_anchor_and_only_among_benchmarks_of_the_product(house: House) -> None:
    await house.begin()
    assert (await choose(house, "ada")).status_code == 403
    assert (await choose(house, "stranger")).status_code == 403
    assert (await choose(house, product="scp")).status_code == 404  # no such snapshot there
    assert (await choose(house, snapshot="SNAP-9")).status_code == 404
    assert (await choose(house, snapshot="1; drop")).status_code == 422
    assert (await choose(house, reason=" ")).status_code == 422
    view = (await house.get("/products/epl/anchor")).json()
    assert (view["snapshot"], view["is_chosen"], view["choices"]) == (None, False, [])
    assert (await house.get("/products/epl/anchor", "stranger")).status_code == 404
    assert (await house.get("/products/nope/anchor")).status_code == 404
    assert (await choose(house)).status_code == 201
    assert (await choose(house)).status_code == 409  # it is that already
    (fact,) = await house.said(AnchorChosen)
    assert (fact.snapshot_id, fact.instead_of, fact.chosen_by) == ("SNAP-1", None, "local|olga")
    (kept,) = await house.rows("SELECT actor, detail FROM audit WHERE action = 'choose_anchor' AND NOT refused")
    assert kept["actor"] == "local|olga" and "how things are now" in str(kept["detail"])
    at = await house.deployed()
    await house.go_to(at + DAY)
    await house.worker.drain()
    after = next(s for s in (await house.get("/snapshots?kind=after")).json()["items"])
    assert (await choose(house, snapshot=after["id"])).status_code == 409  # no benchmark: nobody published it


async def test_what_deviated_or_is_observed_is_never_the_anchor_by_default_and_by_choice_only_with_a_reason(
    house: House,
) -> None:
    async def anchor() -> dict[str, Any]:
        found: dict[str, Any] = (await house.get("/products/epl/anchor")).json()
        return found

    await house.policy(POLICY.model_copy(update={"slis": POLICY.slis[:2]}))
    for n in (1, 2):
        await house.registered(f"CR-{n}")
    at = await house.deployed()
    await house.go_to(at + timedelta(hours=6))
    observed = {"observed": "CR-1 touches nothing that this measures"}
    assert (await house.publish(product="epl", reason="in its run", despite=observed)).json()["id"] == "SNAP-1"
    assert (await anchor())["snapshot"] is None
    assert "epl has no anchor: no release of it was verified yet" in (await anchor())["sentence"]
    await house.go_to(at + DAY)
    await house.worker.drain()  # without a benchmark from before its deploy nobody can say that it is well
    assert (await house.observation("CR-1"))["current"]["outcome"] == "no_data" and (await anchor())["snapshot"] is None
    await house.go_to(at + 2 * DAY)
    await house.publish(change_request="CR-2", reason="a calm day")

    at = await house.deployed("CR-2")
    house.prometheus.level["errors"] = lambda t: np.where(t >= at.timestamp(), 2.0, 1.0)
    await house.go_to(at + timedelta(hours=6))
    despite = {"moved": "we know", **observed}
    during = (await house.publish(product="epl", reason="in its run", despite=despite)).json()["id"]
    refused = await choose(house, snapshot=during)
    assert refused.status_code == 409 and [f["path"] for f in refused.json()["fields"]] == ["body.despite.observed"]
    assert (await anchor())["snapshot"] is None  # CR-2 is observed, and nothing was verified before
    chosen = (await choose(house, snapshot=during, despite=observed)).json()
    assert "; although its run was still observed: CR-1 touches" in chosen["sentence"] and not chosen["is_doubted"]
    assert (await choose(house, snapshot=during, despite=observed)).status_code == 409  # it is that already
    await house.go_to(at + DAY)
    await house.worker.drain()
    doubted = await anchor()
    assert doubted["is_doubted"] and "has deviated since: CR-2 (deployment 1)" in doubted["sentence"]
    assert doubted["snapshot"] == during and doubted["change_request"] is None
    refused = await choose(house, snapshot=during, despite=observed)
    assert refused.status_code == 409 and [f["path"] for f in refused.json()["fields"]] == ["body.despite.deviated"]
    answers = {"deviated": "INV-1 decided to keep it"}
    again = await choose(house, snapshot=during, despite=answers)
    assert again.status_code == 201 and not again.json()["is_doubted"], again.text
    assert again.json()["choices"][-1]["despite"] == (await house.said(AnchorChosen))[-1].despite == answers
    (kept,) = await house.rows("SELECT detail FROM audit WHERE action = 'choose_anchor' AND NOT refused OFFSET 1")
    assert "INV-1 decided" in str(kept["detail"])


async def test_an_anchor_chosen_after_a_deploy_does_not_change_what_the_deploy_is_held_against(house: House) -> None:
    await house.begin()
    first = (await looked_at(house))["snapshot"]
    await house.registered("CR-2")
    await house.publish(change_request="CR-2", reason="for the second")
    at = await house.deployed("CR-2")
    await house.go_on(seconds=5)
    assert (await choose(house)).status_code == 201
    await house.go_to(at + DAY)
    await house.worker.drain()
    assert (await house.observation("CR-2"))["current"]["anchor"] == first


# -- under a changed policy -------------------------------------------------------------------------------------------


async def backtest(house: House, who: str = "olga", once: str | None = None, **changed: Any) -> httpx2.Response:
    """Judge again under the product's policy with `changed` of an SLI (`sli`, `rules`) or of a part of it."""
    slis = tuple(sli.model_copy(update=changed.get(sli.id, {})) for sli in POLICY.slis)
    update: dict[str, Any] = {"slis": slis}
    for part in ("observation", "benchmark"):
        update[part] = getattr(POLICY, part).model_copy(update=changed.get(part, {}))
    document = {**POLICY.model_copy(update=update).model_dump(mode="json"), **changed.get("document", {})}
    return await house.client.post(
        "/snapshotter/v1/products/epl/backtest",
        json={"policy": document, **changed.get("body", {})},
        headers=house.headers(who, once),
    )


async def test_a_changed_policy_is_tried_on_stored_verdicts_before_it_is_enforced(house: House) -> None:
    await house.begin()
    assert (await backtest(house)).status_code == 404  # nothing was judged yet
    assert (await looked_at(house, step=1.6))["outcome"] == "moved"
    await house.registered("CR-2")
    despite = {"deviated": "kept as it is", "moved": "for good"}
    await house.publish(change_request="CR-2", reason="before the second", despite=despite)
    assert (await looked_at(house, "CR-2"))["outcome"] == "steady"
    before = await house.tables()
    house.prometheus.down = True  # nothing is read anew

    same = (await backtest(house)).json()
    assert [(v["change_request"], v["was"], v["now"]) for v in same["verdicts"]] == [
        ("CR-2", "steady", "steady"),
        ("CR-1", "moved", "moved"),
    ]
    assert same["flipped"] == 0 and same["next"] is None and same["policy_version"] == POLICY.version()

    loose = (await backtest(house, latency={"min_relative": 5.0})).json()
    flipped = loose["verdicts"][1]
    assert (loose["flipped"], flipped["now"], flipped["flips"]) == (1, "steady", True)
    assert [(s["sli"], s["was"], s["now"]) for s in flipped["slis"]] == [("latency", "moved", "steady")]
    assert "less than the policy minds" in flipped["slis"][0]["sentence"]

    shadow = (await backtest(house, latency={"shadow": True})).json()["verdicts"][1]
    assert shadow["now"] == "steady" and shadow["slis"][0]["decides"] is False
    better = (await backtest(house, latency={"direction": "lower_is_worse"})).json()["verdicts"][1]
    assert better["now"] == "steady"
    old = (await backtest(house, benchmark={"max_age_h": 0.000001})).json()["verdicts"]
    assert [v["now"] for v in old] == ["inconclusive", "moved"]  # a stale benchmark shows that something moved, no more

    other = (await backtest(house, errors={"query": "other"}, observation={"history_days": 7})).json()["verdicts"][0]
    assert any(note.startswith("errors: was measured by another query") for note in other["notes"])
    assert any("2 earlier days were read, not 7" in note for note in other["notes"])
    assert [s["sli"] for s in other["slis"]] == ["errors"] and other["now"] == "steady"
    page = (await backtest(house, body={"limit": 1})).json()
    rest = (await backtest(house, body={"limit": 1, "cursor": page["next"]})).json()
    assert [v["change_request"] for v in page["verdicts"] + rest["verdicts"]] == ["CR-2", "CR-1"]

    unknown = await backtest(house, document={"colour": "red"})
    assert unknown.status_code == 422 and "colour" in unknown.text
    assert (await backtest(house, document={"id": "scp"})).status_code == 422
    assert (await backtest(house, body={"limit": 51})).status_code == 422
    for who in ("ada", "stranger"):  # an auditor reads; somebody of another product does neither
        assert (await backtest(house, who)).status_code == 403
    first = await backtest(house, once="b1")
    again = await backtest(house, once="b1")
    assert again.content == first.content and again.headers["idempotent-replay"] == "true"
    assert await house.tables() == before
    done = await house.rows("SELECT detail FROM audit WHERE action = 'backtest' AND NOT refused")
    assert len(done) == 9
