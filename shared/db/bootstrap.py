"""What lies under all services in the one database: clock, access, roles, schemas. Run by `daymark db upgrade` as admin.

Everything here is idempotent. Only a database that is *new* can be made movable; nothing turns an existing one into one.
"""

from __future__ import annotations

from contextlib import suppress

import asyncpg

from shared.db.tables import LANES
from shared.settings import SERVICES

# STABLE, so that it can be an index condition (volatile clock_timestamp() in a WHERE scans a million rows: 1 s).
_CLOCK_PRODUCTION = """
CREATE FUNCTION public.daymark_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT clock_timestamp()';
"""
_CLOCK_MOVABLE = """
CREATE FUNCTION public.daymark_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
AS 'SELECT clock_timestamp() + (SELECT ahead FROM daymark.clock)';
"""
_CLOCK = """
CREATE SCHEMA daymark;
CREATE TABLE daymark.clock (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    is_movable boolean NOT NULL,
    ahead interval NOT NULL CHECK (is_movable OR ahead = interval '0')
);
CREATE FUNCTION daymark.only_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.is_movable <> OLD.is_movable OR NEW.ahead < OLD.ahead THEN
        RAISE EXCEPTION 'the clock only moves forward, and stays what the database was created as';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_forward BEFORE UPDATE OR DELETE ON daymark.clock
    FOR EACH ROW EXECUTE FUNCTION daymark.only_forward();
-- Real time, for leases alone: they must not run out because a demo's clock jumps a day.
CREATE FUNCTION public.daymark_tick() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT clock_timestamp()';
GRANT USAGE ON SCHEMA daymark TO PUBLIC;
GRANT SELECT ON daymark.clock TO PUBLIC;
"""
_ACCESS = """
CREATE SCHEMA IF NOT EXISTS access;
CREATE TABLE IF NOT EXISTS access.principals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer text NOT NULL,
    subject text NOT NULL,
    name text NOT NULL,
    is_disabled boolean NOT NULL DEFAULT false,
    UNIQUE (issuer, subject)
);
CREATE TABLE IF NOT EXISTS access.grants (
    principal_id bigint NOT NULL REFERENCES access.principals,
    product_id text NOT NULL,
    role text NOT NULL,
    PRIMARY KEY (principal_id, product_id, role)
);
CREATE TABLE IF NOT EXISTS access.keys (
    hash bytea PRIMARY KEY,
    id text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('key', 'session', 'link')),
    principal_id bigint NOT NULL REFERENCES access.principals,
    scopes text[],
    made_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE TABLE IF NOT EXISTS access.signing_keys (
    id text PRIMARY KEY,
    principal_id bigint NOT NULL REFERENCES access.principals,
    public_key bytea NOT NULL,
    scopes text[],
    made_at timestamptz NOT NULL,
    revoked_at timestamptz
);
-- A one-time link becomes a session: one statement, so that two browsers cannot both have it.
-- pg_temp stands last in the path, or PostgreSQL would look there first: a caller's temporary table `keys`, with a
-- trigger of the caller's own, would then run as the admin.
CREATE OR REPLACE FUNCTION access.sign_in(link bytea, session bytea, session_id text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = access, public, pg_temp AS $$
    WITH used AS (
        UPDATE access.keys SET revoked_at = daymark_now()
        WHERE hash = link AND kind = 'link' AND revoked_at IS NULL AND expires_at > daymark_now()
        RETURNING principal_id
    ), made AS (
        INSERT INTO access.keys (hash, id, kind, principal_id, made_at, expires_at)
        SELECT session, session_id, 'session', principal_id, daymark_now(), daymark_now() + interval '12 hours' FROM used
        RETURNING 1
    )
    SELECT EXISTS (SELECT 1 FROM made)
$$;
CREATE OR REPLACE FUNCTION access.sign_out(session bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = access, public, pg_temp AS $$
    UPDATE access.keys SET revoked_at = daymark_now() WHERE hash = session AND kind = 'session' AND revoked_at IS NULL
$$;
REVOKE ALL ON FUNCTION access.sign_in(bytea, bytea, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION access.sign_out(bytea) FROM PUBLIC;
"""


