"""Worlds for the flow tests: see tests/flow/world.py."""

from collections.abc import AsyncIterator

import pytest

from tests.flow.world import World, begun
from tests.servers.postgres import Databases


@pytest.fixture
async def world(postgres: Databases) -> AsyncIterator[World]:
    """The four services in one process, a week back, with nothing in them but products and people."""
    async with begun(postgres) as made:
        yield made
