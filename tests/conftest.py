"""What tests can ask for. Each is started when the first test asks, and ends with pytest, however that ends."""

import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import kafka as kafka_server
from tests.servers import postgres as postgres_server
from tests.servers import prometheus as prometheus_server
from tests.servers.absent import Absent
from tests.servers.directory import temporary
from tests.servers.kafka import Broker
from tests.servers.postgres import Databases

# No broker of ours lives long enough for what Java's second compiler does to its code (40 % of a start) to pay.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """An embedded PostgreSQL server: `.url`, `await .fresh()`, `await .template(name, make)`. One per xdist worker."""
    with postgres_server.embedded() as databases:
        yield databases


@pytest.fixture
async def database(postgres: Databases) -> AsyncIterator[str]:
    """The admin's URL of an empty database, the test's own."""
    url = await postgres.fresh()
    yield url
    await postgres.drop(url)


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty directory for DAYMARK_HOME, which the embedded server's account can enter also when we are root."""
    with temporary() as path:
        yield path


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The bootstrap address of a real Apache Kafka. Topics do not create themselves in it; give yours unique names."""
    with kafka_server.any_broker() as address:
        yield address


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A Kafka of the test's own, to be killed and started again: `.address`, `.kill()`, `.start()`, `.stop()`."""
    with kafka_server.own_broker() as own:
        yield own


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """`prometheus(openmetrics_text)` serves these samples from a real Prometheus and returns its base URL."""
    with ExitStack() as servers:

        def serve(openmetrics: str) -> str:
            return servers.enter_context(prometheus_server.serving(openmetrics))

        yield serve


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A server that is not here is told once, not once a test; and what is no text never reaches xdist."""
    report = yield
    if call.excinfo and isinstance(call.excinfo.value, Absent):
        report.longrepr = call.excinfo.value.reported()
    # Tests of hostile input print lone surrogates, at which a worker that reports to xdist would die.
    report.sections = [(title, _text(content)) for title, content in report.sections]
    if report.failed and _text(told := report.longreprtext) != told:
        report.longrepr = _text(told)
    return report


def _text(content: str) -> str:
    return content.encode("utf-8", "backslashreplace").decode("utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests on the shared broker go to one worker (`--dist loadgroup`): a second one costs more than it saves."""
    chaos = Path(__file__).parent / "chaos"
    for item in items:
        if chaos in item.path.parents:
            item.add_marker(pytest.mark.chaos)
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("kafka"))
