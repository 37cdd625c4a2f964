"""Samples lie in payloads of many series, in the database or in an object store; what open looks have read is kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "payloads",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.LargeBinary(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("kept_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("hash"),
        schema="snapshotter",
    )
    # Packed already; and outside of the row uncompressed, so that a part of it is read without the rest.
    op.execute("ALTER TABLE snapshotter.payloads ALTER COLUMN bytes SET STORAGE EXTERNAL")
    op.create_table(
        "partial_readings",
        sa.Column("look", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("sli", sa.Text(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.Column("warnings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("look", "revision", "sli"),
        schema="snapshotter",
    )
    op.drop_column("series", "payload", schema="snapshotter")
    op.add_column("series", sa.Column("payload", sa.Text(), nullable=True), schema="snapshotter")
    op.add_column("series", sa.Column("first", sa.Integer(), nullable=True), schema="snapshotter")
    op.add_column("series", sa.Column("length", sa.Integer(), nullable=True), schema="snapshotter")
    op.add_column("series", sa.Column("rollup", sa.LargeBinary(), nullable=True), schema="snapshotter")


def downgrade() -> None:
    for column in ("rollup", "length", "first", "payload"):
        op.drop_column("series", column, schema="snapshotter")
    op.add_column("series", sa.Column("payload", sa.LargeBinary(), nullable=True), schema="snapshotter")
    op.drop_table("partial_readings", schema="snapshotter")
    op.drop_table("payloads", schema="snapshotter")
