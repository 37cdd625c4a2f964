"""What was said against benchmarks since they were published; and when a look was found to deviate."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "doubts",
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("observed", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Integer(), nullable=False),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("product_id", "sequence"),
        schema="snapshotter",
    )
    op.create_index("ix_snapshotter_doubts_snapshot_id", "doubts", ["snapshot_id"], schema="snapshotter")
    op.add_column(
        "observations", sa.Column("deviated_at", sa.DateTime(timezone=True), nullable=True), schema="snapshotter"
    )
    op.execute(
        "UPDATE snapshotter.observations o SET deviated_at = coalesce((SELECT min(e.looked_at)"
        " FROM snapshotter.early_looks e WHERE e.found = 'moved' AND o.kind = 'after'"
        " AND (e.cr_id, e.deployment, e.revision) = (o.cr_id, o.deployment, o.revision)), o.closed_at)"
        " WHERE o.outcome = 'moved' OR o.deviation_id IS NOT NULL"
    )
