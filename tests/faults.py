"""What breaks under a load, and the whole run: faults while changes come in, faults while they are judged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from tests.load import Load
from tests.servers.services import Services

Fault = Callable[[Services], Awaitable[float]]


def killed(service: str) -> Fault:
    """kill -9 and start again; the seconds until it says that it is ready."""

    async def happens(services: Services) -> float:
        services.kill(service)
        services.start(service)
        return await services.ready(service)

    happens.__name__ = f"{service} killed"
    return happens


def broker_killed(down_s: float = 3.0) -> Fault:
    """kill -9 of the broker, start again after a while; the seconds from its answering until all say they are ready."""

    async def happens(services: Services) -> float:
        services.broker.kill()
        await asyncio.sleep(down_s)
        services.broker.launch()
        await asyncio.to_thread(services.broker.await_answer)
        return await services.ready()

    happens.__name__ = "broker killed"
    return happens


async def postgres_crashed(services: Services) -> float:
    """As `pg_ctl stop -m immediate`, and a start; the seconds from its answering until all say they are ready."""
    services.postgres.crash()
    services.postgres.start()
    return await services.ready()


async def broken(
    services: Services, faults: Sequence[Fault], chance: random.Random, pause_s: tuple[float, float]
) -> list[str]:
    """One after the other, with pauses; a line on each."""
    lines = []
    for fault in faults:
        await asyncio.sleep(chance.uniform(*pause_s))
        took_s = await fault(services)
        lines.append(f"{getattr(fault, '__name__', 'fault').replace('_', ' ')}: ready after {took_s:.1f} s")
    return lines


async def under(load: Load, first: Sequence[Fault], second: Sequence[Fault], *, n: int, seed: int = 1) -> None:
    """The whole run: `first` happens while CRs come in and go live, `second` while the looks a day later are taken."""
    chance = random.Random(seed)
    await load.begun()
    began = time.monotonic()
    async with asyncio.TaskGroup() as both:
        both.create_task(load.ran(n, over_s=max(8.0, n * 0.3)))
        breaking = both.create_task(broken(load.services, first, chance, (0.2, 1.5)))
    lines = breaking.result()
    load.figures["until all are live"] = round(time.monotonic() - began, 1)
    await load.moved_on()
    lines += await broken(load.services, second, chance, (0.3, 1.5))
    load.figures["faults"] = lines
    load.figures["settled after the last fault"] = round(await load.settled(), 1)
    await load.held()
    load.figures["retries"] = dict(load.retries)
