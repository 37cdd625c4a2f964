"""The embedded PostgreSQL: whose it is, how it ends, what the next start finds."""

import os
import pwd
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.local.postgres import Postgres, PostgresError, default_home

pytestmark = pytest.mark.slow

OWNER = """
import sys, time
from pathlib import Path
from deploy.local.postgres import Postgres
server = Postgres(Path(sys.argv[1]))
print(server.start(), flush=True)
time.sleep(600)
"""


@contextmanager
def running(home: Path) -> Iterator[Postgres]:
    server = Postgres(home)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def owned_by_another_process(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """(the process, the URL of the server that it has started)."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(home)], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout
        yield owner, owner.stdout.readline().strip()
    finally:
        owner.kill()
        owner.communicate()
        assert eventually(lambda: not servers_over(home))


def servers_over(home: Path) -> list[psutil.Process]:
    """Living processes of PostgreSQL that work in `home`, by whatever parent."""
    cluster = Postgres(home)._name
    return [p for p in psutil.process_iter(["cmdline"]) if cluster in " ".join(p.info["cmdline"] or [])]


def eventually(holds: Callable[[], bool], within_s: float = 10) -> bool:
    give_up_at = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


async def said(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_a_second_start_finds_the_data_of_the_first(home: Path) -> None:
    with running(home) as server:
        await said(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with running(home) as server:
        assert await said(server.url, "SELECT answer FROM kept") == 42


async def test_it_is_postgresql_18_in_utc_and_a_commit_is_on_the_disk(home: Path) -> None:
    with running(home) as server:
        assert str(await said(server.url, "SHOW server_version")).startswith("18")
        assert await said(server.url, "SHOW timezone") == "UTC"
        assert await said(server.url, "SHOW fsync") == "on"
        assert await said(server.url, "SHOW synchronous_commit") == "on"
        assert await said(server.url, "SHOW server_encoding") == "UTF8"


async def test_nobody_enters_without_the_password(home: Path) -> None:
    with running(home) as server:
        assert not list(home.rglob(".s.PGSQL*"))
        with pytest.raises(asyncpg.InvalidPasswordError):
            await said(server.url.replace(server._password, "guess"), "SELECT 1")
    for secret in (home / "postgres.password", home / "data" / "PG_VERSION"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "data").stat().st_mode) == 0o700


def test_the_server_runs_as_a_user_who_is_neither_root_nor_has_a_name_when_we_are_root(home: Path) -> None:
    with running(home):
        owners = {process.uids().effective for process in servers_over(home)}
        assert len(owners) == 1
        assert 0 not in owners
        if os.geteuid() == 0:
            with pytest.raises(KeyError):
                pwd.getpwuid(owners.pop())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must run it as somebody else")
def test_as_root_a_home_that_the_server_cannot_enter_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(PostgresError, match="cannot enter"):
        Postgres(tmp_path / "closed" / "home").start()


async def test_after_kill_9_of_its_owner_no_orphan_stays_and_the_next_start_recovers(home: Path) -> None:
    with owned_by_another_process(home) as (owner, url):
        await said(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert servers_over(home)
        owner.kill()
        owner.wait()
        with running(home) as server:  # at once: it must wait for the one before
            assert await said(server.url, "SELECT answer FROM kept") == 42


async def test_after_kill_9_of_its_owner_the_server_ends_by_itself(home: Path) -> None:
    with owned_by_another_process(home) as (owner, _):
        assert servers_over(home)
        owner.kill()
        assert eventually(lambda: not servers_over(home))


async def test_after_kill_9_of_the_server_itself_the_next_start_recovers(home: Path) -> None:
    with running(home) as server:
        await said(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        postmaster = int((home / "data" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGKILL)
    with running(home) as server:
        assert await said(server.url, "SELECT answer FROM kept") == 42


async def test_a_server_that_does_not_end_by_itself_is_ended_by_the_next_start(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.postgres.LEAVE_S", 0.5)
    with owned_by_another_process(home) as (owner, url):
        await said(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        postmaster = psutil.Process(int((home / "data" / "postmaster.pid").read_text().splitlines()[0]))
        postmaster.suspend()  # deaf to the signal that its owner's death sends
        owner.kill()
        owner.wait()
        with running(home) as server:
            assert await said(server.url, "SELECT answer FROM kept") == 42


async def test_a_pid_file_whose_number_is_now_another_programs_is_cleared(home: Path) -> None:
    with running(home):
        lines = (home / "data" / "postmaster.pid").read_text().splitlines()
    lines[0] = str(os.getpid())  # alive, and none of ours
    (home / "data" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with running(home) as server:
        assert await said(server.url, "SELECT 1") == 1


def test_a_second_owner_of_the_same_home_is_refused_and_told_by_whom(home: Path) -> None:
    with owned_by_another_process(home) as (owner, _), pytest.raises(PostgresError, match=f"Process {owner.pid} "):
        Postgres(home).start()


def test_a_making_that_was_cut_off_is_done_again(home: Path) -> None:
    (home / "data.part").mkdir()
    (home / "data.part" / "PG_VERSION").write_text("half")
    (home / "data.password").write_text("half")
    with running(home):
        assert not (home / "data.part").exists()
        assert not list(home.glob("*.part*"))


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    with running(home) as server:
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
        taken = Postgres(home / "other", port=port)
        with pytest.raises(PostgresError, match="Address already in use"):
            taken.start()


def test_it_is_started_from_the_main_thread_or_not_at_all(home: Path) -> None:
    said_why: list[BaseException] = []

    def start() -> None:
        try:
            Postgres(home).start()
        except RuntimeError as error:
            said_why.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(said_why)


def test_stop_may_be_repeated_and_start_may_follow(home: Path) -> None:
    server = Postgres(home)
    for _ in range(2):
        server.start()
        server.stop()
        server.stop()
    assert not servers_over(home)


def test_the_home_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DAYMARK_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv("DAYMARK_HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_home() == Path("/var/lib/daymark")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_home() == tmp_path / "daymark"
