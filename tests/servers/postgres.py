"""One embedded PostgreSQL for a whole run, and a database of its own for each test."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from deploy.local.postgres import Postgres

PREFIX = "daymark-test-"


class Databases:
    """The server at `url` (its admin's), and databases made in it. Roles are the server's: all databases share them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._made = 0
        self._templates: set[str] = set()

    async def fresh(self, template: str = "template0") -> str:
        """A new database, a copy of `template`; returns the admin's URL of it. Some 20 ms."""
        self._made += 1
        name = f"test_{self._made}"
        await self._say(f'CREATE DATABASE {name} TEMPLATE "{template}"')
        return self.at(name)

    async def template(self, name: str, make: Callable[[str], Awaitable[object]]) -> str:
        """A database that `make(url)` fills when it is asked for the first time; returns `name`, for `fresh`."""
        if name not in self._templates:
            await self._say(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')  # a `make` that failed half-way
            await self._say(f'CREATE DATABASE "{name}" TEMPLATE template0')
            await make(self.at(name))
            await self._say(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')  # a copy needs the original alone
            self._templates.add(name)
        return name

    async def drop(self, url: str) -> None:
        """Drop a database that `fresh` made, whoever is still connected to it."""
        await self._say(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    def at(self, name: str) -> str:
        """The admin's URL of the database `name`."""
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    async def _say(self, sql: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


@contextmanager
def embedded() -> Iterator[Databases]:
    """A server over a directory that is gone afterwards, with settings for data that nobody will miss."""
    with open_home() as home:
        server = Postgres(home, fsync=False)
        try:
            yield Databases(server.start())
        finally:
            server.stop()


@contextmanager
def open_home() -> Iterator[Path]:
    """An empty directory that the account of an embedded server may enter, as it may not enter pytest's `tmp_path`."""
    _sweep()
    home = Path(tempfile.mkdtemp(prefix=PREFIX))
    home.chmod(0o711)
    try:
        yield home
    finally:
        give_up_at = time.monotonic() + 15
        while home.exists() and time.monotonic() < give_up_at:  # a server whose owner was killed may still be leaving
            shutil.rmtree(home, ignore_errors=True)
            time.sleep(0.05)


def _sweep() -> None:
    """Remove what runs that were killed have left: older than an hour, and no living process holds it."""
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if old.stat().st_uid != os.geteuid() or old.stat().st_mtime > time.time() - 3600:
                continue
            with (old / "postgres.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old)
