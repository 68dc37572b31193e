"""Where in the log it stands who was last known on a device, for whatever comes from it without a user."""

from __future__ import annotations

from alembic import op

revision = "0180"
down_revision = "0170"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE device_user (
        device uuid PRIMARY KEY,
        subject uuid NOT NULL,
        occurred_at bigint NOT NULL,
        position bigint NOT NULL
    )
    """,
    "CREATE INDEX device_user_subject ON device_user (subject)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
