"""Worse than kill -9 of a service: broker and database go down in the middle of a load. `make chaos`: ten times the load."""

from collections.abc import AsyncIterator

import pytest

from shared.settings import SERVICES
from tests.faults import broker_killed, killed, postgres_crashed, under
from tests.load import Load, a_load, crs

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.xdist_group("processes")]

#: Three rounds in `make chaos`, one in CI.
ROUNDS = 1 if crs() <= 30 else 3
IN_TURN = [killed(service) for service in SERVICES]


@pytest.fixture
async def load() -> AsyncIterator[Load]:
    async with a_load(by="serve") as made:
        yield made


async def test_a_broker_killed_and_a_database_crashed_while_changes_go_live_and_are_judged_lose_and_double_nothing(
    load: Load,
) -> None:
    await under(
        load,
        first=[broker_killed(), postgres_crashed] * ROUNDS,
        second=[postgres_crashed, broker_killed()] * ROUNDS,
        n=crs() if ROUNDS > 1 else crs() // 3,
        seed=2,
    )
    print(load.figures)


@pytest.mark.skipif(ROUNDS == 1, reason="`make chaos` alone: DAYMARK_TEST_CRS over 30")
async def test_everything_killed_by_turns_many_times_over_loses_and_doubles_nothing(load: Load) -> None:
    everything = [*IN_TURN, broker_killed(8.0), *IN_TURN, postgres_crashed]
    await under(load, first=everything * ROUNDS, second=everything * ROUNDS, n=crs(), seed=3)
    print(load.figures)
