"""A real uvicorn under clients that are slow, endless or deaf: others are served, and SIGTERM ends it in time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

APP = """
import sys
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
import uvicorn
from shared.doors import server
from shared.doors.limits import limits, uvicorn_settings
from shared.doors.problems import problems
from shared.doors.strict import StrictRoute

server.HEADERS_DEADLINE_S = float(sys.argv[2])
server.UNREAD_DEADLINE_S = float(sys.argv[2])
app = FastAPI(openapi_url=None)
problems(app)
limits(app, receive_deadline_s=float(sys.argv[3]))
router = APIRouter(route_class=StrictRoute)

@router.post("/things")
async def things(thing: dict[str, str]) -> int:
    return len(thing)

@router.get("/alive")
async def alive() -> str:
    return "alive"

@router.get("/large")
async def large() -> StreamingResponse:
    return StreamingResponse(b"x" * 65536 for _ in range(100_000))

app.include_router(router)
if len(sys.argv) > 4:
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **(uvicorn_settings() | {"limit_concurrency": 1}))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **uvicorn_settings())
"""


class Server:
    def __init__(self, *, patience_s: float = 10, body_s: float = 15, extra: tuple[str, ...] = ()) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-c", APP, str(self.port), str(patience_s), str(body_s), *extra],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": "."},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.sockets: list[socket.socket] = []
        until = time.monotonic() + 30
        while True:
            try:
                self.connect().close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < until, "the server did not start"
                time.sleep(0.05)

    def connect(self, first: bytes = b"") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.sockets.append(made)
        made.sendall(first)
        return made

    def get(self, path: str = "/alive") -> bytes:
        client = self.connect(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return read(client)

    def stop(self) -> float:
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        return time.monotonic() - started

    def close(self) -> bytes:
        for each in self.sockets:
            each.close()
        if self.process.poll() is None:
            self.process.kill()
        out, _ = self.process.communicate(timeout=10)
        return out


def read(client: socket.socket) -> bytes:
    """All until the other side closes; a reset after the answer is an end as well."""
    found = b""
    try:
        while more := client.recv(65536):
            found += more
    except ConnectionResetError:
        pass
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(scope="module")
def hasty() -> Iterator[Server]:
    made = Server(patience_s=1, body_s=1)
    yield made
    made.close()


POST = b"POST /things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_one_slow_body_and_one_slow_header_do_not_hold_the_shutdown(server: Server) -> None:
    server.connect(POST + b"Content-Length: 100\r\n\r\n{")
    server.connect(b"GET /alive HTTP/1.1\r\nHos")
    idle = server.connect(b"GET /alive HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in idle.recv(4096)
    deaf = server.connect(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    assert deaf.recv(100)
    time.sleep(0.3)
    assert b"alive" in server.get()
    assert server.stop() < 12
    assert server.process.returncode in (0, -signal.SIGTERM, 143)


def test_slow_headers_alone_end_within_their_time(hasty: Server) -> None:
    started = time.monotonic()
    client = hasty.connect(b"GET /alive HTTP/1.1\r\nHost")
    assert read(client) == b""
    assert time.monotonic() - started < 4


def test_slow_headers_of_a_second_request_end_as_well(hasty: Server) -> None:
    client = hasty.connect(b"GET /alive HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in client.recv(4096)
    client.sendall(b"GET /al")
    started = time.monotonic()
    assert b"HTTP/1.1" not in read(client)
    assert time.monotonic() - started < 4


def test_a_trickle_does_not_buy_time(hasty: Server) -> None:
    client = hasty.connect(POST + b"Content-Length: 10000\r\n\r\n")
    started = time.monotonic()
    client.settimeout(0.2)
    answer = b""
    while time.monotonic() - started < 5 and b"408" not in answer:
        try:
            client.sendall(b"x")
            answer += client.recv(4096)
        except (TimeoutError, ConnectionError):
            pass
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b"urn:daymark:problem:too-slow" in answer + read(client)
    assert time.monotonic() - started < 4


def test_a_client_that_never_reads_is_left(hasty: Server) -> None:
    client = hasty.connect(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(3)
    assert len(read(client)) < 65536 * 100_000


def test_endless_headers_are_refused(hasty: Server) -> None:
    client = hasty.connect(b"GET /alive HTTP/1.1\r\nHost: x\r\n")
    try:
        for _ in range(100):
            client.sendall(b"X-" + b"a" * 4000 + b": b\r\n")
    except ConnectionError:
        return
    assert b" 400 " in read(client).split(b"\r\n")[0]


def test_a_large_upload_is_told_why_before_it_is_cut(hasty: Server) -> None:
    client = hasty.connect(POST + b"Content-Length: 20000000\r\n\r\n")
    try:
        for _ in range(20):
            client.sendall(b"x" * 1_000_000)
    except ConnectionError:
        pass
    answer = read(client)
    assert b" 413 " in answer.split(b"\r\n")[0] and b"urn:daymark:problem:too-large" in answer


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 1e3\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_two_readers_could_read_differently_is_refused_and_closed(hasty: Server, request_: bytes) -> None:
    answer = read(hasty.connect(request_))
    assert b" 400 " in answer.split(b"\r\n")[0]


def test_a_client_that_leaves_halfway_leaves_no_trace(hasty: Server) -> None:
    for _ in range(5):
        hasty.connect(POST + b"Content-Length: 100\r\n\r\n{").close()
    time.sleep(0.2)
    assert b"alive" in hasty.get()


def test_one_too_many_is_told_to_come_back() -> None:
    server = Server(extra=("one at a time",))
    answer = server.get()
    server.stop()
    server.close()
    assert b" 503 " in answer.split(b"\r\n")[0]
    assert b"urn:daymark:problem:unavailable" in answer and b"retry-after: 1" in answer.lower()
