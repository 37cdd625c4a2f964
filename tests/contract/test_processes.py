"""The four services as production runs them: processes of their own, on a real Kafka and a real PostgreSQL, killed in turn."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from shared.settings import SERVICES
from tests.faults import killed, under
from tests.load import Load, a_load, crs
from tests.servers.services import Services

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.xdist_group("processes")]

#: Looks to share, all due at once: one replica runs eight at a time, and the other looks up once a second at the latest.
SHARED = 20


@pytest.fixture(scope="module")
async def load() -> AsyncIterator[Load]:
    async with a_load(by="uvicorn") as made:
        yield made


async def test_services_killed_in_turn_under_load_lose_nothing_and_double_nothing(load: Load) -> None:
    await under(
        load,
        first=[killed(service) for service in SERVICES],
        second=[killed(service) for service in ("snapshotter", "incidents", "reviewer", "intake")],
        n=crs(),
    )
    print(load.figures)
    assert load.services.kills == 8


async def test_two_replicas_share_the_work_each_letter_and_each_job_once(load: Load) -> None:
    """In the same house, after the kills: a second reviewer and a second snapshotter join."""
    services, shared = load.services, ("reviewer", "snapshotter")
    if not load.changes:
        await load.begun()
    for service in shared:
        services.start(service, replica=1)
    for service in shared:
        await services.ready(service, replica=1)
        assert len(await members(services, service, 2)) == 2
    was = {(service, replica): await done(services, service, replica) for service in shared for replica in (0, 1)}
    await load.ran(SHARED, over_s=2, named="SHARED", of=("calm",))
    await load.moved_on()
    await load.settled()
    await load.held()
    for service in shared:
        now = [await done(services, service, replica) for replica in (0, 1)]
        heard, looks = ([after[i] - was[service, r][i] for r, after in enumerate(now)] for i in (0, 1))
        print(f"{service}: letters heard by each replica: {heard}, looks taken by each: {looks}")
        assert min(heard) > 0
        if service == "snapshotter":
            assert min(looks) > 0 and sum(looks) == SHARED


async def done(services: Services, service: str, replica: int) -> tuple[float, float]:
    """(letters heard, looks taken) by this replica so far."""
    return (
        await services.metric("daymark_letters_heard_total", service, replica),
        await services.metric("daymark_jobs_total", service, replica, job="take_snapshot", result="done"),
    )


async def members(services: Services, service: str, n: int) -> list[set[tuple[str, int]]]:
    """The partitions that each of `n` members of the service's group holds, once all are held, each by one of them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=services.broker.address)
    await admin.start()
    try:
        async with asyncio.timeout(60):
            while True:
                (answer,) = await admin.describe_consumer_groups([f"daymark-{service}"])
                _, _, state, _, _, found = answer.groups[0][:6]
                held = [
                    {
                        (topic, p)
                        for topic, ps in ConsumerProtocolMemberAssignment.decode(member[4]).assignment
                        for p in ps
                    }
                    for member in found
                    if member[4]
                ]
                if state == "Stable" and len(held) == n and all(held):
                    assert sum(len(each) for each in held) == len(set.union(*held)), "a partition has two hearers"
                    return held
                await asyncio.sleep(0.3)
    finally:
        await admin.close()