async def prepare(admin: asyncpg.Connection, *, movable: bool = False, behind_s: float = 0.0) -> None:
    """Make clock, access schema, roles and empty schemas where they are missing.

    `movable` and `behind_s` (how far in the past the clock starts) hold only for a database that has no clock yet.
    """
    # Two upgrades at once (two replicas' init containers): one waits.
    await admin.execute("SELECT pg_advisory_lock(hashtext('daymark upgrade'))")
    try:
        if await admin.fetchval("SELECT to_regclass('daymark.clock') IS NULL"):
            async with admin.transaction():
                await admin.execute(_CLOCK)
                await admin.execute(
                    "INSERT INTO daymark.clock (is_movable, ahead) VALUES ($1, make_interval(secs => $2))",
                    movable,
                    -behind_s if movable else 0.0,
                )
                await admin.execute(_CLOCK_MOVABLE if movable else _CLOCK_PRODUCTION)
        await admin.execute(_ACCESS)
        for service in SERVICES:
            for role in (f"{service}_owner", service):
                if not await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
                    # Roles are the server's, not the database's: another database's upgrade may make it first.
                    with suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                        await admin.execute(f'CREATE ROLE "{role}" NOLOGIN')
            await admin.execute(
                f'GRANT "{service}_owner", "{service}" TO CURRENT_USER;'
                f'CREATE SCHEMA IF NOT EXISTS "{service}" AUTHORIZATION "{service}_owner";'
                f'GRANT USAGE ON SCHEMA "{service}", access TO "{service}";'
                f'GRANT SELECT ON ALL TABLES IN SCHEMA access TO "{service}";'
                f'GRANT pg_read_all_stats TO "{service}";'  # how old its oldest open transaction is: freshness
            )
        await admin.execute(
            "GRANT EXECUTE ON FUNCTION access.sign_in(bytea, bytea, text), access.sign_out(bytea) TO reviewer"
        )
    finally:
        await admin.execute("SELECT pg_advisory_unlock(hashtext('daymark upgrade'))")


#: What a service does with the plumbing's tables, and no more. A lane is locked, which takes the right to change it.
_MAY = {
    "audit": "SELECT, INSERT",  # nobody at runtime can change or remove a row of the record
    "inbox": "SELECT, INSERT, UPDATE",
    "dead": "SELECT, INSERT, UPDATE",
    "lanes": "SELECT, UPDATE",
    "positions": "SELECT, INSERT, UPDATE",
    "parked": "SELECT, INSERT, DELETE",
}
# An identity column's numbers are drawn for whoever may insert; drawn by hand they would leave gaps in the record.
_DRAWN_BY_THE_SERVER = (
    "SELECT c.relname AS name FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'i'"
    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND n.nspname = $1"
)


async def settle(admin: asyncpg.Connection, service: str) -> None:
    """After a service's migrations: what its runtime role may do, and the fixed rows of the plumbing."""
    may = "".join(
        f'REVOKE ALL ON "{service}"."{table}" FROM "{service}"; GRANT {rights} ON "{service}"."{table}" TO "{service}";'
        for table, rights in _MAY.items()
    )
    drawn = await admin.fetch(_DRAWN_BY_THE_SERVER, service)
    await admin.execute(
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{service}" TO "{service}";'
        f'GRANT USAGE ON ALL SEQUENCES IN SCHEMA "{service}" TO "{service}";'
        + may
        + "".join(f'REVOKE ALL ON SEQUENCE "{service}"."{row["name"]}" FROM "{service}";' for row in drawn)
        + f'INSERT INTO "{service}".lanes SELECT generate_series(0, {LANES - 1}) ON CONFLICT DO NOTHING;'
    )
    if await admin.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{service}.alembic_version"):
        await admin.execute(f'REVOKE ALL ON "{service}".alembic_version FROM "{service}"')


async def is_movable(conn: asyncpg.Connection) -> bool:
    return bool(await conn.fetchval("SELECT is_movable FROM daymark.clock"))


async def move_clock(admin: asyncpg.Connection, *, ahead_s: float) -> None:
    """Set how far the movable clock is ahead of real time, in seconds (negative: behind). Only ever forward."""
    await admin.execute("UPDATE daymark.clock SET ahead = make_interval(secs => $1)", ahead_s)
