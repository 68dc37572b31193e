"""What answers what was sent, and who is held out: what loops are measured by, kept beside the log's end."""

from __future__ import annotations

from alembic import op

revision = "0170"
down_revision = "0160"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE answer (
        position bigint PRIMARY KEY,
        outbound uuid,
        connection text NOT NULL,
        feed text NOT NULL,
        event text NOT NULL,
        at bigint NOT NULL,
        inferred boolean NOT NULL
    )
    """,
    "CREATE INDEX answer_outbound ON answer (outbound)",
    "CREATE TABLE held_out (connection text, profile uuid, at bigint NOT NULL, PRIMARY KEY (connection, profile))",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
