"""Figures of the one-process mode that have nothing to compare themselves with: how soon, how big, how far behind."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.servers import directory


@dataclass
class Up:
    """A started `daymark up`."""

    process: subprocess.Popen[str]
    url: str
    keys: dict[str, str]
    took_s: float  #: from the command to the first answer to a key

    def client(self, who: str) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.keys[who]}"}, timeout=30)


@contextmanager
def _up(home: Path) -> Iterator[Up]:
    environment = {**os.environ, "DAYMARK_HOME": str(home)}
    for name in ("DAYMARK_BUS_URL", "DAYMARK_DATABASE_URL"):
        environment.pop(name, None)
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "up", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = ""
        while not url:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("daymark up ended before it was up")
            if found := re.search(r"console\s+(http://[\d.:]+)/", line):
                url = found[1]
        keys = json.loads((home / "keys.json").read_text())
        answer = httpx2.get(f"{url}/intake/v1/products", headers={"Authorization": f"Bearer {keys['auditor']}"})
        answer.raise_for_status()
        yield Up(process, url, keys, time.perf_counter() - began)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _figures(first: list[float], n: int, unit: str, what: str) -> dict[str, Any]:
    return {"ours": statistics.median(first), "limit": None, "unit": unit, "n": n, "what": what}


def cold_start() -> dict[str, Any]:
    took = []
    for _ in range(3):
        with directory.temporary() as home, _up(home / "home") as up:
            took.append(up.took_s)
    return _figures(took, 3, "s", "daymark up on an empty home to the first answer: initdb, four services, products")


def warm_start() -> dict[str, Any]:
    took = []
    with directory.temporary() as home:
        for _ in range(4):
            with _up(home / "home") as up:
                took.append(up.took_s)
    return _figures(took[1:], 3, "s", "the same with its data there")


def idle_memory() -> dict[str, Any]:
    with directory.temporary() as home, _up(home / "home") as up:
        time.sleep(10)
        ours = psutil.Process(up.process.pid)
        # Shared pages of PostgreSQL's processes would count many times over: proportional share.
        total = sum(one.memory_full_info().pss for one in [ours, *ours.children(recursive=True)])
        return _figures(
            [total / 2**20], 1, "MiB", "proportional memory of daymark up and its PostgreSQL, idle for 10 s"
        )


def dossier_latency() -> dict[str, Any]:
    with directory.temporary() as home, _up(home / "home") as up:
        took = []
        with up.client("pipeline") as post, up.client("auditor") as read:
            for n in range(30):
                body = {
                    "product": "epl", "source": "bench", "external_id": f"B-{n}", "title": "Measured",
                    "author": "erin", "ptask": "pia",
                }  # fmt: skip
                made = post.post("/intake/v1/change-requests", json=body)
                made.raise_for_status()
                began = time.perf_counter()
                while read.get(f"/reviewer/v1/change-requests/{made.json()['id']}/dossier").status_code == 404:
                    time.sleep(0.002)
                took.append((time.perf_counter() - began) * 1000)
    return _figures(took[5:], 25, "ms", "from the answer to POST a CR until its dossier answers, one process (median)")


BENCHES = {
    "cold_start": cold_start,
    "warm_start": warm_start,
    "idle_memory": idle_memory,
    "dossier_latency": dossier_latency,
}
