"""The console's pages on a real database: who sees what, and what hostile words do there (nothing)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.reviewer.console.words import clock
from shared.contracts import EarlyLookTaken, ReviewItem, SnapshotDelayed
from shared.keys import create_link, grant
from tests import stories
from tests.reviewing import House, alone, in_review, ready
from tests.servers.postgres import Databases
from tests.stories import Story, policy


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with alone(postgres) as made:
        yield made


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


async def signed_in(house: House, subject: str = "otto", *roles: str) -> None:
    answer = await house.client.get("/sign-in", params={"link": await house.link(subject, *(roles or ("operations",)))})
    assert answer.status_code == 303 and answer.headers["location"] == "/"


async def page(house: House, path: str, status: int = 200) -> str:
    answer = await house.client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script" not in policy
    return answer.text


async def test_a_link_opens_the_console_once(house: House) -> None:
    link = await house.link("otto", "operations")
    answer = await house.client.get("/sign-in", params={"link": link})
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 303 and "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie
    assert "Otto" in await page(house, "/") and "Demo or test" in await page(house, "/glossary")
    house.client.cookies.clear()
    again = await house.client.get("/sign-in", params={"link": link})
    assert again.status_code == 401 and "used before" in again.text


async def test_who_is_not_signed_in_is_told_how(house: House) -> None:
    for path in ("/", "/releases/epl-26.12", "/change-requests/CR-1", "/glossary"):
        assert "Sign in with a link" in await page(house, path, 401)
    assert "Sign in with a link" in (shown := await page(house, "/sign-in")) and "Demo or test" in shown
    assert (await house.client.get("/static/daymark.css")).headers["content-type"].startswith("text/css")


async def test_a_page_asked_for_what_it_does_not_know_says_so_as_the_other_doors_do(house: House) -> None:
    for path in ("/?product=epl", "/glossary?word=CR", "/change-requests/CR-1?revision=1", "/sign-in?lnik=x"):
        answer = await house.client.get(path, headers={"Authorization": f"Bearer {house.keys['olga']}"})
        assert answer.status_code == 422 and answer.headers["content-type"].startswith("text/html")
        assert "There is no query parameter" in answer.text
    assert (await house.client.post("/sign-out?all=true")).status_code == 422
    assert (await house.client.get("/?product=epl")).status_code == 401, "who shows no key is told nothing else"


async def test_what_is_no_link_is_told_so_on_a_page(house: House) -> None:
    assert "used before" in await page(house, f"/sign-in?link={'x' * 300}", 401)


async def test_a_slash_too_many_is_no_redirect_to_whatever_host_was_named(house: House) -> None:
    answer = await house.client.get("/reviewer/v1/releases/", headers={**house.headers("otto"), "Host": "evil.example"})
    assert answer.status_code == 404 and "location" not in answer.headers


async def test_a_release_to_come_says_what_happened_to_the_last_one(house: House) -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl", "epl-26.12")
    story.release("epl", "27.01", story.now)
    story.register("CR-2", "epl", "epl-27.01", "The next one")
    await house.hear(*story.events)
    await signed_in(house)
    shown = await page(house, "/releases/epl-27.01")
    assert "The last one of" in shown and "/change-requests/CR-1" in shown
    assert "The last one of" not in await page(house, "/releases/epl-26.12")


async def test_a_busy_product_pushes_neither_a_quiet_one_nor_its_own_past_off_the_front_page(house: House) -> None:
    story = in_review()
    story.prepared("CR-1", "epl")
    story.deploy("CR-1", "epl", "epl-26.12")
    story.after(25)
    story.observe("CR-1", "epl", "steady")
    story.product(policy("epl-x", "EPL-X"))
    for number in range(2, 80):
        story.after(0.1)
        story.register(f"CR-{number}", "epl-x", None, f"Change {number}")
    story.register("CR-80", "epl", None, "Another one")
    await house.hear(*story.events)
    await signed_in(house)
    front = await page(house, "/")
    assert "/change-requests/CR-1" in front and "verified" in front
    for number in range(81, 120):  # and now it is the busy one itself, long after
        story.after(0.1)
        story.register(f"CR-{number}", "epl", None, f"Change {number}")
    await house.hear(*story.events)
    front = await page(house, "/")
    assert "/change-requests/CR-1" in front and "verified" in front
    admin = await asyncpg.connect(house.url)
    await admin.execute("SET enable_seqscan = off")
    rows = await admin.fetch(
        "EXPLAIN SELECT cr_id FROM reviewer.facts WHERE type = 'cr.deployed.v1' AND product_id = 'epl' ORDER BY time DESC"
    )
    await admin.close()
    assert any("facts_deployed" in row[0] for row in rows)


async def test_a_person_whom_nobody_knows_is_shown_as_a_claim(house: House) -> None:
    story = in_review()
    story.register("CR-2", "epl", "epl-26.12", "Another", author="local|otto", ptask="ldap|otto")
    await house.hear(*story.events)
    await signed_in(house)
    for path in ("/change-requests/CR-2", "/releases/epl-26.12"):
        shown = await page(house, path)
        assert "ldap|otto: nobody of that name is known here" in shown and "(claimed)" in shown
        assert "local|otto: nobody" not in shown


async def test_signing_out_ends_the_session(house: House) -> None:
    await signed_in(house)
    session = house.client.cookies["daymark_session"]
    assert (await house.client.post("/sign-out")).status_code == 303
    house.client.cookies.clear()
    house.client.cookies.set("daymark_session", session)
    await page(house, "/", 401)


async def test_a_cookie_reads_and_never_acts(house: House) -> None:
    await house.hear(*in_review().events)
    digest = (await house.dossier())["digest"]
    await signed_in(house, "olga")
    assert (await house.client.post("/reviewer/v1/reviews", json=ready(digest))).status_code == 401


async def test_every_page_shows_a_fortnight_of_three_products(house: House) -> None:
    await house.hear(*stories.whole(datetime.now(UTC)).events)
    await signed_in(house)
    front = await page(house, "/")
    for word in ("EPL-X", "SCP", "investigating", "rolled back and recovered", "CASE-1", "observe", "26.12"):
        assert word in front, word
    release = await page(house, "/releases/epl-x-26.11.2")
    for word in ("CR-2", "CR-3", "CR-4", "verified", "181", "264", "+46%", "INV-1", "back at the benchmark", "CASE-1"):
        assert word in release, word
    for cr_id in [f"CR-{number}" for number in range(1, 10)]:
        assert cr_id in await page(house, f"/change-requests/{cr_id}")
    await page(house, "/releases/none", 404)
    await page(house, "/change-requests/CR-99", 404)
    await page(house, "/change-requests/%00", 404)
    await page(house, f"/releases/{'x' * 3000}", 404)


async def test_release_and_change_say_what_a_due_look_waits_for_and_that_a_quiet_early_look_is_no_pass(
    house: House,
) -> None:
    story = Story(datetime.now(UTC) - timedelta(hours=25))
    story.product(policy())
    release = story.release("epl", "26.12", story.now)
    story.register("CR-1", "epl", release, "Tune the settlement queue")
    story.deploy("CR-1", "epl", release)
    due = story.now + timedelta(hours=24)
    about: dict[str, Any] = {"cr_id": "CR-1", "product_id": "epl", "deployment": 1, "revision": 1}
    early: dict[str, Any] = {"window_start": story.now, "window_end": story.now, "looked_at": story.now}
    quiet = "Early, 15 min after the deploy: nothing gross in 3 SLIs so far; the look after 24 hours decides. This is no pass."
    story.say(EarlyLookTaken(**about, **early, after_min=15, found="nothing", sentence=quiet, content_hash="ab"))
    tried: dict[str, Any] = {"due_at": due, "tried_at": due, "tried_until": due + timedelta(hours=2)}
    reason = "the source does not answer for 3 of 3 SLIs: <b>main</b> cannot be reached (latency, errors, heap)"
    story.say(SnapshotDelayed(**about, **tried, kind="after", reason=reason))
    await house.hear(*story.events)
    await signed_in(house)
    for path in (f"/releases/{release}", "/change-requests/CR-1"):
        shown = await page(house, path)
        assert (
            f"The after snapshot has been due since {clock(due)}: the source does not answer for 3 of 3 SLIs" in shown
        )
        assert "; then it is overdue." in shown and "<b>" not in shown and "observing" in shown
        assert quiet in shown and "verified" not in shown.replace("Verified", "")
    story.after(25).observe("CR-1", "epl")
    await house.hear(*story.events)
    for path in (f"/releases/{release}", "/change-requests/CR-1"):
        shown = await page(house, path)
        assert "has been due" not in shown and "1 early look raised nothing, which was no verdict" in shown


async def test_nobody_sees_a_product_that_is_not_theirs(house: House) -> None:
    await house.hear(*stories.whole(datetime.now(UTC)).events)
    admin = await asyncpg.connect(house.url)
    link = await create_link(admin, await grant(admin, "xenia", name="Xenia", roles=("operations",), product="scp"))
    await admin.close()
    await house.client.get("/sign-in", params={"link": link})
    front = await page(house, "/")
    assert "SCP" in front and "EPL" not in front
    await page(house, "/releases/epl-26.12", 404)
    await page(house, "/change-requests/CR-1", 404)


async def test_hostile_text_is_shown_and_does_nothing(house: House) -> None:
    story = Story(datetime.now(UTC) - timedelta(hours=30))
    story.product(policy("epl", EVIL[:100], description="What it is, <b>in</b> words."))
    story.release("epl", EVIL, story.now + timedelta(days=1))
    more = {
        "link": "javascript:alert(3)",
        "description": EVIL,
        "backout_plan": EVIL,
        "source": EVIL,
        "external_id": EVIL,
    }
    story.register("CR-1", "epl", f"epl-{EVIL}", EVIL, author=f"local|{EVIL}", **more)
    story.evidence("CR-1", "epl")
    story.tests("CR-1", "epl", commit=EVIL)
    story.benchmark("epl", "epl", "SNAP-1", published_by=f"local|{EVIL}", missing=({"sli": EVIL, "reason": EVIL},))
    item = ReviewItem(id=EVIL[:50], text=EVIL)
    story.review("CR-1", "epl", "not_ready", EVIL, items=(item,))
    story.go("CR-1", "epl", "no_go", EVIL)
    story.deploy("CR-1", "epl", deployer=f"local|{EVIL}", commit=EVIL, against_process=(EVIL,))
    story.after(24)
    compared = stories.compared(EVIL, EVIL, EVIL[:20], 1, 2, 0.5, "moved", sentence=EVIL)
    story.observe("CR-1", "epl", "moved", comparisons=(compared,), sentence=EVIL)
    story.deviate("CR-1", "epl", None, EVIL, EVIL, EVIL)
    story.owe("epl", EVIL, "CASE-9", EVIL, story.now)
    story.investigate(EVIL, "CR-1", "epl", "keep", EVIL)
    await house.hear(*story.events)
    await signed_in(house)
    assert "What it is, &lt;b&gt;in&lt;/b&gt; words." in await page(house, "/")
    for path in ("/", "/change-requests/CR-1"):
        shown = await page(house, path)
        assert "<script" not in shown and "<img src=x" not in shown and "javascript:" not in shown
        assert "&lt;script&gt;" in shown and "{{ 7*7 }}" in shown and ' style="' not in shown


async def test_no_page_has_inline_style_or_script(house: House) -> None:
    await house.hear(*stories.whole(datetime.now(UTC)).events)
    await signed_in(house)
    for path in ("/", "/releases/epl-x-26.11.2", "/change-requests/CR-3", "/glossary", "/sign-in"):
        shown = await page(house, path)
        assert " style=" not in shown and "<style" not in shown and "<script" not in shown and " onclick" not in shown
