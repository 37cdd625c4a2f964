"""What a service measures of its plumbing: each number moves with its cause, and goes back when that is gone."""

from prometheus_client.parser import text_string_to_metric_families

from shared import topics
from shared.bus import Record, open_bus
from shared.bus.partitioner import partition_of
from shared.db import bootstrap
from shared.freshness import Heart
from shared.outbox import Relay
from shared.telemetry import Telemetry
from tests.contract import plumbing
from tests.contract.hearer import TOPIC, Hearer, event
from tests.servers.postgres import Databases

QUIET = {"outbox_unsent": 0.0, "outbox_age_seconds": 0.0, "consumer_lag": 0.0, "parked_keys": 0.0, "dead_letters": 0.0,
         "timers_due": 0.0, "timers_overdue": 0.0}  # fmt: skip


def told(telemetry: Telemetry) -> dict[str, float]:
    families = text_string_to_metric_families(telemetry.metrics_text().decode())
    found = {each.name.removeprefix("daymark_"): each.samples for each in families if each.name.startswith("daymark_")}
    return {name: sum(sample.value for sample in found[name]) for name in QUIET}


async def test_each_gauge_moves_with_its_cause_and_back(postgres: Databases) -> None:
    url = await postgres.fresh(await postgres.template("plumbing", plumbing.make))
    async with plumbing.bench(url) as bench, open_bus(url) as bus:
        await topics.apply(bus)
        telemetry, hearer = plumbing.telemetry(), Hearer(bench, bus)
        relay, heart = Relay(bench.db, bus, telemetry), Heart(bench.db, bus, telemetry, every_s=5, heard=(TOPIC,))

        async def moved() -> dict[str, float]:
            """The gauges that are not as in quiet, to a second."""
            await heart.beat()
            return {name: round(value) for name, value in told(telemetry).items() if round(value) != QUIET[name]}

        assert await moved() == {}
        async with bench.db.house() as tx:
            tx.emit(event("CR-1", 1).data, sequence=1)
        await bootstrap.move_clock(bench.admin, ahead_s=100)
        found = await moved()
        assert found.pop("outbox_age_seconds") in range(100, 160) and found == {"outbox_unsent": 1}
        assert await relay.send_some() == 1
        await relay.let_go()
        assert await moved() == {"consumer_lag": 1}

        hearer.waiting = {"CR-1"}
        partition = partition_of("CR-1", 24)
        row = await bench.admin.fetchrow(f'SELECT * FROM bus."{TOPIC}"')
        headers = tuple(zip(row["header_names"], row["header_values"], strict=True))
        await hearer.hear(Record(TOPIC, partition, row["offset"], b"CR-1", row["value"], headers))
        assert await moved() == {"parked_keys": 1, "timers_due": 1}
        await bench.admin.execute("UPDATE intake.agenda SET due_at = due_at - interval '2 minutes'")
        assert await moved() == {"parked_keys": 1, "timers_due": 1, "timers_overdue": 1}
        hearer.waiting = set()
        await hearer.drain()
        assert await moved() == {}

        await hearer.hear(Record(TOPIC, partition, 1, b"CR-1", b"\xff"))
        assert (await moved()).items() >= {"dead_letters": 1}.items()
        await bench.admin.execute("UPDATE intake.dead SET replayed_at = daymark_now()")
        assert await relay.send_some() == 1  # the letter to daymark.dead.intake
        await relay.let_go()
        assert await moved() == {}
        await heart._let_go()
    await postgres.drop(url)
