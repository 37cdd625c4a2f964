"""`daymark up`, as `make run` starts it: with parts that are given, ended by Ctrl-C and by kill -9, found again."""

import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from deploy.local import leash
from deploy.local.postgres import Postgres
from shared.settings import SERVICES
from tests.servers.directory import temporary
from tests.servers.kafka import Broker

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

ROOT = Path(__file__).parents[2]
DEBIAN = Path("/usr/lib/postgresql/15/bin")
READY_S, LEAVE_S = 60, 15
#: What is open to strangers; everything else asks for a key.
OPEN = ("/healthz", "/readyz", "/version", "/sign-in", "/static")


class Up:
    """One `daymark up` over a home."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home, self._settings = home, settings
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home.parent / "up.log"

    def start(self) -> float:
        """Start it and wait until all four services say that they are ready; the seconds it took."""
        began = time.monotonic()
        mine = {name: value for name, value in os.environ.items() if not name.startswith("DAYMARK_")}
        environment = {**mine, "DAYMARK_HOME": str(self.home), "DAYMARK_PORT": str(self.port), **self._settings}
        with self.log.open("ab") as output:
            self.process = leash.spawn(
                [sys.executable, "-m", "cli.main", "up"], death=signal.SIGKILL, env=environment, cwd=ROOT, output=output
            )
        self.until(lambda: all(self.says(f"/{service}/readyz") == 200 for service in SERVICES), READY_S)
        return time.monotonic() - began

    def end(self, sign: signal.Signals) -> tuple[int, float]:
        """(exit code, seconds until it had ended)."""
        began = time.monotonic()
        self.process.send_signal(sign)
        return self.process.wait(LEAVE_S), time.monotonic() - began

    def says(self, path: str) -> int:
        try:
            return httpx2.get(self.url + path, timeout=5, trust_env=False).status_code
        except httpx2.TransportError:
            return 0

    def until(self, true: Callable[[], Any], within_s: float) -> Any:
        give_up_at = time.monotonic() + within_s
        while not (found := true()):
            assert self.process.poll() is None and time.monotonic() < give_up_at, self.log.read_text()[-3000:]
            time.sleep(0.1)
        return found

    def ask(self, who: str, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {json.loads((self.home / 'keys.json').read_text())[who]}"}
        return httpx2.request(method, self.url + path, headers=headers, timeout=30, trust_env=False, **more)

    def register(self, name: str) -> str:
        body = {
            "product": "epl",
            "source": "servicenow",
            "external_id": name,
            "title": name,
            "author": "erin",
            "ptask": "pia",
        }
        made = self.ask("pipeline", "POST", "/intake/v1/change-requests", json=body)
        assert made.status_code in (200, 201), made.text
        return str(made.json()["id"])

    def dossier(self, cr: str) -> Any:
        def heard() -> Any:
            answer = self.ask("ada", "GET", f"/reviewer/v1/change-requests/{cr}/dossier")
            return answer.json() if answer.status_code == 200 and answer.json()["stage"] != "unknown" else None

        return self.until(heard, 40)


@pytest.fixture
def up(home: Path) -> Iterator[Callable[..., Up]]:
    made: list[Up] = []

    def make(**settings: str) -> Up:
        made.append(Up(home / "daymark", **settings))
        return made[-1]

    yield make
    for each in made:
        if hasattr(each, "process"):
            each.process.kill()
            each.process.wait()
        gone_by = time.monotonic() + LEAVE_S
        while servers_over(each.home) and time.monotonic() < gone_by:
            time.sleep(0.1)


def servers_over(home: Path) -> list[psutil.Process]:
    """Living processes of PostgreSQL that work in `home`, by whatever parent."""
    cluster = Postgres(home)._name
    return [p for p in psutil.process_iter(["cmdline"]) if cluster in " ".join(p.info["cmdline"] or [])]


@pytest.mark.kafka
def test_with_a_given_kafka_it_walks_a_cr_ends_in_order_survives_kill_9_and_finds_its_data(
    up: Callable[..., Up], broker: Broker
) -> None:
    daymark = up(DAYMARK_BUS_URL=f"kafka://{broker.address}")
    print(f"first start: {daymark.start():.1f} s")
    assert stat.S_IMODE((daymark.home / "keys.json").stat().st_mode) == 0o600
    strangers_are_refused(daymark)
    first = daymark.register("CHG-1")
    assert daymark.dossier(first)["stage"] == "registered"

    code, took_s = daymark.end(signal.SIGINT)
    print(f"Ctrl-C: {took_s:.1f} s")
    assert code == 0 and not servers_over(daymark.home)
    assert "Traceback" not in daymark.log.read_text()

    print(f"second start: {daymark.start():.1f} s")
    assert daymark.register("CHG-1") == first  # the same CR: it is there
    second = daymark.register("CHG-2")
    assert daymark.dossier(first)["stage"] == "registered"
    daymark.end(signal.SIGKILL)
    gone_by = time.monotonic() + LEAVE_S
    while servers_over(daymark.home):
        assert time.monotonic() < gone_by, "an orphan server stays"
        time.sleep(0.1)

    print(f"start after kill -9: {daymark.start():.1f} s")
    for cr in (first, second):
        assert daymark.dossier(cr)["stage"] == "registered"
    assert daymark.end(signal.SIGTERM)[0] == 0


def strangers_are_refused(daymark: Up) -> None:
    """Every path of every service, asked without a key: nothing is open but what is meant to be."""
    for service in SERVICES:
        paths = daymark.ask("ada", "GET", f"/{service}/openapi.json").json()["paths"]
        paths |= {f"/{service}/{name}": {"get": {}} for name in ("metrics", "docs", "openapi.json")}
        assert len(paths) > 5
        for path, methods in paths.items():
            for method in methods:
                address = path.replace("{", "").replace("}", "")
                answer = httpx2.request(
                    method, daymark.url + address, timeout=10, trust_env=False, follow_redirects=False
                )
                if any(part in path for part in OPEN):
                    assert answer.status_code < 500
                    continue
                # What cannot even be read is refused as that; whatever is read, asks for a key first.
                wanted = {401, 302, 303, 307} if method == "get" else {400, 401, 415, 422}
                assert answer.status_code in wanted, (method, path, answer.status_code, answer.text[:300])
                assert answer.status_code < 300 or "sign-in" in answer.headers.get("location", "sign-in")
    for page in ("/", "/releases/epl-1", "/change-requests/CR-1", "/glossary"):
        answer = httpx2.get(daymark.url + page, timeout=10, trust_env=False, follow_redirects=False)
        assert answer.status_code in (401, 302, 303, 307, 404), (page, answer.status_code)


def test_with_a_given_database_it_starts_no_server_and_ends_without_ending_the_given_one(
    up: Callable[..., Up],
) -> None:
    with given_database() as url:
        daymark = up(DAYMARK_DATABASE_URL=url)
        daymark.start()
        assert not servers_over(daymark.home) and not (daymark.home / "data").exists()
        cr = daymark.register("CHG-1")
        assert daymark.dossier(cr)["stage"] == "registered"
        assert daymark.end(signal.SIGINT)[0] == 0
        daymark.start()
        assert daymark.register("CHG-1") == cr
        assert daymark.dossier(cr)["stage"] == "registered"
        assert daymark.end(signal.SIGINT)[0] == 0


@contextmanager
def given_database() -> Iterator[str]:
    """Somebody else's PostgreSQL: Debian's 15, the oldest we promise, where it is installed; else the embedded one."""
    with temporary() as home:
        if not DEBIAN.exists():
            server = Postgres(home)
            try:
                yield server.start()
            finally:
                server.stop()
            return
        nobody = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        account = (nobody.pw_uid, nobody.pw_gid) if nobody else None
        data = home / "data"
        data.mkdir(mode=0o700)
        if account:
            os.chown(data, *account)
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        made = leash.spawn(
            [DEBIAN / "initdb", "-D", data, "-U", "admin", "--no-sync"], account=account, env=environment, cwd=Path("/")
        )
        assert made.wait(60) == 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server15 = leash.spawn(
            [DEBIAN / "postgres", "-D", data, "-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
            death=signal.SIGINT, account=account, env=environment, cwd=Path("/"),
        )  # fmt: skip
        try:
            give_up_at = time.monotonic() + READY_S
            while subprocess.run([DEBIAN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode:
                assert server15.poll() is None and time.monotonic() < give_up_at
                time.sleep(0.05)
            yield f"postgresql://admin@127.0.0.1:{port}/postgres"
        finally:
            server15.send_signal(signal.SIGINT)
            server15.wait(20)
            shutil.rmtree(data, ignore_errors=True)
