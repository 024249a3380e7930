"""Configurations, alerts, the log of changed rows with the functions that write it, core.users."""

from alembic import op

revision = "0008_monitoring"
down_revision = "0007_scheduler"

TABLES = (
    "CREATE SCHEMA monitoring",
    "CREATE SCHEMA eventsourcing",
    """
    COMMENT ON SCHEMA eventsourcing IS
    'Empty: events live in the database event_store. A server with one database keeps them here.'
    """,
    """
    CREATE TABLE core.configurations (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        service_name varchar(255) NOT NULL,
        key varchar(255) NOT NULL,
        value jsonb NOT NULL,
        is_secret boolean NOT NULL DEFAULT false,
        version int NOT NULL DEFAULT 1,
        updated_by varchar(255),
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT configurations_key_unique UNIQUE (service_name, key),
        CONSTRAINT configurations_version_check CHECK (version > 0)
    )
    """,
    (
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON core.configurations"
        " FOR EACH ROW EXECUTE FUNCTION core.set_updated_at()"
    ),
    "CREATE INDEX idx_metadata_gin ON core.services USING gin (metadata)",
    """
    CREATE TABLE monitoring.alerts (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name varchar(255) NOT NULL,
        severity varchar(50) NOT NULL,
        status varchar(50) NOT NULL DEFAULT 'firing',
        service_name varchar(255),
        message text,
        labels jsonb NOT NULL DEFAULT '{}',
        starts_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        ends_at timestamptz,
        acknowledged_by varchar(255),
        CONSTRAINT alerts_severity_check CHECK (severity IN ('info', 'warning', 'critical')),
        CONSTRAINT alerts_status_check
            CHECK (status IN ('firing', 'acknowledged', 'resolved', 'silenced')),
        CONSTRAINT alerts_period_check CHECK (ends_at >= starts_at)
    )
    """,
    (
        "CREATE INDEX idx_alerts_open ON monitoring.alerts (severity, starts_at DESC)"
        " WHERE status IN ('firing', 'acknowledged')"
    ),
    "CREATE INDEX idx_alerts_labels ON monitoring.alerts USING gin (labels)",
    """
    CREATE TABLE monitoring.audit_logs (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        -- not the transaction's time: the acts of one transaction have an order
        timestamp timestamptz NOT NULL DEFAULT clock_timestamp(),
        action varchar(100) NOT NULL,
        schema_name varchar(63),
        table_name varchar(63),
        record_id text,
        actor varchar(255) NOT NULL,
        database_user varchar(63) NOT NULL DEFAULT SESSION_USER,
        tenant_id uuid,
        service_name varchar(255),
        old_values jsonb,
        new_values jsonb,
        ip_address inet DEFAULT inet_client_addr(),
        success boolean NOT NULL DEFAULT true,
        error_message text
    )
    """,
    "CREATE INDEX idx_audit_logs_time ON monitoring.audit_logs (timestamp DESC)",
    (
        "CREATE INDEX idx_audit_logs_record"
        " ON monitoring.audit_logs (schema_name, table_name, record_id)"
    ),
    (
        "CREATE INDEX idx_audit_logs_tenant ON monitoring.audit_logs (tenant_id, timestamp DESC)"
        " WHERE tenant_id IS NOT NULL"
    ),
    # the question that operators ask, as they ask it: few rows of very many
    (
        "CREATE INDEX idx_audit_logs_cleanup ON monitoring.audit_logs (timestamp DESC)"
        " WHERE action LIKE '%CLEANUP%'"
    ),
    # without the password hash and the second factor; the reader's own rights and policies apply
    """
    CREATE VIEW core.users WITH (security_invoker = true) AS
    SELECT id, tenant_id, email, username, mfa_enabled, email_verified, status, last_login_at,
        failed_login_attempts, locked_until, created_at, updated_at, deleted_at
    FROM auth.users
    """,
)

