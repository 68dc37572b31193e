"""Separate the log's owner from the application: a role that can add to the log and never change it.

Also what the chain needs to name an altered row, and what the archive needs to let a partition go
(docs/decisions/0005-roles-and-archive.md).
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: Runs a statement, in which %1$I stands for the schema, for every log that there is.
EACH_LOG = """
    DO $do$ DECLARE home name; BEGIN
        FOR home IN SELECT schemaname FROM pg_tables WHERE tablename = 'log_head' LOOP
            EXECUTE format($run${}$run$, home);
        END LOOP;
    END $do$
"""

ROLE = """
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'roundtrip_app') THEN
            CREATE ROLE roundtrip_app NOLOGIN;
        END IF;
        IF NOT pg_has_role(current_user, 'roundtrip_app', 'USAGE') THEN
            EXECUTE format('GRANT roundtrip_app TO %I', current_user);
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role % can neither make the role roundtrip_app nor take it on', current_user
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('as an administrator: CREATE ROLE roundtrip_app NOLOGIN;'
                                ' GRANT roundtrip_app TO %I;', current_user);
    END $$
"""

ARCHIVE = """
    CREATE TABLE %1$I.log_archive (
        partition bigint NOT NULL PRIMARY KEY,
        first_position bigint NOT NULL,
        last_position bigint NOT NULL,
        digest bytea NOT NULL,
        location text NOT NULL,
        archived_at timestamptz NOT NULL DEFAULT now()
    )
"""

ADD_PARTITION = """
    CREATE OR REPLACE FUNCTION public.log_add_partition(
            number bigint, parent regclass DEFAULT to_regclass('log'))
        RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        home CONSTANT name := (SELECT n.nspname FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = parent AND c.relname = 'log' AND c.relowner IN (current_user::regrole,
                (SELECT relowner FROM pg_class WHERE oid = 'public.log'::regclass)));
        partition CONSTANT text := quote_ident(home) || '.' || quote_ident('log_' || number);
        rows_each bigint;
        reached bigint;
    BEGIN
        IF home IS NULL THEN
            RAISE EXCEPTION '% is not a log of Roundtrip', parent USING ERRCODE = 'insufficient_privilege';
        END IF;
        EXECUTE format('SELECT partition_rows, position FROM %I.log_head', home) INTO rows_each, reached;
        IF to_regclass(partition) IS NULL AND number >= reached / rows_each THEN
            EXECUTE format('CREATE TABLE %s (LIKE %I.log INCLUDING ALL)', partition, home);
            EXECUTE format('ALTER TABLE %I.log ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)',
                           home, partition, number * rows_each, (number + 1) * rows_each);
            EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %s'
                           ' EXECUTE FUNCTION public.log_refuse_change()', partition);
        END IF;
    END $$
"""

PROTECT = """
    CREATE FUNCTION public.log_protect(home name)
        RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        part text;
    BEGIN
        FOREACH part IN ARRAY ARRAY['log_stream', 'log_batch', 'log_archive'] LOOP
            EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %I.%I'
                           ' EXECUTE FUNCTION public.log_refuse_change()', home, part);
        END LOOP;
        EXECUTE format('CREATE TRIGGER refuse_removal BEFORE DELETE OR TRUNCATE ON %I.log_head'
                       ' EXECUTE FUNCTION public.log_refuse_change()', home);
        EXECUTE format('CREATE TRIGGER refuse_return BEFORE UPDATE ON %I.log_head FOR EACH ROW'
                       ' WHEN (NEW.position < OLD.position)'
                       ' EXECUTE FUNCTION public.log_refuse_change()', home);
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO roundtrip_app', home);
        FOREACH part IN ARRAY ARRAY['log', 'log_stream', 'log_batch', 'log_name'] LOOP
            EXECUTE format('GRANT SELECT, INSERT ON %I.%I TO roundtrip_app', home, part);
        END LOOP;
        EXECUTE format('GRANT SELECT ON %I.log_archive TO roundtrip_app', home);
        EXECUTE format('GRANT SELECT, UPDATE (position, recorded_at, digest, clock)'
                       ' ON %I.log_head TO roundtrip_app', home);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %1$I.log_snapshot, %1$I.log_tracking'
                       ' TO roundtrip_app', home);
    END $$
