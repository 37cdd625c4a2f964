"""First tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "reviewer_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agenda",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("token", sa.UUID(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job", "subject"),
        schema="reviewer",
    )
    op.create_index("agenda_next", "agenda", ["next_at"], unique=False, schema="reviewer")
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("product_id", sa.Text(), nullable=True),
        sa.Column("evidence", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("refused", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="reviewer",
    )
    op.create_index("audit_object", "audit", ["object"], unique=False, schema="reviewer")
    op.create_table(
        "change_requests",
        sa.Column("cr_id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("cr_id"),
        schema="reviewer",
    )
    op.create_index("change_requests_product", "change_requests", ["product_id", "at"], unique=False, schema="reviewer")
    op.create_index("change_requests_release", "change_requests", ["release_id"], unique=False, schema="reviewer")
    op.create_table(
        "dead",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="reviewer",
    )
    op.create_index("dead_place", "dead", ["topic", "partition", "position"], unique=True, schema="reviewer")
    op.create_table(
        "desks",
        sa.Column("cr_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cr_id"),
        schema="reviewer",
    )
    op.create_table(
        "facts",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("aggregate", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("cr_id", sa.Text(), nullable=True),
        sa.Column("product_id", sa.Text(), nullable=True),
        sa.Column("release_id", sa.Text(), nullable=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
        schema="reviewer",
    )
    op.create_index(
        "facts_cr", "facts", ["cr_id"], unique=False, schema="reviewer", postgresql_where=sa.text("cr_id IS NOT NULL")
    )
    op.create_index(
        "facts_product",
        "facts",
        ["product_id"],
        unique=False,
        schema="reviewer",
        postgresql_where=sa.text("cr_id IS NULL"),
    )
    op.create_table(
        "heartbeats",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("service", "as_of"),
        schema="reviewer",
    )
    op.create_table(
        "inbox",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", "scope"),
        schema="reviewer",
    )
    op.create_table(
        "lanes",
        sa.Column("lane", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("lane"),
        schema="reviewer",
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="reviewer",
    )
    op.create_table(
        "unsent",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="reviewer",
    )
    op.create_table(
        "parked",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "position"),
        schema="reviewer",
    )
    op.create_index("parked_key", "parked", ["topic", "key", "position"], unique=False, schema="reviewer")
    op.create_table(
        "policies",
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("product_id", "version"),
        schema="reviewer",
    )
    op.create_table(
        "positions",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
        schema="reviewer",
    )
    op.create_table(
        "releases",
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("release_id"),
        schema="reviewer",
    )
    # Alembic's comparison does not see sequences.
    op.execute(sa.schema.CreateSequence(sa.Sequence("review_numbers", schema="reviewer")))
    op.execute(sa.schema.CreateSequence(sa.Sequence("answer_numbers", schema="reviewer")))


def downgrade() -> None:
    op.execute(sa.schema.DropSequence(sa.Sequence("answer_numbers", schema="reviewer")))
    op.execute(sa.schema.DropSequence(sa.Sequence("review_numbers", schema="reviewer")))
    op.drop_table("releases", schema="reviewer")
    op.drop_table("positions", schema="reviewer")
    op.drop_table("policies", schema="reviewer")
    op.drop_index("parked_key", table_name="parked", schema="reviewer")
    op.drop_table("parked", schema="reviewer")
    op.drop_table("unsent", schema="reviewer")
    op.drop_table("outbox", schema="reviewer")
    op.drop_table("lanes", schema="reviewer")
    op.drop_table("inbox", schema="reviewer")
    op.drop_table("heartbeats", schema="reviewer")
    op.drop_index("facts_product", table_name="facts", schema="reviewer", postgresql_where=sa.text("cr_id IS NULL"))
    op.drop_index("facts_cr", table_name="facts", schema="reviewer", postgresql_where=sa.text("cr_id IS NOT NULL"))
    op.drop_table("facts", schema="reviewer")
    op.drop_table("desks", schema="reviewer")
    op.drop_index("dead_place", table_name="dead", schema="reviewer")
    op.drop_table("dead", schema="reviewer")
    op.drop_index("change_requests_release", table_name="change_requests", schema="reviewer")
    op.drop_index("change_requests_product", table_name="change_requests", schema="reviewer")
    op.drop_table("change_requests", schema="reviewer")
    op.drop_index("audit_object", table_name="audit", schema="reviewer")
    op.drop_table("audit", schema="reviewer")
    op.drop_index("agenda_next", table_name="agenda", schema="reviewer")
    op.drop_table("agenda", schema="reviewer")
