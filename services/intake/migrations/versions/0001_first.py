"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for number in ("cr", "release", "result", "review"):
        op.execute(sa.schema.CreateSequence(sa.Sequence(f"{number}_numbers", schema="intake")))
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
        schema="intake",
    )
    op.create_index("agenda_next", "agenda", ["next_at"], unique=False, schema="intake")
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
        schema="intake",
    )
    op.create_index("audit_object", "audit", ["object"], unique=False, schema="intake")
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
        schema="intake",
    )
    op.create_index("dead_place", "dead", ["topic", "partition", "position"], unique=True, schema="intake")
    op.create_table(
        "heartbeats",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("service", "as_of"),
        schema="intake",
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
        schema="intake",
    )
    op.create_table(
        "lanes",
        sa.Column("lane", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("lane"),
        schema="intake",
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
        schema="intake",
    )
    op.create_table(
        "unsent",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="intake",
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
        schema="intake",
    )
    op.create_index("parked_key", "parked", ["topic", "key", "position"], unique=False, schema="intake")
    op.create_table(
        "policies",
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("product_id", "version"),
        schema="intake",
    )
    op.create_table(
        "positions",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
        schema="intake",
    )
    op.create_table(
        "products",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("policy", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("proposal", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="intake",
    )
    op.create_table(
        "test_cases",
        sa.Column("result", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("suite", sa.Text(), nullable=False),
        sa.Column("classname", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("result", "position"),
        schema="intake",
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), server_default=sa.text("nextval('intake.release_numbers')"), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["product_id"],
            ["intake.products.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("n"),
        schema="intake",
    )
    op.create_index("releases_product", "releases", ["product_id", "n"], unique=False, schema="intake")
    op.create_table(
        "change_requests",
        sa.Column("n", sa.BigInteger(), server_default=sa.text("nextval('intake.cr_numbers')"), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("ptask", sa.Text(), nullable=False),
        sa.Column("planned_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("planned_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("backout_plan", sa.Text(), nullable=False),
        sa.Column("commit", sa.Text(), nullable=True),
        sa.Column("artifact", sa.Text(), nullable=True),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("registered_by", sa.Text(), nullable=False),
        sa.Column("registration", sa.Text(), nullable=False),
        sa.Column("authors", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["product_id"],
            ["intake.products.id"],
        ),
        sa.ForeignKeyConstraint(
            ["release_id"],
            ["intake.releases.id"],
        ),
        sa.PrimaryKeyConstraint("n"),
        sa.UniqueConstraint("source", "external_id", name="one_cr_for_each_source_and_external_id"),
        schema="intake",
    )
    op.create_index("change_requests_author", "change_requests", ["author", "n"], unique=False, schema="intake")
    op.create_index("change_requests_product", "change_requests", ["product_id", "n"], unique=False, schema="intake")
    op.create_index("change_requests_ptask", "change_requests", ["ptask", "n"], unique=False, schema="intake")
    op.create_index("change_requests_release", "change_requests", ["release_id", "n"], unique=False, schema="intake")
    op.create_table(
        "code_reviews",
        sa.Column("n", sa.BigInteger(), server_default=sa.text("nextval('intake.review_numbers')"), nullable=False),
        sa.Column("cr", sa.BigInteger(), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("cr_revision", sa.Integer(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cr"],
            ["intake.change_requests.n"],
        ),
        sa.PrimaryKeyConstraint("n"),
        sa.UniqueConstraint("cr", "how", "reviewer", "reviewed_at", "cr_revision", name="one_row_for_each_code_review"),
        schema="intake",
    )
    op.create_table(
        "deployments",
        sa.Column("cr", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("deployment", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("deployed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deployer", sa.Text(), nullable=False),
        sa.Column("commit", sa.Text(), nullable=True),
        sa.Column("artifact", sa.Text(), nullable=True),
        sa.Column("against_process", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["cr"],
            ["intake.change_requests.n"],
        ),
        sa.PrimaryKeyConstraint("cr", "deployment", "revision"),
        schema="intake",
    )
    op.create_table(
        "rollbacks",
        sa.Column("cr", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("deployment", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rolled_back_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("against_process", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["cr"],
            ["intake.change_requests.n"],
        ),
        sa.PrimaryKeyConstraint("cr", "deployment", "revision"),
        schema="intake",
    )
    op.create_table(
        "test_results",
        sa.Column("n", sa.BigInteger(), server_default=sa.text("nextval('intake.result_numbers')"), nullable=False),
        sa.Column("cr", sa.BigInteger(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("suite_kind", sa.Text(), nullable=False),
        sa.Column("commit", sa.Text(), nullable=True),
        sa.Column("artifact", sa.Text(), nullable=True),
        sa.Column("run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("passed", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.Column("problems", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("marked", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["cr"],
            ["intake.change_requests.n"],
        ),
        sa.PrimaryKeyConstraint("n"),
        sa.UniqueConstraint(
            "cr",
            "suite_kind",
            "digest",
            "run_at",
            "commit",
            "artifact",
            name="one_row_for_each_report",
            postgresql_nulls_not_distinct=True,
        ),
        schema="intake",
    )
    op.create_index(
        "test_results_latest", "test_results", ["product_id", "suite_kind", "n"], unique=False, schema="intake"
    )


def downgrade() -> None:
    op.drop_index("test_results_latest", table_name="test_results", schema="intake")
    op.drop_table("test_results", schema="intake")
    op.drop_table("rollbacks", schema="intake")
    op.drop_table("deployments", schema="intake")
    op.drop_table("code_reviews", schema="intake")
    op.drop_index("change_requests_release", table_name="change_requests", schema="intake")
    op.drop_index("change_requests_ptask", table_name="change_requests", schema="intake")
    op.drop_index("change_requests_product", table_name="change_requests", schema="intake")
    op.drop_index("change_requests_author", table_name="change_requests", schema="intake")
    op.drop_table("change_requests", schema="intake")
    op.drop_index("releases_product", table_name="releases", schema="intake")
    op.drop_table("releases", schema="intake")
    op.drop_table("test_cases", schema="intake")
    op.drop_table("products", schema="intake")
    op.drop_table("positions", schema="intake")
    op.drop_table("policies", schema="intake")
    op.drop_index("parked_key", table_name="parked", schema="intake")
    op.drop_table("parked", schema="intake")
    op.drop_table("unsent", schema="intake")
    op.drop_table("outbox", schema="intake")
    op.drop_table("lanes", schema="intake")
    op.drop_table("inbox", schema="intake")
    op.drop_table("heartbeats", schema="intake")
    op.drop_index("dead_place", table_name="dead", schema="intake")
    op.drop_table("dead", schema="intake")
    op.drop_index("audit_object", table_name="audit", schema="intake")
    op.drop_table("audit", schema="intake")
    op.drop_index("agenda_next", table_name="agenda", schema="intake")
    op.drop_table("agenda", schema="intake")
    for number in ("cr", "release", "result", "review"):
        op.execute(sa.schema.DropSequence(sa.Sequence(f"{number}_numbers", schema="intake")))
