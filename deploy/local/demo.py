"""`daymark demo`: an instance of its own, whose clock starts four days back and is stepped forward to the present."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TextIO

import httpx2

from deploy.local.postgres import Postgres, PostgresError, default_home
from deploy.local.story import DAYS, StoryError, Teller, present, tell
from deploy.local.telemetry import DemoTelemetry
from deploy.local.up import INTERRUPTED, Running, invitation, make_home, move_clock, up
from shared.clock import wall


def demo(*, home: Path | None = None, port: int | None = None, leave: bool = False, as_json: bool = False) -> None:
    """Start, tell the story once, and stay up with the clock at the present (`leave`: end when it is told).

    A telling that was interrupted cannot go on: the clock moves forward only, and the present is another by now. The
    next start forgets it and begins anew; this one ends with exit code 130. One that failed ends with 1 and says at what.
    """
    home = (home or default_home() / "demo").absolute()
    begun, told = home / "begun", home / "told"
    out = sys.stderr if as_json else sys.stdout
    _clear(home, begun, told, out)
    telemetry = DemoTelemetry()
    source = {"kind": "prometheus", "url": telemetry.start()}
    print(
        "Demo telemetry (made, not measured) is served over the Prometheus API at", source["url"], flush=True, file=out
    )

    async def then(running: Running) -> None:
        if told.exists():
            print("The story was told before; the instance is as it was left.", flush=True, file=out)
        else:
            await _tell(running, telemetry, out)
            told.touch()
        print(await invitation(running), flush=True, file=out)
        if leave:
            running.server.should_exit = True

    def farewell() -> str:
        if told.exists():
            return "The data is kept; the next start finds it again."
        return "The story was not told to its end; the next start tells it anew, from nothing."

    try:
        up(
            home=home,
            port=port,
            movable=True,
            behind_s=timedelta(days=DAYS).total_seconds(),
            sources={"main": source},
            then=then,
            farewell=farewell,
            as_json=as_json,
        )
    except (StoryError, httpx2.HTTPError) as error:
        raise SystemExit(f"The story could not be told to its end: {error or type(error).__name__}") from None
    finally:
        telemetry.stop()
    if not told.exists():
        raise SystemExit(INTERRUPTED)


def _clear(home: Path, begun: Path, told: Path, out: TextIO) -> None:
    """Leave a home that is empty, or one whose story was told. Never touches an instance that is none of ours."""
    if told.exists():
        return
    if begun.exists():
        if given := next((name for name in ("DAYMARK_DATABASE_URL", "DAYMARK_BUS_URL") if os.environ.get(name)), None):
            raise SystemExit(
                f"The story was interrupted, and cannot go on. Let {given} name an empty one, and remove {begun}."
            )
        print("The story was interrupted; it begins anew, from nothing.", flush=True, file=out)
        try:
            Postgres(home).forget()
        except PostgresError as error:
            raise SystemExit(str(error)) from None
        (home / "keys.json").unlink(missing_ok=True)
    elif (home / "data").exists():
        raise SystemExit(f"{home} holds an instance that is no demo. Name an empty place with --home.")
    make_home(home)
    begun.touch()


async def _tell(running: Running, telemetry: DemoTelemetry, out: TextIO) -> None:
    """The story against this instance. What is the present is fixed when it begins; at the end the clock is real time."""
    now = present()

    async def move_to(at: datetime) -> None:
        behind_s = (wall() - at).total_seconds()
        # The last step makes it the present: from then on it runs with real time.
        await move_clock(running.admin_url, 0.0 if at >= now else -behind_s)

    def say(line: str) -> None:
        print(line, flush=True, file=out)

    async with httpx2.AsyncClient(timeout=90) as client:
        await asyncio.sleep(0)
        await tell(Teller(lambda _: running.base_url, running.keys, telemetry.plant, now, move_to, say, client))
