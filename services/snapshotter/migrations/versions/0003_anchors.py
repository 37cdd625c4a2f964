"""Anchors, pairs of kept days with their scores, and incidents as far as they disturb days."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "anchors",
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("chosen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("chosen_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("product_id", "number"),
        schema="snapshotter",
    )
    op.create_table(
        "day_pairs",
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("day", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("alarms_anyway", sa.Boolean(), nullable=False),
        sa.Column("earlier_days", sa.Integer(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=False),
        sa.Column("judge_version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("product_id", "day"),
        schema="snapshotter",
    )
    op.create_table(
        "incidents",
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("incident_id"),
        schema="snapshotter",
    )
    op.create_index("incidents_of_product", "incidents", ["product_id", "opened_at"], schema="snapshotter")


def downgrade() -> None:
    op.drop_index("incidents_of_product", "incidents", schema="snapshotter")
    op.drop_table("incidents", schema="snapshotter")
    op.drop_table("day_pairs", schema="snapshotter")
    op.drop_table("anchors", schema="snapshotter")
