"""Create what other `eventsourcing` applications need: names, snapshots, tracking, and logs of their own."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE TABLE log_name (stream_id uuid PRIMARY KEY, name text NOT NULL)",
    """
    CREATE TABLE log_snapshot (
        purpose text NOT NULL,
        stream_id uuid NOT NULL,
        version integer NOT NULL,
        topic text NOT NULL,
        state bytea NOT NULL,
        PRIMARY KEY (purpose, stream_id, version)
    )
    """,
    """
    CREATE TABLE log_tracking (
        application_name text PRIMARY KEY,
        notification_id bigint NOT NULL
    ) WITH (fillfactor = 20)
    """,
    # A log like Roundtrip's own in a schema of its own. Reads the tables' shape from `public`, so that it
    # never falls behind them. A later migration that alters these tables has to alter them in every schema
    # that has a `log_head`, too.
    r"""
    CREATE FUNCTION log_create(home name) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        part text;
        parent regclass;
    BEGIN
        IF EXISTS (SELECT FROM pg_tables WHERE schemaname = home AND tablename = 'log_head') THEN
            RETURN;
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('roundtrip log_create'));
        IF EXISTS (SELECT FROM pg_tables WHERE schemaname = home AND tablename = 'log_head') THEN
            RETURN;
        END IF;
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', home);
        EXECUTE format('CREATE TABLE %I.log (LIKE public.log INCLUDING ALL)'
                       ' PARTITION BY RANGE (position)', home);
        FOREACH part IN ARRAY ARRAY['log_stream', 'log_batch', 'log_head',
                                    'log_name', 'log_snapshot', 'log_tracking'] LOOP
            EXECUTE format('CREATE TABLE %I.%I (LIKE public.%I INCLUDING ALL)', home, part, part);
        END LOOP;
        EXECUTE format('ALTER TABLE %I.log_head SET (fillfactor = 20)', home);
        EXECUTE format('ALTER TABLE %I.log_tracking SET (fillfactor = 20)', home);
        EXECUTE format('INSERT INTO %I.log_head (position, recorded_at, digest, clock)'
                       ' VALUES (0, 0, %L, %L)', home, '\x', 'wall');
        EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON %I.log'
                       ' FOR EACH ROW EXECUTE FUNCTION public.log_refuse_change()', home);
        EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %I.log'
                       ' EXECUTE FUNCTION public.log_refuse_change()', home);
        parent := to_regclass(format('%I.log', home));
        PERFORM public.log_add_partition(0, parent);
        PERFORM public.log_add_partition(1, parent);
    END $$
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
