"""How drafts and benchmarks came to be, and pins."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provenances",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("draft_id", sa.Text(), nullable=True),
        sa.Column("corrects", sa.Text(), nullable=True),
        sa.Column("health", postgresql.JSONB(), nullable=True),
        sa.Column("despite", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("snapshot_id"),
        sa.UniqueConstraint("draft_id"),
        schema="snapshotter",
    )
    op.execute(
        "CREATE TRIGGER never_changed BEFORE UPDATE ON snapshotter.provenances"
        " FOR EACH ROW EXECUTE FUNCTION snapshotter.never_changed()"
    )
    op.create_table(
        "pins",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("product_id", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pinned_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_because", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        schema="snapshotter",
    )
    op.create_index("pins_of_product", "pins", ["product_id", "number"], schema="snapshotter")
    op.execute("CREATE SEQUENCE snapshotter.pin_numbers")