# Who acts is what the application says of itself (its user, service and tenant in force), and
# beside it the database's own word: the role that logged in, and from where.
RECORD = """
    CREATE FUNCTION audit.record(
        action text, schema_name text, table_name text, record_id text DEFAULT NULL,
        tenant_id uuid DEFAULT NULL, service_name text DEFAULT NULL,
        old_values jsonb DEFAULT NULL, new_values jsonb DEFAULT NULL,
        success boolean DEFAULT true, error_message text DEFAULT NULL
    ) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        INSERT INTO monitoring.audit_logs (action, schema_name, table_name, record_id, actor,
            tenant_id, service_name, old_values, new_values, success, error_message)
        VALUES ($1, $2, $3, $4,
            coalesce(nullif(current_setting('app.current_user', true), ''), session_user),
            coalesce($5, nullif(current_setting('app.current_tenant', true), '')::uuid),
            coalesce(nullif(current_setting('app.current_service', true), ''), $6),
            $7, $8, $9, $10)
    $$
    """

# What the application says happened (a sealed blob was read, a login was refused). It chooses the
# words, but neither tenant nor service, and not those that the database itself uses.
NOTE = """
    CREATE FUNCTION audit.note(
        action text, schema_name text, table_name text, record_id text,
        details jsonb DEFAULT NULL, success boolean DEFAULT true, error_message text DEFAULT NULL
    ) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF action IN ('INSERT', 'UPDATE', 'DELETE') OR action LIKE '%CLEANUP%' THEN
            RAISE EXCEPTION 'the database alone says %', action
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        PERFORM audit.record(action, schema_name, table_name, record_id, new_values => details,
            success => success, error_message => error_message);
    END
    $$
    """

# The trigger's arguments are the columns that no log may hold. They are emptied before the row
# becomes JSON, so a blob is neither read nor spelled out in order to be thrown away.
AUDIT_CHANGES = """
    CREATE FUNCTION public.audit_changes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        hidden text[] := coalesce(TG_ARGV, '{}');
        nothing jsonb := (SELECT coalesce(jsonb_object_agg(name, NULL::text), '{}')
                          FROM unnest(hidden) AS name);
        before jsonb;
        after jsonb;
        kept jsonb;
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            before := to_jsonb(jsonb_populate_record(OLD, nothing)) - hidden;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            after := to_jsonb(jsonb_populate_record(NEW, nothing)) - hidden;
        END IF;
        kept := coalesce(after, before);
        PERFORM audit.record(
            TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME,
            -- rows that only join two others have no id of their own
            coalesce(kept ->> 'id', concat_ws('/', kept ->> 'user_id', kept ->> 'role_id',
                kept ->> 'permission_id')),
            (kept ->> 'tenant_id')::uuid, kept ->> 'service_name', before, after);
        RETURN NULL;
    END
    $$
    """

OWN = "tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"

# Nobody but the functions above writes the log, and nobody changes it.
RIGHTS = (
    (
        "REVOKE ALL ON FUNCTION public.audit_changes(), audit.record(text, text, text, text, uuid,"
        " text, jsonb, jsonb, boolean, text) FROM PUBLIC, neo_app"
    ),
    "ALTER TABLE monitoring.audit_logs ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE monitoring.audit_logs FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY tenant_isolation ON monitoring.audit_logs FOR SELECT USING ({OWN})",
    ("CREATE POLICY recording ON monitoring.audit_logs FOR INSERT TO neo_owner WITH CHECK (true)"),
    "GRANT USAGE ON SCHEMA monitoring, eventsourcing TO neo_app",
    "GRANT SELECT ON monitoring.audit_logs TO neo_app",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON monitoring.alerts TO neo_app",
    # what tables of this schema give the application by default is too much for a view
    "REVOKE ALL ON core.users FROM neo_app",
    "GRANT SELECT ON core.users TO neo_app",
)

DOWN = (
    "DROP VIEW core.users",
    "DROP FUNCTION public.audit_changes()",
    "DROP FUNCTION audit.note(text, text, text, text, jsonb, boolean, text)",
    ("DROP FUNCTION audit.record(text, text, text, text, uuid, text, jsonb, jsonb, boolean, text)"),
    "DROP INDEX core.idx_metadata_gin",
    "DROP TABLE core.configurations",
    "DROP SCHEMA eventsourcing",
    "DROP SCHEMA monitoring CASCADE",
)


def upgrade() -> None:
    """Make the tables, the functions of the log, and the view of users."""
    for statement in (*TABLES, RECORD, NOTE, AUDIT_CHANGES, *RIGHTS):
        op.execute(statement)


def downgrade() -> None:
    """Drop it all; the log with what it says."""
    for statement in DOWN:
        op.execute(statement)