"""

CREATE = r"""
    CREATE OR REPLACE FUNCTION public.log_create(home name)
        RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        part text;
        parent regclass;
    BEGIN
        IF EXISTS (SELECT FROM pg_tables WHERE schemaname = home AND tablename = 'log_head') THEN
            RETURN;
        END IF;
        IF NOT starts_with(home, 'app_') THEN
            RAISE EXCEPTION 'schema % is not for an application''s log: its name begins with app_', home
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('roundtrip log_create'));
        IF EXISTS (SELECT FROM pg_tables WHERE schemaname = home AND tablename = 'log_head') THEN
            RETURN;
        END IF;
        -- A schema's owner can drop whatever is in it, so nobody else may own this one.
        IF EXISTS (SELECT FROM pg_namespace WHERE nspname = home
                   AND nspowner <> current_user::regrole) THEN
            RAISE EXCEPTION 'schema % belongs to another role than the log''s owner, %', home, current_user
                USING ERRCODE = 'insufficient_privilege', HINT = 'drop it, and it is made as it has to be';
        END IF;
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', home);
        EXECUTE format('CREATE TABLE %I.log (LIKE public.log INCLUDING ALL)'
                       ' PARTITION BY RANGE (position)', home);
        FOREACH part IN ARRAY ARRAY['log_stream', 'log_batch', 'log_head', 'log_archive',
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
        PERFORM public.log_protect(home);
        parent := to_regclass(format('%I.log', home));
        PERFORM public.log_add_partition(0, parent);
        PERFORM public.log_add_partition(1, parent);
    END $$
"""

# With the caller's own rights: the application, which may call it, has none to do what it does.
RELEASE = """
    CREATE FUNCTION public.log_release_partition(number bigint, digest bytea, location text,
                                                 parent regclass DEFAULT to_regclass('log'))
        RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        home CONSTANT name := (SELECT n.nspname FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent);
        rows_each bigint;
        reached bigint;
        released bigint;
        first bigint;
        last bigint;
        held bigint;
    BEGIN
        EXECUTE format('SELECT partition_rows, position FROM %I.log_head', home) INTO rows_each, reached;
        EXECUTE format('SELECT coalesce(max(partition), -1) FROM %I.log_archive', home) INTO released;
        first := greatest(number * rows_each, 1);
        last := (number + 1) * rows_each - 1;
        IF number <> released + 1 OR last >= reached THEN
            RAISE EXCEPTION 'partition % of % cannot go: only the oldest can, and only when it is full',
                number, parent USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        EXECUTE format('SELECT count(*) FROM %I.%I', home, 'log_' || number) INTO held;
        IF held <> last - first + 1 THEN
            RAISE EXCEPTION 'partition % of % has % rows in place of %; see `roundtrip log verify`',
                number, parent, held, last - first + 1 USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        EXECUTE format('INSERT INTO %I.log_archive (partition, first_position, last_position, digest, location)'
                       ' VALUES ($1, $2, $3, $4, $5)', home) USING number, first, last, digest, location;
        EXECUTE format('DROP TABLE %I.%I', home, 'log_' || number);
    END $$
"""

HAND_OVER = r"""
    CREATE FUNCTION public.log_hand_over()
        RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        one record;
    BEGIN
        FOR one IN SELECT c.relname, c.relkind FROM pg_class c
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
            AND c.relowner = current_user::regrole
            AND c.relname !~ '^log(_head|_stream|_batch|_archive|_name|_snapshot|_tracking|_[0-9]+)?$'
            AND c.relname <> 'alembic_version'
        LOOP
            EXECUTE format('ALTER %s public.%I OWNER TO roundtrip_app',
                           CASE one.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                           ELSE 'TABLE' END, one.relname);
        END LOOP;
        GRANT SELECT ON public.alembic_version TO roundtrip_app;
        EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO roundtrip_app', current_database());
    END $$
"""

STATEMENTS = (
    ROLE,
    EACH_LOG.format("ALTER TABLE %1$I.log_head ADD partition_rows bigint NOT NULL DEFAULT 10000000"),
    EACH_LOG.format("ALTER TABLE %1$I.log_batch ADD checks bytea"),
    EACH_LOG.format("ALTER TABLE %1$I.log_batch ALTER checks SET STORAGE EXTERNAL"),
    EACH_LOG.format(ARCHIVE),
    ADD_PARTITION,
    PROTECT,
    CREATE,
    RELEASE,
    HAND_OVER,
    (
        "REVOKE EXECUTE ON FUNCTION public.log_add_partition, public.log_create, public.log_protect,"
        " public.log_release_partition, public.log_hand_over FROM PUBLIC"
    ),
    "GRANT EXECUTE ON FUNCTION public.log_add_partition, public.log_create TO roundtrip_app",
    "DO $$ BEGIN PERFORM public.log_protect(schemaname) FROM pg_tables WHERE tablename = 'log_head'; END $$",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
