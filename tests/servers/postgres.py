"""One embedded PostgreSQL for a whole run, and a database of its own for each test."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import asyncpg

from deploy.local.postgres import Postgres
from tests.servers.directory import temporary


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
    with temporary() as home:
        server = Postgres(home, fsync=False)
        try:
            yield Databases(server.start())
        finally:
            server.stop()
