"""Digests of what an investigation rests on: whoever explains or decides does it on that evidence, and the audit says so."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "investigations",
        sa.Column("evidence", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        schema="incidents",
    )


def downgrade() -> None:
    op.drop_column("investigations", "evidence", schema="incidents")
