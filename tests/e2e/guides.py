"""A guide that is run as it stands: its blocks in order, in one shell, against a world whose clock moves where it says so."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Told
from tests.servers.absent import program

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
_END = "--- this block has ended"
_PIECES = re.compile(r"```(sh|json)\n(.*?)```|<!-- clock: (?:(\d+)h)?(?:(\d+)m)? -->", re.DOTALL)


class Shell:
    """One bash, which keeps what earlier blocks defined. It ends at the first command that fails."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, block: str) -> str:
        """What the block printed. Raises AssertionError when a command failed, or was refused."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{block}\necho '{_END}'\n".encode())
        printed = ""
        async with asyncio.timeout(90):
            while _END not in printed:
                line = await self._process.stdout.readline()
                assert line, f"the shell ended within:\n{block}\n{printed}"
                printed += line.decode()
        assert "urn:daymark:problem" not in printed and "Traceback" not in printed, f"{block}\n{printed}"
        return printed.partition(_END)[0]


@asynccontextmanager
async def shell(directory: Path, told: Told) -> AsyncIterator[Shell]:
    """A bash whose Daymark is that world, and whose `date` says its time: what `clock` in `directory` holds."""
    own = directory / "bin"
    own.mkdir()
    date = own / "date"
    date.write_text(f'#!/bin/sh\nexec {program("date", "it is in coreutils")} -d "$(cat {directory}/clock)" "$@"\n')
    date.chmod(0o755)
    (own / "python3").symlink_to(Path(getattr(sys, "_base_executable", sys.executable)))  # not through a slow shim
    (directory / "keys.json").write_text(json.dumps(dict(told.world.t.keys)))
    program("curl", "install it (Debian: apt-get install curl)")
    process = await asyncio.create_subprocess_exec(
        program("bash", "install it"), "-eu", "-o", "pipefail", cwd=directory,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=2**22,
    )  # fmt: skip
    try:
        made = Shell(process)
        await made.run(f'export PATH="{own}:$PATH" no_proxy="*"')
        yield made
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def is_within(said: Any, found: Any) -> bool:
    """Whether what the guide prints is part of what was answered."""
    if isinstance(said, dict):
        return isinstance(found, dict) and all(is_within(value, found.get(name)) for name, value in said.items())
    return bool(said == found)


async def follow(guide: str, told: Told, directory: Path, change: str) -> None:
    """Run the guide: each `sh` block, then what the `json` block after it says. `change`: what the plant knows it by.

    What is said of an answer is so at once, or when facts have come round: a reader would ask again.
    """
    world, plant = told.world, told.world.t.plant
    block, printed = "", ""
    async with shell(directory, told) as bash:
        for kind, text, hours, minutes in _PIECES.findall((GUIDES / guide).read_text()):
            await world.quiet()
            (directory / "clock").write_text((await world.now()).isoformat())
            if kind == "sh":
                block = re.sub(r"^export DAYMARK=.*$", f"export DAYMARK={told.url}", text, flags=re.M)
                block = re.sub(r"^export DAYMARK_HOME=.*$", f"export DAYMARK_HOME={directory}", block, flags=re.M)
                block = re.sub(r"^sleep \d+$", ":", block, flags=re.M)  # we know when all is quiet; a reader waits
                for part in re.split(r"^:$", block, flags=re.M):
                    await world.quiet()
                    printed = await bash.run(part)
                if "/deployed" in block:
                    plant.deploy("epl", change, (await world.now()).timestamp())
                if "/rolled-back" in block:
                    plant.roll_back("epl", (await world.now()).timestamp())
            elif kind == "json":
                said, last = json.loads(text), block.strip().splitlines()[-1]
                is_question = last.startswith("as ")  # what was said is said once
                for _ in range(40):
                    if is_within(said, json.loads(printed.strip().splitlines()[-1])) or not is_question:
                        break
                    await asyncio.sleep(0.25)
                    printed = await bash.run(last)
                found = json.loads(printed.strip().splitlines()[-1])
                assert is_within(said, found), f"{block}\nanswers\n{printed[-3000:]}\nand not\n{text}"
            else:
                await world.step(timedelta(hours=int(hours or 0), minutes=int(minutes or 0)))
