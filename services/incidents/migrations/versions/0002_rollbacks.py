"""Rollbacks heard: what is heard of a deployment's look after its rollback ends as it would have before."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollbacks",
        sa.Column("cr_id", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("cr_id", "deployment"),
        schema="incidents",
    )
