"""Create the data keys of subjects, and tell every process by the log's head that some were destroyed."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Every log has the column, as every append reads it; only Roundtrip's own is ever erased from.
    """
    DO $do$ DECLARE home name; BEGIN
        FOR home IN SELECT schemaname FROM pg_tables WHERE tablename = 'log_head' LOOP
            EXECUTE format('ALTER TABLE %I.log_head ADD erasures bigint NOT NULL DEFAULT 0', home);
        END LOOP;
    END $do$
    """,
    "GRANT UPDATE (erasures) ON log_head TO roundtrip_app",
    """
    CREATE TABLE subject_key (
        subject uuid PRIMARY KEY,
        wrapped bytea,
        erased_at bigint,
        gone_before bigint
    )
    """,
    "ALTER TABLE subject_key ALTER COLUMN wrapped SET STORAGE PLAIN",
    # What is put aside from now on has its headers sealed in the body.
    "ALTER TABLE quarantine ALTER COLUMN headers DROP NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
