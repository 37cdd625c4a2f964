"""What went live last, product by product."""

import sqlalchemy as sa
from alembic import op

revision = "reviewer_0004"
down_revision = "reviewer_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "facts_deployed",
        "facts",
        ["product_id", "time"],
        schema="reviewer",
        postgresql_where=sa.text("type = 'cr.deployed.v1'"),
    )


def downgrade() -> None:
    op.drop_index("facts_deployed", table_name="facts", schema="reviewer")
