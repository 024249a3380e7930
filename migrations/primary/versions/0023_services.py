"""What the users of single services may do: the rows of their own schema, and no others.

As the readers', their roles may be missing here: `core.grant_services()` grants to those that
exist, and `db migrate` runs it every time.
"""

from alembic import op

revision = "0023_services"
down_revision = "0022_transaction_years"

# role, schema, table (* for all of the schema), and whether it may write there
GRANTED = """
    ('neo_storage_user', 'storage', '*', true),
    ('neo_keymanagement_user', 'keymanagement', '*', true),
    ('neo_security_user', 'security', '*', true),
    ('neo_oracle_user', 'oracle', '*', true),
    ('neo_oracle_user', 'blockchain', 'networks', false),
    ('neo_smartcontracts_user', 'blockchain', 'smart_contracts', true),
    ('neo_smartcontracts_user', 'blockchain', 'networks', false),
    ('neo_crosschain_user', 'crosschain', '*', true),
    ('neo_crosschain_user', 'blockchain', 'networks', false),
    ('neo_notification_user', 'notification', '*', true),
    ('neo_automation_user', 'automation', '*', true),
    ('neo_voting_user', 'voting', '*', true),
    ('neo_monitoring_user', 'monitoring', '*', true),
    ('neo_analytics_user', 'analytics', '*', true),
    ('neo_reporting_user', 'reporting', '*', true)
"""

# Nobody may do more than the application: what that may not do with a table is not granted.
# Row-level security binds these users as it binds the application.
GRANT_SERVICES = f"""
    CREATE FUNCTION core.grant_services() RETURNS SETOF text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        found record;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('core.grant_readers'));
        FOR found IN
            SELECT g.role, c.oid::regclass AS relation, n.nspname AS schema, string_agg(p, ', ')
                FILTER (WHERE has_table_privilege('neo_app', c.oid, p)
                    AND NOT has_table_privilege(g.role, c.oid, p)) AS lacking
            FROM (VALUES {GRANTED}) AS g (role, schema, name, writes)
            JOIN pg_roles r ON r.rolname = g.role
            JOIN pg_namespace n ON n.nspname = g.schema
            JOIN pg_class c ON c.relnamespace = n.oid AND g.name IN ('*', c.relname)
                AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
                AND c.relowner = current_user::regrole
            JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
                ON g.writes OR p = 'SELECT'
            GROUP BY g.role, c.oid, n.nspname ORDER BY g.role, n.nspname, c.relname
        LOOP
            IF NOT has_database_privilege(found.role, current_database(), 'CONNECT') THEN
                EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(),
                    found.role);
            END IF;
            IF NOT has_schema_privilege(found.role, found.schema, 'USAGE') THEN
                EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', found.schema, found.role);
            END IF;
            IF found.lacking IS NOT NULL THEN
                EXECUTE format('GRANT %s ON TABLE %s TO %I', found.lacking, found.relation,
                    found.role);
                RETURN NEXT format('%s: %s', found.role, found.relation);
            END IF;
        END LOOP;
    END
    $$
    """

REVOKE = f"""
    DO $$
    DECLARE
        found record;
    BEGIN
        FOR found IN
            SELECT DISTINCT g.role, g.schema FROM (VALUES {GRANTED}) AS g (role, schema, name, w)
            JOIN pg_roles r ON r.rolname = g.role
        LOOP
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', found.schema,
                found.role);
            EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', found.schema, found.role);
            EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), found.role);
        END LOOP;
    END
    $$
    """


def upgrade() -> None:
    """Make the function and grant to those that are there. Nobody but the owner may run it."""
    op.execute(GRANT_SERVICES)
    op.execute("REVOKE ALL ON FUNCTION core.grant_services() FROM PUBLIC, neo_app")
    op.execute("SELECT core.grant_services()")


def downgrade() -> None:
    """Take back what was granted."""
    op.execute("DROP FUNCTION core.grant_services()")
    op.execute(REVOKE)
