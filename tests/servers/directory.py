"""Directories for servers: outside pytest's, which only we may enter, and never left behind for long."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "daymark-test-"
LEAVE_S = 15


@contextmanager
def temporary() -> Iterator[Path]:
    """An empty directory that a server with another account than ours can enter; gone afterwards."""
    _sweep()
    outer = Path(tempfile.mkdtemp(prefix=PREFIX))
    outer.chmod(0o711)
    with (outer / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # for as long as we live
        inner = outer / "room"
        inner.mkdir()
        inner.chmod(0o711)
        try:
            yield inner
        finally:
            give_up_at = time.monotonic() + LEAVE_S
            while outer.exists() and time.monotonic() < give_up_at:  # a server that was told to end may still write
                shutil.rmtree(outer, ignore_errors=True)
                time.sleep(0.05)


def _sweep() -> None:
    """Remove what runs that were killed have left: nobody holds it any more."""
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            made = old.stat()
            if made.st_uid != os.geteuid() or made.st_mtime > time.time() - 60:  # one just made is not locked yet
                continue
            with (old / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old)
