"""Looks that must come, so that silence is noticed when whoever takes them is not there."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "expected",
        sa.Column("cr_id", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("look", sa.Text(), nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer_by", sa.DateTime(timezone=True), nullable=True),
        sa.Column("policy_version", sa.Text(), nullable=True),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("cr_id", "deployment", "look"),
        schema="incidents",
    )
