"""The demo as a stranger finds it after `make demo`: the story is told once, then its pages are read in a real browser.

What a page must be for everybody is asked by `page_checks.js`; pictures of all pages go to `build/e2e/`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, StorageState

from services.reviewer.console import words
from shared.settings import SERVICES
from tests.e2e.conftest import Told
from tests.e2e.guides import follow
from tests.flow.normal import normal
from tests.flow.world import WORSE
from tests.record import unaccounted

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("story")]

CHECKS = Path(__file__).with_name("page_checks.js").read_text()
PICTURES = Path(__file__).parents[2] / "build" / "e2e"
#: name -> path; what a person comes to see, and what they see when there is nothing.
PAGES = {
    "front": "/",
    "release-in-question": "/releases/epl-2026.48",
    "release-that-owes": "/releases/epl-x-2.9",
    "release-that-went-wrong": "/releases/epl-x-2.8",
    "cr-verified": "/change-requests/CR-1",
    "cr-rolled-back": "/change-requests/CR-2",
    "cr-kept": "/change-requests/CR-3",
    "cr-not-ready": "/change-requests/CR-5",
    "glossary": "/glossary",
    "nothing-there": "/releases/epl-x-0.1",
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 380, "height": 800}, "color_scheme": "light"},
}


async def test_the_demo_tells_what_it_promises(told: Told) -> None:
    crs, world = told.crs, told.world
    found = await normal(world.t, crs)
    assert [found[role]["cr"] for role in ("steady", "moving", "watched")] == ["CR-1", "CR-2", "CR-3"]
    steady, moving, watched = (found[role] for role in ("steady", "moving", "watched"))
    assert steady["stage"] == "verified" and steady["deployments"][0]["gate"][:2] == (True, True)
    assert steady["deployments"][0]["flags"] == 0 and steady["incidents"] == []
    assert moving["stage"] == "recovered"
    assert [look["look"][3] for look in moving["deployments"][0]["looks"]] == ["moved", "steady"]
    assert moving["deployments"][0]["deviations"][0][0] == "DEV-CR-2-1-1"
    assert moving["deployments"][0]["investigations"][0][3] == "rollback"
    assert len(moving["incidents"]) == 1
    assert not watched["deployments"][0]["gate"][1] and watched["deployments"][0]["flags"]
    assert watched["stage"] not in ("registered", "deployed", "observing")
    following = found["next_epl_x"]
    assert following["stage"] == "not_ready"  # a required test fails
    assert [(case, counts) for case, _, counts, _ in following["debt"]] == [(moving["incidents"][0][3][0], True)]
    assert {"debt_open", "tests_failed"} <= set(following["missing"])
    assert found["next_epl"]["reviews"][0][1] == "need_more"
    ahead_s = await world.admin.fetchval("SELECT extract(epoch FROM ahead)::float8 FROM daymark.clock")
    assert abs(ahead_s) < 120  # the clock is the present


async def test_everything_in_the_story_says_who_did_it_why_and_under_which_policy(told: Told) -> None:
    """Facts and audit rows of all four services, those of the first start included."""
    assert await unaccounted(told.world.admin.fetch, *SERVICES) == []


# -- the pages, in a browser ------------------------------------------------------------------------------------------


class Visit:
    """One person's window: what it showed on its console, and whom it asked."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self._url = page, url
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "status of 404" not in message.text:  # a page that is a no
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self._url).netloc:
            self.strangers.append(request.url)

    async def to(self, path: str) -> str:
        """Go there; the text that a person can read."""
        await self.page.goto(self._url + path)
        return re.sub(r"\s+", " ", await self.page.inner_text("body"))


@pytest.fixture(scope="module")
async def session(told: Told, browser: Browser) -> StorageState:
    """Olga, signed in by her one-time link."""
    link = await told.link()
    context = await browser.new_context()
    page = await context.new_page()
    answer = await page.goto(link)
    assert answer is not None and answer.status == 200 and page.url == f"{told.url}/"
    (cookie,) = await context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Lax" and cookie["path"] == "/"
    assert not cookie["secure"]  # http on loopback; DAYMARK_SECURE_COOKIES is held by tests/contract/test_settings.py
    assert link.partition("link=")[2] not in await page.content() and await page.evaluate("document.cookie") == ""
    kept = await context.storage_state()
    await context.clear_cookies()
    answer = await page.goto(link)
    assert answer is not None and answer.status == 401 and "was used before" in await page.inner_text("main")
    assert await page.evaluate(CHECKS) == []
    await context.close()
    return kept


@asynccontextmanager
async def visiting(told: Told, browser: Browser, session: StorageState, **look: Any) -> AsyncIterator[Visit]:
    context: BrowserContext = await browser.new_context(storage_state=session, **look)
    try:
        yield Visit(await context.new_page(), told.url)
    finally:
        await context.close()


