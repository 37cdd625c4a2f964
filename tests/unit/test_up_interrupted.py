"""Ctrl-C in the middle of what runs beside the server is no failure of it; a failure of its own is."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.local.up import _until_told


async def _told(server: Any, *, leaves: bool) -> None:
    """A story whose requests fail, because the server has left, or by itself."""
    await asyncio.sleep(0)
    server.should_exit = leaves
    raise ConnectionError("all connection attempts failed")


async def test_that_the_server_left_in_the_middle_of_the_story_is_no_failure_of_it() -> None:
    server: Any = SimpleNamespace(should_exit=False)
    await _until_told(server, asyncio.create_task(_told(server, leaves=True)))


async def test_a_story_that_still_runs_is_ended_and_waited_for() -> None:
    server: Any = SimpleNamespace(should_exit=True)

    async def endless() -> None:
        await asyncio.Event().wait()

    story = asyncio.create_task(endless())
    await _until_told(server, story)
    assert story.cancelled()


async def test_a_story_that_fails_by_itself_fails_the_start() -> None:
    server: Any = SimpleNamespace(should_exit=False)
    with pytest.raises(ConnectionError):
        await _until_told(server, asyncio.create_task(_told(server, leaves=False)))
