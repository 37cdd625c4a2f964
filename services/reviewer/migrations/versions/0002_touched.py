"""CRs whose input may be affected."""

import sqlalchemy as sa
from alembic import op

revision = "reviewer_0002"
down_revision = "reviewer_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "touched", sa.Column("cr_id", sa.Text(), nullable=False), sa.PrimaryKeyConstraint("cr_id"), schema="reviewer"
    )


def downgrade() -> None:
    op.drop_table("touched", schema="reviewer")
