"""Which series were missing because the source, which answered completely, had nothing of them in the whole window.

Of those that are stored already nobody knows: they stay missing with their reason.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    silent: sa.Column[bool] = sa.Column("silent", sa.Boolean(), nullable=False, server_default=sa.false())
    op.add_column("series", silent, schema="snapshotter")
    op.alter_column("series", "silent", server_default=None, schema="snapshotter")


def downgrade() -> None:
    op.drop_column("series", "silent", schema="snapshotter")
