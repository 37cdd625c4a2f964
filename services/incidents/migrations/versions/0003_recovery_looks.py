"""Investigations of the look at the recovery: apart from those of the look after the deploy, whose revisions are others."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ONCE = ["cr_id", "deployment", "revision", "kind"]


def upgrade() -> None:
    op.add_column(
        "investigations", sa.Column("look", sa.Text(), nullable=False, server_default="after"), schema="incidents"
    )
    op.drop_constraint("investigations_once", "investigations", schema="incidents")
    op.create_unique_constraint("investigations_once", "investigations", [*_ONCE, "look"], schema="incidents")
