"""What is no request at the reviewer's doors changes nothing, and its tables are those of its store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from services.reviewer import store
from tests.reviewing import House, alone, in_review
from tests.servers.postgres import Databases


@pytest.fixture
async def house(postgres: Databases) -> AsyncIterator[House]:
    async with alone(postgres) as made:
        yield made


@pytest.fixture(scope="module")
async def quiet(postgres: Databases) -> AsyncIterator[House]:
    """One for all tests that must not change anything."""
    async with alone(postgres) as made:
        await made.hear(*in_review().events)
        yield made


_D = "a" * 64
HOSTILE: list[tuple[str, str, bytes]] = [
    ("POST", "/reviewer/v1/reviews", b""),
    ("POST", "/reviewer/v1/reviews", b"{"),
    ("POST", "/reviewer/v1/reviews", b"[]"),
    ("POST", "/reviewer/v1/reviews", b"\xff\xfe{}"),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-1","digest":"x","verdict":"ready"}'),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-1","digest":"%s","verdict":"maybe"}' % _D.encode()),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-1","cr_id":"CR-2","digest":"%s","verdict":"ready"}' % _D.encode()),
    (
        "POST",
        "/reviewer/v1/reviews",
        b'{"cr_id":"CR-1","digest":"%s","verdict":"ready","by":"local|olga"}' % _D.encode(),
    ),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-1","digest":"%s","verdict":"not_ready"}' % _D.encode()),
    (
        "POST",
        "/reviewer/v1/reviews",
        b'{"cr_id":"CR-1","digest":"%s","verdict":"ready","comment":"a\\u0000b"}' % _D.encode(),
    ),
    (
        "POST",
        "/reviewer/v1/reviews",
        b'{"cr_id":"CR-1","digest":"%s","verdict":"ready","comment":"\\ud800"}' % _D.encode(),
    ),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-1","digest":"%s","verdict":"ready","comment":1e999}' % _D.encode()),
    ("POST", "/reviewer/v1/reviews", b'{"cr_id":"CR-404","digest":"%s","verdict":"ready"}' % _D.encode()),
    ("POST", "/reviewer/v1/reviews", b'{"items":' + b"[" * 500 + b"]" * 500 + b"}"),
    (
        "POST",
        "/reviewer/v1/reviews",
        b'{"cr_id":"CR-1","digest":"%s","verdict":"not_ready","items":[{"id":"1","text":"a"},{"id":"1","text":"b"}]}'
        % _D.encode(),
    ),
    ("POST", "/reviewer/v1/change-requests/CR-1/go", b'{"decision":"go"}'),
    ("POST", "/reviewer/v1/change-requests/CR-1/go", b'{"decision":"maybe","digest":"%s"}' % _D.encode()),
    ("POST", "/reviewer/v1/change-requests/CR-1/go", b'{"decision":"go","digest":"%s"}' % _D.encode()),
    ("POST", "/reviewer/v1/change-requests/CR-1/acknowledge", b"{}"),
    ("POST", "/reviewer/v1/change-requests/CR-1/acknowledge", b'{"review_id":"REV-404"}'),
    ("POST", "/reviewer/v1/change-requests/CR-1/acknowledge", b'{"answers":[{"item_id":"1","answer":"x"}]}'),
    (
        "POST",
        "/reviewer/v1/change-requests/CR-1/acknowledge",
        b'{"answers":[{"review_id":"R","item_id":"1","answer":"x"}]}',
    ),
    ("POST", "/reviewer/v1/change-requests/%00/go", b'{"decision":"go","digest":"%s"}' % _D.encode()),
    ("GET", "/reviewer/v1/gate/CR-404", b""),
    ("GET", "/reviewer/v1/gate/%00", b""),
    ("GET", "/reviewer/v1/gate/CR-1?heard=a%00b", b""),
    ("GET", "/reviewer/v1/gate/" + "C" * 5000, b""),
    ("GET", "/reviewer/v1/releases/%00%ff", b""),
    ("GET", "/reviewer/v1/releases/no-such", b""),
    ("GET", "/reviewer/v1/change-requests/'%3B%20DROP%20TABLE%20facts/dossier", b""),
]


@pytest.mark.parametrize(("method", "path", "body"), HOSTILE, ids=range(len(HOSTILE)))
async def test_bad_input_is_a_plain_no_without_effect(quiet: House, method: str, path: str, body: bytes) -> None:
    house = quiet
    tables = ("facts", "change_requests", "releases", "desks", "outbox", "agenda")
    before = [await house.count(table) for table in tables]
    for who in ("god", "pia"):
        headers = {**house.headers(who, "key"), "Content-Type": "application/json"}
        answer = await house.client.request(method, path, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) <= 2048
    assert [await house.count(table) for table in tables] == before


async def test_the_migration_makes_the_tables_that_the_store_declares(house: House) -> None:
    engine = create_async_engine(make_url(house.url).set(drivername="postgresql+asyncpg"))
    async with engine.connect() as connection:
        await connection.execute(text("SET search_path TO pg_catalog"))
        differs = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(
                    sync,
                    opts={
                        "include_schemas": True,
                        "include_name": lambda name, kind, _: kind != "schema" or name == "reviewer",
                        "include_object": lambda _o, name, *_: name != "alembic_version",
                    },
                ),
                store.metadata,
            )
        )
    await engine.dispose()
    assert differs == []
