"""Starts a program that cannot outlive the process that asked for it.

    python -I -S leash.py PARENT SIGNAL UID GID PROGRAM ARGUMENT...

It becomes PROGRAM (same pid), run as UID:GID unless UID is -1, and the kernel sends it SIGNAL when PARENT ends, however
it ends. A launcher of its own instead of `preexec_fn`, because Python code between fork and exec may deadlock where
there are threads.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG = 1


def spawn(
    command: Sequence[str | Path],
    *,
    death: signal.Signals = signal.SIGKILL,
    account: tuple[int, int] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: IO[Any] | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start `command` on the leash of this process, in a session of its own so that Ctrl-C at the terminal is ours.

    `death` is what the program gets when we end; `account` is (uid, gid) to run as, None for our own; stdout and stderr
    both go to `output`. Only on Linux does the kernel hold the leash; elsewhere the program is merely started.

    Raises RuntimeError outside the main thread: the kernel's "parent" is a thread, and a worker thread that ends would
    take the program with it.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a leashed program must be started from the main thread: it would end with another thread")
    uid, gid = account or (-1, -1)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, *map(str, (os.getpid(), int(death), uid, gid, *command))],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output if output == subprocess.DEVNULL else subprocess.STDOUT,
        env=env,
        cwd=cwd,
        start_new_session=True,
    )


def become(parent: int, death: int, uid: int, gid: int, command: list[str]) -> None:
    """Drop privileges, take the leash, turn into `command`. Does not return."""
    libc = ctypes.CDLL(None, use_errno=True)  # loaded while we may still read it
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for ignored in (signal.SIGPIPE, signal.SIGINT):  # Python, and a shell's `&`, leave these ignored
        signal.signal(ignored, signal.SIG_DFL)
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which clears it; and then a look whether the parent was already gone before the leash held.
        if libc.prctl(PR_SET_PDEATHSIG, death, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:
            sys.exit(f"leash: process {parent} has already ended")
    os.execvp(command[0], command)  # noqa: S606 (no shell is the point)


if __name__ == "__main__":
    _parent, _death, _uid, _gid = map(int, sys.argv[1:5])
    become(_parent, _death, _uid, _gid, sys.argv[5:])
