"""CPU work away from the event loop: a few processes that are made when first needed, and mended when one dies.

Packing and judging 500 SLIs take seconds. In a thread they would hold the interpreter's lock against every door and heartbeat.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import ParamSpec, TypeVar

from shared.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

#: No work of ours takes nearly as long; what does is stopped, and its job tried again.
DEADLINE_S = 300.0
_CODE = "services.snapshotter.handlers"


class Workers:
    """`processes` of them at most; with 0 the work is done in a thread of this process (tests, tools)."""

    def __init__(self, processes: int = 0) -> None:
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    async def run(self, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """`work(*given)`, elsewhere; `work` is a function of a module, and all that goes in and out can be pickled.

        What it raises is raised here. Raises Unavailable when its process died or did not end in time.
        """
        if not self._processes:
            return await asyncio.to_thread(work, *given, **named)
        pool = self._pool = self._pool or self._made()
        try:
            done = asyncio.wrap_future(pool.submit(work, *given, **named))
            return await asyncio.wait_for(done, DEADLINE_S)
        except BrokenProcessPool as error:
            self._leave(pool)
            raise Unavailable("A worker process ended before its work was done.", retry_after_s=5) from error
        except TimeoutError as error:
            if pool is self._pool:
                self._leave(pool)
            raise Unavailable(f"A worker process was not done within {DEADLINE_S:g} s.", retry_after_s=60) from error

    async def close(self) -> None:
        """End the processes, whatever they do."""
        if self._pool is not None:
            self._leave(self._pool)

    def _made(self) -> ProcessPoolExecutor:
        # Forked off a server that has imported the code and done nothing else: our own fork would copy the event loop,
        # the database's sockets and the locks of other threads; a fresh interpreter each time would import for seconds.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_CODE])
        return ProcessPoolExecutor(self._processes, mp_context=context, initializer=_begin)

    def _leave(self, pool: ProcessPoolExecutor) -> None:
        if pool is self._pool:
            self._pool = None
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def workers() -> Workers:
    """As many as this machine can use beside its event loops, and no more than a day's snapshots need."""
    return Workers(max(1, min(4, os.cpu_count() or 1)))


def _begin() -> None:
    """In the new process: leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