@pytest.mark.browser
@pytest.mark.parametrize("look", LOOKS)
async def test_every_page_is_fit_for_everybody_in_each_look(
    told: Told, browser: Browser, session: StorageState, look: str
) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    wrong: dict[str, list[str]] = {}
    async with visiting(told, browser, session, **LOOKS[look]) as visit:
        for name, path in PAGES.items():
            assert "Daymark" in await visit.to(path)
            if faults := await visit.page.evaluate(CHECKS):
                wrong[f"{look} {path}"] = faults
            await visit.page.screenshot(path=PICTURES / f"{name}-{look}.png", full_page=True)
        assert wrong == {}
        assert visit.complaints == [] and visit.strangers == []


@pytest.mark.browser
async def test_the_pages_say_what_is_true(told: Told, browser: Browser, session: StorageState) -> None:
    async with visiting(told, browser, session) as visit:
        front = await visit.to("/")
        for cr in told.crs.values():
            found = await told.world.t.dossier(cr)
            line = f"{cr} {found['title']}"
            assert line in front
            page = await visit.to(f"/change-requests/{cr}")
            stage = words.STAGES[found["stage"]][1]
            assert line in page and stage in page, (cr, stage)
            assert "the clock of this database can be moved" in page and "Facts as of" in page
            for reason in found["missing"] if not found["deployments"] else ():
                assert reason["sentence"] in page
            for case in found["before"]["debt"] if not found["deployments"] else ():
                assert case["case_id"] in page and case["title"] in page
            for deployment in found["deployments"]:
                for look in deployment["observations"]:
                    assert " ".join(words.sentence(look["sentence"]).split()) in page  # as the page's text was
                for flag in deployment["flags"]:
                    assert flag in page
            release = await visit.to(f"/releases/{found['release']['release_id']}")
            assert line in release and stage in release
        owes = await visit.to("/releases/epl-x-2.9")
        for said in ("The last one", "CR-2", "rolled back and recovered", "CASE-1", "Integration tests failed"):
            assert said in owes
        assert await visit.page.locator("time").count() > 0 and visit.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/", "/change-requests/CR-2"])
async def test_keys_alone_reach_everything_and_show_where_they_are(
    told: Told, browser: Browser, session: StorageState, path: str
) -> None:
    """Tab stops at everything that can be used, in reading order, and each is marked; the first skips the head."""
    async with visiting(told, browser, session) as visit:
        await visit.to(path)
        count = await visit.page.evaluate(
            """() => {
              window.stops = [...document.querySelectorAll("a[href], button, summary, [tabindex='0']")].filter((one) =>
                one.checkVisibility() && (!one.closest("details:not([open])") || one.matches("summary")));
              window.log = [];
              document.addEventListener("focusin", ({ target }) => {
                const style = getComputedStyle(target), box = target.getBoundingClientRect();
                window.log.push([window.stops.indexOf(target),
                  style.outlineStyle !== "none" && style.outlineWidth !== "0px" && box.width > 1 && box.height > 1]);
              });
              return window.stops.length;
            }"""
        )
        for _ in range(count):
            await visit.page.keyboard.press("Tab")
        log = cast(list[tuple[int, bool]], await visit.page.evaluate("window.log"))
        assert [stop for stop, _ in log] == list(range(count))
        assert [stop for stop, is_marked in log if not is_marked] == []
        await visit.to(path)
        await visit.page.keyboard.press("Tab")
        await visit.page.keyboard.press("Enter")
        assert visit.page.url.endswith("#content")


@pytest.mark.browser
async def test_a_page_runs_nothing_is_framed_nowhere_and_stays_in_no_cache(
    told: Told, browser: Browser, session: StorageState
) -> None:
    async with visiting(told, browser, session) as visit:
        for path in ("/", "/releases/epl-x-2.9", "/change-requests/CR-2", "/change-requests/CR-99"):
            answer = await visit.page.goto(told.url + path)
            assert answer is not None
            headers = await answer.all_headers()
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
            assert set(policy.values()) <= {"'none'", "'self'"} and "script-src" not in policy
            assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"


@pytest.mark.browser
async def test_who_signs_out_is_out(told: Told, browser: Browser) -> None:
    link = await told.link("omar")
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(link)
    kept = await context.cookies()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/sign-in")
    assert await context.cookies() == []
    await context.add_cookies([cast(Any, cookie) for cookie in kept])  # also for who kept it
    answer = await page.goto(told.url)
    assert answer is not None and answer.status == 401 and "Sign in with a link" in await page.inner_text("main")
    await context.close()


async def test_one_change_by_curl_is_answered_as_the_guide_says(told: Told, tmp_path: Path) -> None:
    """Last of all: a day passes in it."""
    await follow("one-change.md", told, tmp_path, change=WORSE)
