"""The plumbing's tables, the same in every service's schema. What they promise is said in `docs/guides/plumbing.md`."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

LANES = 64
Moment = DateTime(timezone=True)


def plumbing(metadata: MetaData) -> None:
    """Declare the plumbing's tables, from inbox to policies, in `metadata`'s schema."""
    # Once: the first row of every transaction. `status` is null only inside the transaction that writes it.
    Table(
        "inbox",
        metadata,
        Column("scope", Text),
        Column("id", Text),
        Column("digest", LargeBinary),
        Column("status", SmallInteger),
        Column("headers", JSONB),
        Column("body", LargeBinary),
        Column("at", Moment, nullable=False),
        PrimaryKeyConstraint("id", "scope"),  # ids differ at their first byte, scopes hardly at all
    )
    Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", Text, nullable=False),
        Column("lane", SmallInteger, nullable=False),
        Column("topic", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("value", LargeBinary, nullable=False),
        Column("headers", JSON, nullable=False),  # never asked about: kept as text, read at half of jsonb's cost
        Column("created_at", Moment, nullable=False),
    )
    # What of the outbox is still to go. Narrow, so that finding and striking off letters costs a third of what marking
    # their own rows does: a mark writes the whole letter anew.
    Table(
        "unsent",
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("lane", SmallInteger, nullable=False),
        Column("created_at", Moment, nullable=False),
    )
    # A relay locks a lane's row, never single letters: so order per key holds with any number of relays.
    Table("lanes", metadata, Column("lane", SmallInteger, primary_key=True, autoincrement=False))
    Table(
        "agenda",
        metadata,
        Column("job", Text, primary_key=True),
        Column("subject", Text, primary_key=True),
        Column("revision", Integer, nullable=False),
        Column("due_at", Moment, nullable=False),  # what was promised
        Column("next_at", Moment, nullable=False),  # when to try next
        Column("payload", JSONB, nullable=False),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("token", UUID),
        Column("lease_until", Moment),
        Column("last_error", Text),
        Column("traceparent", Text),  # whence it was scheduled, so that the job's spans join that trace
        Index("agenda_next", "next_at"),
    )
    Table(
        "audit",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("at", Moment, nullable=False),
        Column("actor", Text, nullable=False),
        Column("action", Text, nullable=False),
        Column("object", Text, nullable=False),
        Column("revision", Integer),
        Column("product_id", Text),
        Column("evidence", ARRAY(Text), nullable=False),
        Column("policy_version", Text),
        Column("cause", Text),
        Column("refused", Boolean, nullable=False),
        Column("reason", Text),
        Column("detail", JSONB, nullable=False),
        Index("audit_object", "object"),
    )
    Table(
        "positions",
        metadata,
        Column("topic", Text, primary_key=True),
        Column("partition", Integer, primary_key=True, autoincrement=False),
        Column("next_offset", BigInteger),
        Column("generation", BigInteger, nullable=False),
        # What was heard below the offset. A hearer of more begins again from the start.
        Column("types", ARRAY(Text), nullable=False, server_default="{}"),
    )
    Table(
        "parked",
        metadata,
        Column("topic", Text, primary_key=True),
        Column("partition", Integer, primary_key=True, autoincrement=False),
        Column("position", BigInteger, primary_key=True, autoincrement=False),
        Column("key", Text, nullable=False),
        Column("event_id", Text, nullable=False),
        Column("value", LargeBinary, nullable=False),
        Column("headers", JSONB, nullable=False),
        Column("reason", Text, nullable=False),
        Column("parked_at", Moment, nullable=False),
        Index("parked_key", "topic", "key", "position"),
    )
    Table(
        "dead",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("topic", Text, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("key", LargeBinary),
        Column("value", LargeBinary),
        Column("headers", JSONB, nullable=False),
        Column("reason", Text, nullable=False),
        Column("at", Moment, nullable=False),
        Column("replayed_at", Moment),
        Index("dead_place", "topic", "partition", "position", unique=True),
    )
    # How far each service said it had spoken: see shared/freshness.py.
    Table(
        "heartbeats",
        metadata,
        Column("service", Text, primary_key=True),
        Column("as_of", Moment, primary_key=True),
        Column("ends", JSONB, nullable=False),
    )
    # Every version of every policy heard: a fact is judged under the version it names, never under another.
    Table(
        "policies",
        metadata,
        Column("product_id", Text, primary_key=True),
        Column("version", Text, primary_key=True),
        Column("document", JSONB, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("changed_at", Moment, nullable=False),
    )
