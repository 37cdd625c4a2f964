"""A real Apache Kafka: one that is given, one from Docker, or one from its own jars (`deploy/kafka`)."""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import leash
from tests.servers.absent import absent
from tests.servers.directory import temporary

SCRIPT = Path(__file__).parents[2] / "deploy" / "kafka" / "kafka.sh"
IMAGE = "apache/kafka:4.3.1"
REMEDY = "start Docker, or install Java 17 and Maven (openjdk-17-jre-headless, maven), or set DAYMARK_TEST_KAFKA"
#: Of a test that kills its broker: neither a container nor an address that was given can stand for that process.
OWN = "Apache Kafka as a process of the test's own, which it may kill"
OWN_REMEDY = (
    "install Java 17 and Maven (openjdk-17-jre-headless, maven); Docker and DAYMARK_TEST_KAFKA are no help here"
)
READY_S = 60


class Broker:
    """A single-node Kafka of `deploy/kafka` over a directory, on one port for life, ended with this process."""

    def __init__(self, directory: Path, more: Callable[["Broker"], str] | None = None) -> None:
        """`more` gives settings on top of those of `deploy/kafka`."""
        self.directory = directory
        self.port = _free_pair_of_ports()
        self.address = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        if more is not None:
            (directory / "more.properties").write_text(more(self))

    def start(self) -> str:
        """Start it, again over the same data, wait until it answers (3 s), and return its bootstrap address."""
        self.launch()
        self.await_answer()
        return self.address

    def launch(self) -> None:
        """Start it, and do not wait. From the main thread."""
        assert self._process is None
        with self._log.open("ab") as output:
            command: list[str | Path] = [SCRIPT, "run", self.directory, str(self.port)]
            self._process = leash.spawn(command, death=signal.SIGKILL, env=os.environ, output=output)

    def await_answer(self) -> None:
        """The rest of a start; may be called in a thread, while a load goes on."""
        _await_answer("127.0.0.1", self.port, self._process, self._log)

    @property
    def _log(self) -> Path:
        return self.directory / "kafka.log"

    def kill(self) -> None:
        """kill -9, as a fault. `start` recovers."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """The orderly end (1 s)."""
        self._end(signal.SIGTERM)

    def _end(self, sign: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(sign)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def any_broker() -> Iterator[str]:
    """The bootstrap address of the first of: DAYMARK_TEST_KAFKA, Docker, `deploy/kafka`."""
    if given := os.environ.get("DAYMARK_TEST_KAFKA"):
        yield given
    elif _docker_has(image := os.environ.get("DAYMARK_TEST_KAFKA_IMAGE", IMAGE)):
        with _in_docker(image) as address:
            yield address
    else:
        if not _has_java():
            absent("Apache Kafka", REMEDY)
        with own_broker() as broker:
            yield broker.address


@contextmanager
def own_broker(more: Callable[[Broker], str] | None = None) -> Iterator[Broker]:
    """A broker from `deploy/kafka` that a test may kill; data are gone afterwards."""
    if not _has_java():
        absent(OWN, OWN_REMEDY)
    # Fetched here, not by the leashed script: if that were killed half-way, Maven would go on alone.
    fetched = subprocess.run([SCRIPT, "jars"], capture_output=True, text=True, timeout=600)
    if fetched.returncode != 0:
        absent(OWN, f"{(fetched.stderr.strip() or 'no jars').splitlines()[-1]}; {OWN_REMEDY}")
    with temporary() as directory:
        broker = Broker(directory, more)
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()


def _has_java() -> bool:
    return shutil.which("java") is not None and shutil.which("mvn") is not None


def _docker_has(image: str) -> bool:
    """Docker is reachable, and the image is there or can be had."""

    def succeeds(*command: str, within_s: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(["docker", *command], capture_output=True, timeout=within_s).returncode == 0
        return False

    return (
        shutil.which("docker") is not None
        and succeeds("info", within_s=10)
        and (succeeds("image", "inspect", image, within_s=10) or succeeds("pull", image, within_s=300))
    )


@contextmanager
def _in_docker(image: str) -> Iterator[str]:
    from testcontainers.core.container import DockerContainer  # slow to import, and looks for Docker when it is

    port = _free_pair_of_ports()  # chosen here, because the broker must be told by which address it is reached
    container = DockerContainer(image).with_bind_ports(9092, port)
    host = container.get_docker_client().host()  # get_container_host_ip() would want it started first
    settings = {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "LISTENERS": "CLIENTS://:9092,INSIDE://:9093,CONTROLLER://:9094",
        "ADVERTISED_LISTENERS": f"CLIENTS://{host}:{port},INSIDE://localhost:9093",
        "LISTENER_SECURITY_PROTOCOL_MAP": "CLIENTS:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "INTER_BROKER_LISTENER_NAME": "INSIDE",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9094",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
    }
    with container.with_envs(**{f"KAFKA_{name}": value for name, value in settings.items()}):
        _await_answer(host, port)
        yield f"{host}:{port}"


def _await_answer(
    host: str, port: int, process: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> None:
    give_up_at = time.monotonic() + READY_S
    while not _answers(host, port):
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > give_up_at:
            end = "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log else "see its container's log"
            raise RuntimeError(f"Kafka at {host}:{port} {'has ended' if ended else 'does not answer'}: {end}")
        time.sleep(0.1)


def _answers(host: str, port: int) -> bool:
    """It says which API versions it knows. An open port proves nothing: Docker's proxy opens it before the broker."""
    question = struct.pack(">hhih", 18, 0, 1, -1)  # ApiVersions v0, correlation 1, no client id
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(question)) + question)
            return len(connection.recv(8)) > 0
    except OSError:
        return False


def _free_pair_of_ports() -> int:
    """A free port whose next one is free as well (for the controller), below those that the kernel gives to clients."""
    # Two workers of one run have neighbouring pids: each begins 200 ports from the other, or both would take a port that
    # is free until the other's broker has started, and speak to that one.
    for port in range(20_000 + os.getpid() % 60 * 200, 32_000, 2):
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 1))
            return port
    raise RuntimeError("no two neighbouring ports are free")
