"""The four services as production runs them: each in a process of its own, with its own role in the database, on Kafka."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2

from deploy.local import leash
from deploy.local.postgres import Postgres
from shared.settings import SERVICES
from tests.servers.directory import temporary
from tests.servers.kafka import Broker, own_broker

ROOT = Path(__file__).parents[2]
READY_S = 60
#: How a service is started: `uvicorn` as anybody would, `serve` as the image does.
COMMANDS: Mapping[str, Sequence[str]] = {
    "uvicorn": ("-m", "uvicorn", "services.{service}.app:app", "--port", "{port}", "--no-access-log"),
    "serve": ("-m", "deploy.serve", "{service}"),
}


class Server:
    """A PostgreSQL of our own, on one port for life, that can crash and be started again over the same data."""

    def __init__(self, home: Path) -> None:
        self._home, self._port = home, _free_port()
        self._postgres: Postgres | None = None

    def start(self) -> str:
        """Start it, wait until it answers; the admin's URL."""
        self._postgres = Postgres(self._home, port=self._port)  # with fsync: what it has answered is kept
        return self._postgres.start()

    def crash(self) -> None:
        """What `pg_ctl stop -m immediate` does: every backend ends at once, nothing is written. `start` recovers."""
        pid = int((self._home / "data" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGQUIT)
        self.stop()

    def stop(self) -> None:
        if self._postgres is not None:
            self._postgres.stop()
            self._postgres = None


class Services:
    """Processes by service and replica, on ports of their own for life. End everything with `stop`."""

    def __init__(
        self, directory: Path, postgres: Server, broker: Broker, sources: Mapping[str, Any], *, by: str = "serve"
    ) -> None:
        self.directory, self.postgres, self.broker, self._by = directory, postgres, broker, by
        self.admin_url = postgres.start()
        self.keys: dict[str, str] = {}
        self.kills = 0
        self._sources = dict(sources)
        self._ports: dict[tuple[str, int], int] = {}
        self._running: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        self._urls: dict[str, str] = {}

    # -- before the first start ----------------------------------------------------------------------------------------

    async def install(self, *people: tuple[str, str], behind_s: float = 0.0) -> None:
        """Database, roles that may log in, topics, and a key for each (subject, role): by the commands of `daymark`."""
        if behind_s:  # only the demo's clock starts in the past, and it has no command for that
            from shared.db.migrations import upgrade

            await upgrade(self.admin_url, movable=True, behind_s=behind_s)
        await asyncio.gather(self.daymark("db", "upgrade", "--movable"), self.daymark("topics", "apply"))
        admin = await asyncpg.connect(self.admin_url)
        try:
            for service in SERVICES:  # what the guide tells those who run it to do once, with better passwords
                await admin.execute(f"ALTER ROLE \"{service}\" LOGIN PASSWORD 'of-{service}'")
                at = urlsplit(self.admin_url)
                self._urls[service] = f"postgresql://{service}:of-{service}@{at.hostname}:{at.port}{at.path}"
        finally:
            await admin.close()
        made = await asyncio.gather(*(self.daymark("keys", "create", who, "--role", role) for who, role in people))
        self.keys = {who: key["secret"] for (who, _), key in zip(people, made, strict=True)}

    async def daymark(self, *words: str) -> Any:
        """What a command of the CLI answers as JSON, run as a process with the admin's rights."""
        environment = {**_environment(), "DAYMARK_DATABASE_URL": self.admin_url, "DAYMARK_BUS_URL": self.bus_url}
        command = [sys.executable, "-m", "cli.main", *words, "--json"]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        said, wrong = await process.communicate()
        assert process.returncode == 0, f"daymark {' '.join(words)}: {wrong.decode()[-2000:]}"
        return json.loads(said)

    # -- processes -------------------------------------------------------------------------------------------------------

    @property
    def bus_url(self) -> str:
        return f"kafka://{self.broker.address}"

    def address(self, service: str, replica: int = 0) -> str:
        """Its base URL; the same after each start."""
        return f"http://127.0.0.1:{self._port(service, replica)}"

    def _port(self, service: str, replica: int) -> int:
        if (service, replica) not in self._ports:
            self._ports[service, replica] = _free_port()
        return self._ports[service, replica]

    def start(self, service: str, replica: int = 0) -> None:
        """Start a process; it cannot outlive ours."""
        assert (service, replica) not in self._running, f"{service} {replica} already runs"
        port = self._port(service, replica)
        command = [word.format(service=service, port=port) for word in COMMANDS[self._by]]
        environment = {
            **_environment(),
            f"DAYMARK_{service.upper()}_DATABASE_URL": self._urls[service],
            "DAYMARK_BUS_URL": self.bus_url,
            "DAYMARK_PORT": str(port),
            "DAYMARK_LOG_LEVEL": "INFO",
            "DAYMARK_HEARTBEAT_S": "0.5",
            "DAYMARK_POOL_SIZE": "6",
            **({"DAYMARK_SOURCES": json.dumps(self._sources)} if service == "snapshotter" else {}),
        }
        with self.log(service, replica).open("ab") as output:
            self._running[service, replica] = leash.spawn(
                [sys.executable, *command], death=signal.SIGKILL, env=environment, cwd=ROOT, output=output
            )

    def kill(self, service: str, replica: int = 0) -> None:
        """kill -9."""
        process = self._running.pop((service, replica))
        assert process.poll() is None, (
            f"{service} had ended by itself ({process.returncode}): {self.end_of_log(service)}"
        )
        process.kill()
        process.wait()
        self.kills += 1

    def terminate(self, service: str, replica: int = 0, within_s: float = 20.0) -> int:
        """SIGTERM; its exit code."""
        process = self._running.pop((service, replica))
        process.terminate()
        return process.wait(within_s)

    def all_run(self) -> bool:
        """None has ended by itself."""
        return all(process.poll() is None for process in self._running.values())

    def stop(self) -> None:
        """End everything, at once."""
        for process in self._running.values():
            process.kill()
            process.wait()
        self._running.clear()
        self.postgres.stop()

    async def ready(self, *services: str, replica: int = 0, within_s: float = READY_S) -> float:
        """Wait until they (all when none is named) say that they are; the seconds it took."""
        began = time.monotonic()
        async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
            for service in services or SERVICES:
                await self._await_ready(client, service, replica, began + within_s)
        return time.monotonic() - began

    async def _await_ready(self, client: httpx2.AsyncClient, service: str, replica: int, until: float) -> None:
        said = "no answer"
        while time.monotonic() < until:
            process = self._running.get((service, replica))
            assert process is None or process.poll() is None, (
                f"{service} has ended: {self.end_of_log(service, replica)}"
            )
            with suppress(httpx2.HTTPError):
                answer = await client.get(f"{self.address(service, replica)}/{service}/readyz")
                if answer.status_code == 200:
                    return
                said = answer.text
            await asyncio.sleep(0.05)
        raise AssertionError(f"{service} is not ready: {said}; {self.end_of_log(service, replica)}")

    async def metric(self, name: str, service: str, replica: int = 0, **labels: str) -> float:
        """The sum of a metric over its series with these labels, asked with the auditor's key."""
        headers = {"Authorization": f"Bearer {self.keys['ada']}"}
        async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
            answer = await client.get(f"{self.address(service, replica)}/{service}/metrics", headers=headers)
        assert answer.status_code == 200, answer.text
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = re.findall(rf"^{name}(\{{[^}}]*\}})? (\S+)", answer.text, re.MULTILINE)
        return sum(float(value) for series, value in lines if all(each in series for each in wanted))

    def log(self, service: str, replica: int = 0) -> Path:
        return self.directory / f"{service}-{replica}.log"

    def end_of_log(self, service: str, replica: int = 0, lines: int = 25) -> str:
        return "\n".join(self.log(service, replica).read_text(errors="replace").splitlines()[-lines:])


@asynccontextmanager
async def production(sources: Mapping[str, Any], *, by: str = "serve") -> AsyncIterator[Services]:
    """A PostgreSQL and a Kafka of the caller's own, and the services, not installed and not started yet."""
    with own_broker() as broker, temporary() as home, temporary() as directory:
        services = Services(directory, Server(home), broker, sources, by=by)
        try:
            yield services
        finally:
            services.stop()


def _environment() -> dict[str, str]:
    """Ours without any setting of Daymark: what runs here is told everything by name."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DAYMARK_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
