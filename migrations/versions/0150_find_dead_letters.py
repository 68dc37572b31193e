"""Find a connection's dead letters without looking at all that was ever sent."""

from __future__ import annotations

from alembic import op

revision = "0150"
down_revision = "0100"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX outbound_dead ON outbound (connection, position) WHERE status = 'dead'")
