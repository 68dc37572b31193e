"""Say in the outbound projection whose each record is, so that an erasure can take them away."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0060"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Made anew from the log by `roundtrip rebuild` where there were rows before.
    "ALTER TABLE outbound ADD profile uuid",
    "CREATE INDEX outbound_profile ON outbound (profile)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
