"""Find a person's records without reading the log through: an index beside the log, filled behind its end."""

from __future__ import annotations

from alembic import op

revision = "0160"
down_revision = "0150"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE subject_position"
        " (subject uuid NOT NULL, position bigint NOT NULL, PRIMARY KEY (subject, position))"
    )
