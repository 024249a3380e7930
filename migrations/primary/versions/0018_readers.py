"""What the groups of readers may read: neo_readonly, neo_auditor, neo_backup.

Roles belong to the server and are made by its administrator, so any of the three may be missing
here. `core.grant_readers()` grants to those that exist; `db migrate` runs it every time, so one
that came later has its rights after the next.
"""

from alembic import op

revision = "0018_readers"
down_revision = "0017_maintenance"

# Not here: what is sealed (sgx, enclave), keys (keymanagement), and the outbox, whose messages may
# be copies of any row.
READONLY = (
    "core auth blockchain audit monitoring eventsourcing compute oracle voting crosschain storage"
    " security notification automation analytics reporting scheduler"
)

# What neo_readonly may not read in tables that it may: those are granted column by column.
SECRETS = """
    ('core.configurations', 'value'),
    ('auth.users', 'password_hash'), ('auth.users', 'mfa_secret'),
    ('auth.sessions', 'token_hash'), ('auth.sessions', 'refresh_token_hash'),
    ('blockchain.wallets', 'encrypted_private_key'),
    ('security.secrets', 'payload')
"""

# Row-level security binds readonly and auditor like everybody; the auditor reads the whole log.
# The backup role passes it by an attribute of its own, and reads partitions by their own names, as
# pg_dump does: so it is given what will be made, too. What is granted already is left alone, so
# that a start of the platform changes no catalog.
GRANT_READERS = f"""
    CREATE FUNCTION core.grant_readers() RETURNS SETOF text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        reader text;
        found record;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('core.grant_readers'));
        FOR reader IN SELECT rolname FROM pg_roles
            WHERE rolname IN ('neo_readonly', 'neo_auditor', 'neo_backup') ORDER BY rolname
        LOOP
            IF NOT has_database_privilege(reader, current_database(), 'CONNECT') THEN
                EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), reader);
            END IF;
            FOR found IN
                SELECT oid, nspname AS name FROM pg_namespace
                WHERE (nspowner = current_user::regrole OR nspname = 'public') AND CASE reader
                    WHEN 'neo_backup' THEN true
                    WHEN 'neo_auditor' THEN nspname IN ('monitoring', 'eventsourcing')
                    ELSE nspname = ANY (string_to_array('{READONLY}', ' ')) END
                ORDER BY nspname
            LOOP
                IF NOT has_schema_privilege(reader, found.oid, 'USAGE') THEN
                    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', found.name, reader);
                END IF;
                PERFORM core.grant_reader(reader, c.oid) FROM pg_class c
                WHERE c.relnamespace = found.oid AND c.relowner = current_user::regrole
                    AND (c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
                        OR c.relkind IN ('r', 'p', 'S') AND reader = 'neo_backup');
            END LOOP;
            RETURN NEXT reader;
        END LOOP;
        IF to_regrole('neo_auditor') IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_policy WHERE polname = 'auditing'
        ) THEN
            CREATE POLICY auditing ON monitoring.audit_logs FOR SELECT TO neo_auditor
                USING (true);
            ALTER DEFAULT PRIVILEGES IN SCHEMA eventsourcing GRANT SELECT ON TABLES
                TO neo_auditor;
        END IF;
        IF to_regrole('neo_backup') IS NOT NULL THEN
            ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO neo_backup;
            ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO neo_backup;
            ALTER DEFAULT PRIVILEGES GRANT SELECT ON SEQUENCES TO neo_backup;
        END IF;
    END
    $$
    """

GRANT_READER = f"""
    CREATE FUNCTION core.grant_reader(reader text, relation regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        hidden text[] := ARRAY(SELECT name FROM (VALUES {SECRETS}) AS secrets (owner, name)
            WHERE owner::regclass = relation AND reader = 'neo_readonly');
        open text;
    BEGIN
        IF hidden <> '{{}}' THEN
            SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO open
            FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped
                AND NOT attname = ANY (hidden)
                AND NOT has_column_privilege(reader, relation, attnum, 'SELECT');
            IF open IS NOT NULL THEN
                EXECUTE format('GRANT SELECT (%s) ON TABLE %s TO %I', open, relation, reader);
            END IF;
        ELSIF (SELECT relkind FROM pg_class WHERE oid = relation) = 'S' THEN
            IF NOT has_sequence_privilege(reader, relation, 'SELECT') THEN
                EXECUTE format('GRANT SELECT ON SEQUENCE %s TO %I', relation, reader);
            END IF;
        ELSIF NOT has_table_privilege(reader, relation, 'SELECT') THEN
            EXECUTE format('GRANT SELECT ON TABLE %s TO %I', relation, reader);
        END IF;
    END
    $$
    """

REVOKE = """
    DO $$
    DECLARE
        reader text;
        found record;
    BEGIN
        DROP POLICY IF EXISTS auditing ON monitoring.audit_logs;
        FOR reader IN SELECT rolname FROM pg_roles
            WHERE rolname IN ('neo_readonly', 'neo_auditor', 'neo_backup')
        LOOP
            EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), reader);
            EXECUTE format('ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM %I', reader);
            EXECUTE format('ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM %I', reader);
            EXECUTE format('ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM %I', reader);
            EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA eventsourcing'
                ' REVOKE ALL ON TABLES FROM %I', reader);
            FOR found IN SELECT nspname AS name FROM pg_namespace
                WHERE nspowner = current_user::regrole OR nspname = 'public'
            LOOP
                EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', found.name, reader);
            END LOOP;
            FOR found IN SELECT oid::regclass AS name, relkind = 'S' AS sequence FROM pg_class
                WHERE relowner = current_user::regrole AND relkind IN ('r', 'p', 'v', 'm', 'S')
            LOOP
                EXECUTE format('REVOKE ALL ON %s %s FROM %I',
                    CASE WHEN found.sequence THEN 'SEQUENCE' ELSE 'TABLE' END, found.name, reader);
            END LOOP;
        END LOOP;
    END
    $$
    """


def upgrade() -> None:
    """Make the functions and grant to those that are there. Nobody but the owner may run them."""
    for function in (GRANT_READER, GRANT_READERS):
        op.execute(function)
    op.execute(
        "REVOKE ALL ON FUNCTION core.grant_readers(), core.grant_reader(text, regclass)"
        " FROM PUBLIC, neo_app"
    )
    op.execute("SELECT core.grant_readers()")


def downgrade() -> None:
    """Take back what was granted."""
    op.execute("DROP FUNCTION core.grant_readers()")
    op.execute("DROP FUNCTION core.grant_reader(text, regclass)")
    op.execute(REVOKE)
