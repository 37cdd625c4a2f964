"""The release that was verified first, without reading those that were not: the anchor by default."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    verified = sa.text("kind = 'after' AND outcome = 'steady'")
    op.create_index(
        "observations_verified",
        "observations",
        ["product_id", "closed_at"],
        schema="snapshotter",
        postgresql_where=verified,
    )


def downgrade() -> None:
    op.drop_index("observations_verified", "observations", schema="snapshotter")
