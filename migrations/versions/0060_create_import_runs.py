"""Create what scheduled imports keep: their runs, up to when each schedule is done, and the rows of the last run."""

from __future__ import annotations

from alembic import op

revision = "0060"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE import_run (
        id uuid PRIMARY KEY,
        import text NOT NULL,
        due bigint NOT NULL,
        started_at bigint NOT NULL,
        ended_at bigint,
        outcome text NOT NULL,
        taken bigint NOT NULL DEFAULT 0,
        known bigint NOT NULL DEFAULT 0,
        rejected bigint NOT NULL DEFAULT 0,
        reason text NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX import_run_latest ON import_run (import, started_at DESC)",
    """
    CREATE TABLE import_schedule (
        import text PRIMARY KEY,
        schedule text NOT NULL,
        done_until bigint NOT NULL
    )
    """,
    # Keys and rows by their digests alone: what they say is in the log, under the person's key.
    """
    CREATE TABLE import_row (
        import text NOT NULL,
        key bytea NOT NULL,
        digest bytea NOT NULL,
        position bigint NOT NULL,
        PRIMARY KEY (import, key)
    ) WITH (fillfactor = 80)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
