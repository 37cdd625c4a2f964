"""A real Prometheus with back-filled samples."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import leash
from tests.servers.absent import program
from tests.servers.directory import temporary

REMEDY = "install Prometheus (Debian: apt-get install prometheus)"
READY_S = 30


@contextmanager
def serving(openmetrics: str) -> Iterator[str]:
    """The base URL of a Prometheus that has these samples and scrapes nothing.

    `openmetrics` is OpenMetrics text with a time (s) on each line, ended by `# EOF`; the past may be long.
    """
    promtool, prometheus = program("promtool", REMEDY), program("prometheus", REMEDY)
    with temporary() as directory:
        (directory / "samples").write_text(openmetrics)
        (directory / "prometheus.yml").write_text("scrape_configs: []\n")
        made = subprocess.run(
            [promtool, "tsdb", "create-blocks-from", "openmetrics", directory / "samples", directory / "data"],
            capture_output=True,
            text=True,
            timeout=120,
        )
        if made.returncode != 0:
            raise ValueError(f"promtool refuses the samples: {made.stderr.strip()}")
        port = _free_port()
        command = [
            prometheus,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        with (directory / "log").open("wb") as log:
            server = leash.spawn(command, death=signal.SIGKILL, env=os.environ, output=log)
        try:
            _await_ready(server, port, directory / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()  # nothing in it is worth an orderly end
            server.wait()


def _await_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up_at = time.monotonic() + READY_S
    while time.monotonic() < give_up_at and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2):
                return
        except urllib.error.HTTPError as error:  # 503 while it reads its data
            error.close()
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"Prometheus does not answer: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
