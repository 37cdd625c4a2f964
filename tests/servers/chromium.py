"""A real browser, driven from outside: Debian's chromium, or the one that `DAYMARK_TEST_CHROMIUM` names."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from tests.servers.absent import absent

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "chrome")
REMEDY = "install it (Debian: apt-get install chromium), or name one in DAYMARK_TEST_CHROMIUM"


def found() -> str:
    """The path of a browser, or `absent`."""
    given = os.environ.get("DAYMARK_TEST_CHROMIUM")
    names = (given,) if given else NAMES
    return next((path for name in names if (path := shutil.which(name))), None) or absent(given or "Chromium", REMEDY)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser without a window; it ends with the block."""
    path = found()
    async with async_playwright() as driver:
        # Without its sandbox, because tests may run as root; it visits nothing but ourselves.
        made = await driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield made
        finally:
            await made.close()
