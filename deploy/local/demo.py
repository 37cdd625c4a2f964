"""`daymark demo`: an instance of its own, whose clock starts four days back and is stepped forward to the present."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import httpx2

from deploy.local.postgres import default_home
from deploy.local.story import DAYS, Teller, present, tell
from deploy.local.telemetry import DemoTelemetry
from deploy.local.up import Running, invitation, move_clock, up
from shared.clock import wall


def demo(*, home: Path | None = None, port: int | None = None, leave: bool = False) -> None:
    """Start, tell the story once, and stay up with the clock at the present (`leave`: end when it is told)."""
    home = (home or default_home() / "demo").absolute()
    told = home / "told"
    telemetry = DemoTelemetry()
    source = {"kind": "prometheus", "url": telemetry.start()}
    print("Demo telemetry (made, not measured) is served over the Prometheus API at", source["url"], flush=True)

    async def then(running: Running) -> None:
        if told.exists():
            print("The story was told before; the instance is as it was left.", flush=True)
        else:
            await _tell(running, telemetry)
            told.touch()
        print(await invitation(running), flush=True)
        if leave:
            running.server.should_exit = True

    try:
        up(
            home=home,
            port=port,
            movable=True,
            behind_s=timedelta(days=DAYS).total_seconds(),
            sources={"main": source},
            then=then,
        )
    finally:
        telemetry.stop()


async def _tell(running: Running, telemetry: DemoTelemetry) -> None:
    """The story against this instance. What is the present is fixed when it begins; at the end the clock is real time."""
    now = present()

    async def move_to(at: datetime) -> None:
        behind_s = (wall() - at).total_seconds()
        # The last step makes it the present: from then on it runs with real time.
        await move_clock(running.admin_url, 0.0 if at >= now else -behind_s)

    def say(line: str) -> None:
        print(line, flush=True)

    async with httpx2.AsyncClient(timeout=90) as client:
        await asyncio.sleep(0)
        await tell(Teller(lambda _: running.base_url, running.keys, telemetry.plant, now, move_to, say, client))
