"""Work in other processes: done, refused, mended after a death, ended with the service."""

from __future__ import annotations

import math
import os

import pytest

from services.snapshotter.handlers.workers import Workers
from shared.errors import Unavailable


async def test_work_is_done_in_another_process_which_is_replaced_when_it_dies() -> None:
    workers = Workers(1)
    try:
        first = await workers.run(os.getpid)
        assert first != os.getpid()
        with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
            await workers.run(math.sqrt, -1.0)
        with pytest.raises(Unavailable, match="ended before its work was done"):
            await workers.run(os._exit, 1)
        assert await workers.run(os.getpid) not in (first, os.getpid())
    finally:
        await workers.close()


async def test_without_processes_the_work_is_done_here() -> None:
    assert await Workers().run(os.getpid) == os.getpid()
