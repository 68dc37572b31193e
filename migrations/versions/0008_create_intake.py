"""Create the quarantine (payloads that could not be taken in, and why) and how far each import has come."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE quarantine (
        id uuid PRIMARY KEY,
        feed text NOT NULL,
        code text NOT NULL,
        reason text NOT NULL,
        headers jsonb NOT NULL,
        body bytea NOT NULL,
        received_at bigint NOT NULL
    )
    """,
    """
    CREATE TABLE import_progress (
        id uuid PRIMARY KEY,
        feed text NOT NULL,
        name text NOT NULL,
        started_at bigint NOT NULL,
        number bigint NOT NULL,
        taken bigint NOT NULL,
        known bigint NOT NULL,
        rejected bigint NOT NULL,
        rejected_bytes bigint NOT NULL,
        done boolean NOT NULL
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX quarantine_oldest ON quarantine (received_at, id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
