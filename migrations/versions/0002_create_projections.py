"""Create the projections: what is folded from the log."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE TABLE checkpoint (name text PRIMARY KEY, position bigint NOT NULL)",
    """
    CREATE TABLE definition (
        kind text NOT NULL,
        name text NOT NULL,
        body jsonb NOT NULL,
        position bigint NOT NULL,
        PRIMARY KEY (kind, name)
    )
    """,
    "CREATE TABLE identity (node uuid PRIMARY KEY, profile uuid NOT NULL)",
    """
    CREATE TABLE profile (
        profile uuid PRIMARY KEY,
        due bigint,
        state bytea NOT NULL
    ) WITH (fillfactor = 80)
    """,
    "ALTER TABLE profile ALTER COLUMN state SET STORAGE EXTERNAL",
    "CREATE INDEX profile_due ON profile (due) WHERE due IS NOT NULL",
    """
    CREATE TABLE membership (
        audience text NOT NULL,
        profile uuid NOT NULL,
        position bigint NOT NULL,
        entered_at bigint NOT NULL,
        PRIMARY KEY (audience, profile)
    )
    """,
    """
    CREATE TABLE outbound (
        id uuid PRIMARY KEY,
        connection text NOT NULL,
        batch uuid NOT NULL,
        position bigint NOT NULL,
        status text NOT NULL,
        attempts integer NOT NULL
    ) WITH (fillfactor = 80)
    """,
    "CREATE TABLE bus_stream (name text PRIMARY KEY, created text NOT NULL)",
    "CREATE INDEX outbound_pending ON outbound (position) WHERE status = 'pending'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
