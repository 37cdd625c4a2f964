"""The servers that other tests stand on."""

import json
import time
import urllib.request
from collections.abc import Callable

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.servers.kafka import Broker
from tests.servers.postgres import Databases


async def test_each_test_has_a_database_of_its_own_that_is_a_copy_of_a_template(postgres: Databases) -> None:
    async def make(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE things (name text); INSERT INTO things VALUES ('first')")
        await connection.close()

    urls = [await postgres.fresh(await postgres.template("things", make)) for _ in range(3)]
    for url in urls:
        connection = await asyncpg.connect(url)
        await connection.execute("INSERT INTO things VALUES ('mine')")
        assert await connection.fetchval("SELECT count(*) FROM things") == 2
        await connection.close()
    for url in urls:
        await postgres.drop(url)


async def test_a_fresh_database_is_empty_and_lives_in_utc(database: str) -> None:
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SHOW timezone") == "UTC"
    assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await connection.close()


@pytest.mark.kafka
async def test_kafka_answers_and_makes_no_topic_by_accident(kafka: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("declared", num_partitions=2, replication_factor=1)])
        await admin.describe_topics(["never-declared"])
        assert "never-declared" not in await admin.list_topics()
        assert "declared" in await admin.list_topics()
    finally:
        await admin.close()


@pytest.mark.kafka
@pytest.mark.slow
async def test_a_killed_broker_has_its_data_again(broker: Broker) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    await admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
    await admin.close()
    broker.kill()
    broker.start()
    producer = AIOKafkaProducer(bootstrap_servers=broker.address, acks="all")
    await producer.start()
    try:
        assert (await producer.send_and_wait("kept", b"a letter")).offset == 0
    finally:
        await producer.stop()


@pytest.mark.prometheus
def test_prometheus_serves_the_samples_it_was_given(prometheus: Callable[[str], str]) -> None:
    start = int(time.time()) - 4 * 86400
    lines = ["# TYPE depth gauge", *(f"depth {n} {start + 60 * n}" for n in range(60)), "# EOF", ""]
    url = prometheus("\n".join(lines))
    query = f"{url}/api/v1/query_range?query=depth&start={start}&end={start + 3540}&step=60"
    with urllib.request.urlopen(query) as answer:
        result = json.load(answer)["data"]["result"]
    assert [float(value) for _, value in result[0]["values"]] == list(range(60))
