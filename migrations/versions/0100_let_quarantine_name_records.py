"""Let the quarantine name records of the log that the pipeline cannot apply, and what was replayed of them."""

from __future__ import annotations

from alembic import op

revision = "0100"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE quarantine ADD position bigint, ADD replayed_at bigint",
    "CREATE UNIQUE INDEX quarantine_position ON quarantine (position) WHERE position IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
