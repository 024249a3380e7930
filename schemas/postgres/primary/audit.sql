CREATE SCHEMA audit;

CREATE FUNCTION audit.note(action text, schema_name text, table_name text, record_id text, details jsonb DEFAULT NULL::jsonb, success boolean DEFAULT true, error_message text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        IF action IN ('INSERT', 'UPDATE', 'DELETE') OR action LIKE '%CLEANUP%' THEN
            RAISE EXCEPTION 'the database alone says %', action
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        PERFORM audit.record(action, schema_name, table_name, record_id, new_values => details,
            success => success, error_message => error_message);
    END
    $$;

CREATE FUNCTION audit.record(action text, schema_name text, table_name text, record_id text DEFAULT NULL::text, tenant_id uuid DEFAULT NULL::uuid, service_name text DEFAULT NULL::text, old_values jsonb DEFAULT NULL::jsonb, new_values jsonb DEFAULT NULL::jsonb, success boolean DEFAULT true, error_message text DEFAULT NULL::text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
        INSERT INTO monitoring.audit_logs (action, schema_name, table_name, record_id, actor,
            tenant_id, service_name, old_values, new_values, success, error_message)
        VALUES ($1, $2, $3, $4,
            coalesce(nullif(current_setting('app.current_user', true), ''), session_user),
            coalesce($5, nullif(current_setting('app.current_tenant', true), '')::uuid),
            coalesce(nullif(current_setting('app.current_service', true), ''), $6),
            $7, $8, $9, $10)
    $_$;

GRANT USAGE ON SCHEMA audit TO neo_app;
GRANT USAGE ON SCHEMA audit TO neo_backup;
GRANT USAGE ON SCHEMA audit TO neo_readonly;

REVOKE ALL ON FUNCTION audit.note(action text, schema_name text, table_name text, record_id text, details jsonb, success boolean, error_message text) FROM PUBLIC;
GRANT ALL ON FUNCTION audit.note(action text, schema_name text, table_name text, record_id text, details jsonb, success boolean, error_message text) TO neo_app;

REVOKE ALL ON FUNCTION audit.record(action text, schema_name text, table_name text, record_id text, tenant_id uuid, service_name text, old_values jsonb, new_values jsonb, success boolean, error_message text) FROM PUBLIC;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA audit GRANT USAGE ON SEQUENCES TO neo_app;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA audit GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO neo_app;
