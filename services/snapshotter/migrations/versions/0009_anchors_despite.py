"""What spoke against an anchor when operations chose it, and why it may stand."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    despite = sa.Column("despite", postgresql.JSONB(), nullable=False, server_default=sa.text("'{}'"))
    op.add_column("anchors", despite, schema="snapshotter")
    op.alter_column("anchors", "despite", server_default=None, schema="snapshotter")


def downgrade() -> None:
    op.drop_column("anchors", "despite", schema="snapshotter")
