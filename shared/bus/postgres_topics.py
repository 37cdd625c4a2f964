"""Where PostgresBus keeps letters: schema `bus`, made by an admin, written by a topic's owners alone.

    topics       one row a topic: partitions, retention
    partitions   one row a partition: `first` offset kept, `next` offset to draw
    "<topic>"    one table a topic: the letters, by (partition, offset)
    groups, members, leases    who hears what (see postgres_group)

Offsets are drawn by an UPDATE of the partition's row, whose lock is held to commit: so the order of offsets is the
order of commits, without gaps, and whoever sees `next` sees every letter below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import asyncpg

from shared.bus import TopicSpec
from shared.db.connection import Connection

# Who may insert into a topic's table may draw its offsets, and nobody else: otherwise any service could tear gaps.
SCHEMA = """
CREATE SCHEMA IF NOT EXISTS bus;
CREATE TABLE IF NOT EXISTS bus.topics (
    name text PRIMARY KEY, partitions int NOT NULL, retention_ms bigint NOT NULL);
CREATE TABLE IF NOT EXISTS bus.partitions (
    topic text REFERENCES bus.topics, partition int,
    first bigint NOT NULL DEFAULT 0, next bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS bus.groups (name text PRIMARY KEY, epoch bigint NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS bus.members (
    id uuid PRIMARY KEY, group_name text NOT NULL REFERENCES bus.groups, topics text[] NOT NULL,
    until timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS bus.leases (
    group_name text, topic text, partition int, committed bigint,
    member uuid NOT NULL REFERENCES bus.members ON DELETE CASCADE,
    PRIMARY KEY (group_name, topic, partition));
CREATE INDEX IF NOT EXISTS leases_member ON bus.leases (member);
ALTER TABLE bus.partitions ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS seen ON bus.partitions;
CREATE POLICY seen ON bus.partitions FOR SELECT USING (true);
DROP POLICY IF EXISTS drawn ON bus.partitions;
CREATE POLICY drawn ON bus.partitions FOR UPDATE
    USING (has_table_privilege(format('bus.%I', topic), 'INSERT'));
"""

# Headers lie in two arrays of equal length. Values are often JSON: lz4 would be nicer, but not every server has it.
TABLE = """
CREATE TABLE {table} (
    partition int NOT NULL, "offset" bigint NOT NULL, key text, value bytea,
    header_names text[] NOT NULL, header_values bytea[] NOT NULL,
    at timestamptz NOT NULL DEFAULT public.daymark_tick(),
    PRIMARY KEY (partition, "offset"))
"""

# Kafka's alphabet; PostgreSQL cuts names at 63 bytes, and indexes are named after their table.
_NAME = re.compile(r"[a-z0-9._-]{1,50}")
_RESERVED = {"topics", "partitions", "groups", "members", "leases"}


def table_of(topic: str) -> str:
    """The quoted name of a topic's table. Raises ValueError for a name that cannot be a topic."""
    if not _NAME.fullmatch(topic) or topic in _RESERVED:
        raise ValueError(f"{topic!r} cannot be the name of a topic")
    return f'bus."{topic}"'


async def apply(connection: Connection, specs: Sequence[TopicSpec]) -> list[str]:
    """Make what is missing, in one transaction; sentences about what drifted. Needs an admin's connection."""
    try:
        return await _apply(connection, specs)
    except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
        return await _apply(connection, specs)  # a twin made the same at the same time: now it is there


async def _apply(connection: Connection, specs: Sequence[TopicSpec]) -> list[str]:
    drifted = []
    async with connection.transaction():
        await connection.execute(SCHEMA)
        there = {row["name"]: row for row in await connection.fetch("SELECT * FROM bus.topics")}
        for spec in specs:
            table = table_of(spec.name)
            if spec.name not in there:
                await connection.execute(
                    "INSERT INTO bus.topics VALUES ($1, $2, $3)", spec.name, spec.partitions, spec.retention_ms
                )
                await connection.execute(
                    "INSERT INTO bus.partitions SELECT $1, generate_series(0, $2 - 1)", spec.name, spec.partitions
                )
                await connection.execute(TABLE.format(table=table))
                if spec.retention_ms >= 0:
                    await connection.execute(f"CREATE INDEX ON {table} (at)")
                continue
            drifted += spec.drift(there[spec.name]["partitions"], there[spec.name]["retention_ms"])
    return drifted


async def grant(connection: Connection, owners: Mapping[str, Sequence[str]], readers: Sequence[str]) -> None:
    """Let `owners[topic]` (roles) write a topic and `readers` (roles) hear all of them. Idempotent; by an admin.

    Run it after `apply_topics`. An owner inserts, never updates or deletes a letter; only of a topic with a retention
    it may delete, and does. Readers share the tables of group membership: a member's truth is the generation in its
    own database, so the worst a foreign role can do there is to make a group rebalance. Raises ValueError for a topic
    that does not exist.
    """
    async with connection.transaction():
        topics = {r["name"]: r["retention_ms"] for r in await connection.fetch("SELECT * FROM bus.topics")}
        if unknown := sorted(owners.keys() - topics.keys()):
            raise ValueError(f"these topics do not exist: {', '.join(unknown)}")
        everyone = sorted({*readers, *(role for roles in owners.values() for role in roles)})
        for role in map(_quoted, everyone):
            await connection.execute(
                f"GRANT USAGE ON SCHEMA bus TO {role};"
                f"GRANT SELECT ON ALL TABLES IN SCHEMA bus TO {role};"
                f"GRANT INSERT, UPDATE, DELETE ON bus.groups, bus.members, bus.leases TO {role}"
            )
        for topic, roles in owners.items():
            right = "INSERT, DELETE" if topics[topic] >= 0 else "INSERT"
            for role in map(_quoted, roles):
                await connection.execute(
                    f"GRANT {right} ON {table_of(topic)} TO {role};"
                    f"GRANT UPDATE (first, next) ON bus.partitions TO {role}"
                )


def _quoted(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'
