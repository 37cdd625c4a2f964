"""Which types were heard below a position: a hearer of more begins again from the start."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "positions",
        sa.Column("types", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="incidents",
    )


def downgrade() -> None:
    op.drop_column("positions", "types", schema="incidents")
