"""Create the log: partitioned by position, unchangeable, with its head and its hash chain."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE log (
        position bigint NOT NULL PRIMARY KEY,
        stream_id uuid NOT NULL,
        version integer NOT NULL,
        topic text NOT NULL,
        subject uuid,
        recorded_at bigint NOT NULL,
        state bytea NOT NULL
    ) PARTITION BY RANGE (position)
    """,
    "ALTER TABLE log ALTER COLUMN state SET STORAGE EXTERNAL",
    """
    CREATE TABLE log_stream (
        stream_id uuid NOT NULL,
        version integer NOT NULL,
        position bigint NOT NULL,
        PRIMARY KEY (stream_id, version)
    )
    """,
    """
    CREATE TABLE log_batch (
        last_position bigint NOT NULL PRIMARY KEY,
        first_position bigint NOT NULL,
        recorded_at bigint NOT NULL,
        digest bytea NOT NULL
    )
    """,
    """
    CREATE TABLE log_head (
        singleton boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (singleton),
        position bigint NOT NULL,
        recorded_at bigint NOT NULL,
        digest bytea NOT NULL,
        clock text NOT NULL CHECK (clock IN ('wall', 'simulated'))
    ) WITH (fillfactor = 20)
    """,
    r"INSERT INTO log_head (position, recorded_at, digest, clock) VALUES (0, 0, '\x', 'wall')",
    """
    CREATE FUNCTION log_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% of % refused: the log is append-only', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation',
                  HINT = 'append a record that corrects it instead';
    END $$
    """,
    """
    CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON log
        FOR EACH ROW EXECUTE FUNCTION log_refuse_change()
    """,
    "CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON log EXECUTE FUNCTION log_refuse_change()",
    # Made beside the log and then attached: that does not wait for whoever is reading it.
    """
    CREATE FUNCTION log_add_partition(number bigint, parent regclass DEFAULT to_regclass('log'))
        RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        rows_each CONSTANT bigint := 10000000;
        home CONSTANT name := (SELECT n.nspname FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent);
        partition CONSTANT text := format('%I.%I', home, 'log_' || number);
    BEGIN
        IF to_regclass(partition) IS NULL THEN
            EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', partition, parent);
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)',
                           parent, partition, number * rows_each, (number + 1) * rows_each);
            EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %s'
                           ' EXECUTE FUNCTION public.log_refuse_change()', partition);
        END IF;
    END $$
    """,
    "SELECT log_add_partition(0)",
    "SELECT log_add_partition(1)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
