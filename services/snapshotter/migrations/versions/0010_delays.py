"""What was said of a look that is due and cannot be taken yet."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("observations", sa.Column("delayed_because", sa.Text(), nullable=True), schema="snapshotter")
    delays = sa.Column("delays", sa.Integer(), nullable=False, server_default=sa.text("0"))
    op.add_column("observations", delays, schema="snapshotter")
    op.alter_column("observations", "delays", server_default=None, schema="snapshotter")


def downgrade() -> None:
    op.drop_column("observations", "delays", schema="snapshotter")
    op.drop_column("observations", "delayed_because", schema="snapshotter")
