"""The four services as production runs them: processes of their own, on a real Kafka and a real PostgreSQL, killed in turn."""

from collections.abc import AsyncIterator

import pytest

from shared.settings import SERVICES
from tests.load import PEOPLE, Load, Telemetry, crs, killed, under
from tests.servers.services import Services, production

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.xdist_group("processes")]


@pytest.fixture(scope="module")
async def telemetry() -> AsyncIterator[Telemetry]:
    served = Telemetry()
    served.url = served.start()
    yield served
    served.stop()


@pytest.fixture(scope="module")
async def services(telemetry: Telemetry) -> AsyncIterator[Services]:
    """Installed by the CLI, running, each with a role of its own."""
    source = {"main": {"kind": "prometheus", "url": telemetry.url, "timeout_s": 10}}
    async with production(source, by="uvicorn") as made:
        await made.install(*PEOPLE)
        for service in SERVICES:
            made.start(service)
        await made.ready()
        yield made


async def test_services_killed_in_turn_under_load_lose_nothing_and_double_nothing(
    services: Services, telemetry: Telemetry
) -> None:
    load = Load(services, telemetry)
    await under(
        load,
        first=[killed(service) for service in SERVICES],
        second=[killed(service) for service in ("snapshotter", "incidents", "reviewer", "intake")],
        n=crs(),
    )
    print(load.figures)
    assert services.kills == 8
