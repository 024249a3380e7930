CREATE SCHEMA core;

CREATE FUNCTION core.grant_reader(reader text, relation regclass) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    DECLARE
        hidden text[] := ARRAY(SELECT name FROM (VALUES 
    ('core.configurations', 'value'),
    ('auth.users', 'password_hash'), ('auth.users', 'mfa_secret'),
    ('auth.sessions', 'token_hash'), ('auth.sessions', 'refresh_token_hash'),
    ('blockchain.wallets', 'encrypted_private_key'),
    ('security.secrets', 'payload'),
    ('auth.api_keys', 'key_hash')
) AS secrets (owner, name)
            WHERE owner::regclass = relation AND reader = 'neo_readonly');
        open text;
    BEGIN
        IF hidden <> '{}' THEN
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
    $$;

CREATE FUNCTION core.grant_readers() RETURNS SETOF text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
                    ELSE nspname = ANY (string_to_array('core auth blockchain audit monitoring eventsourcing compute oracle voting crosschain storage security notification automation analytics reporting scheduler', ' ')) END
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
    $$;

CREATE FUNCTION core.grant_services() RETURNS SETOF text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    DECLARE
        found record;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('core.grant_readers'));
        FOR found IN
            SELECT g.role, c.oid::regclass AS relation, n.nspname AS schema, string_agg(p, ', ')
                FILTER (WHERE has_table_privilege('neo_app', c.oid, p)
                    AND NOT has_table_privilege(g.role, c.oid, p)) AS lacking
            FROM (VALUES 
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
) AS g (role, schema, name, writes)
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
    $$;

CREATE FUNCTION core.set_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        -- not now(): a row that is made and changed in one transaction has changed nevertheless
        NEW.updated_at := clock_timestamp();
        RETURN NEW;
    END
    $$;

CREATE TABLE core.configurations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    service_name character varying(255) NOT NULL,
    key character varying(255) NOT NULL,
    value jsonb NOT NULL,
    is_secret boolean DEFAULT false NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    updated_by character varying(255),
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT configurations_version_check CHECK ((version > 0))
);

CREATE TABLE core.services (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name character varying(255) NOT NULL,
    description text,
    version character varying(50) NOT NULL,
    status character varying(50) DEFAULT 'inactive'::character varying NOT NULL,
    configuration jsonb DEFAULT '{}'::jsonb NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT services_status_check CHECK (((status)::text = ANY ((ARRAY['active'::character varying, 'inactive'::character varying, 'degraded'::character varying, 'maintenance'::character varying])::text[])))
);

CREATE TABLE core.tenant_data (
    tenant_id uuid NOT NULL,
    data_id uuid NOT NULL,
    data jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
)
PARTITION BY HASH (tenant_id);

ALTER TABLE ONLY core.tenant_data FORCE ROW LEVEL SECURITY;

CREATE TABLE core.tenant_data_p0 (
    tenant_id uuid CONSTRAINT tenant_data_tenant_id_not_null NOT NULL,
    data_id uuid CONSTRAINT tenant_data_data_id_not_null NOT NULL,
    data jsonb CONSTRAINT tenant_data_data_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP CONSTRAINT tenant_data_created_at_not_null NOT NULL
);

ALTER TABLE ONLY core.tenant_data_p0 FORCE ROW LEVEL SECURITY;

CREATE TABLE core.tenant_data_p1 (
    tenant_id uuid CONSTRAINT tenant_data_tenant_id_not_null NOT NULL,
    data_id uuid CONSTRAINT tenant_data_data_id_not_null NOT NULL,
    data jsonb CONSTRAINT tenant_data_data_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP CONSTRAINT tenant_data_created_at_not_null NOT NULL
);

ALTER TABLE ONLY core.tenant_data_p1 FORCE ROW LEVEL SECURITY;

CREATE TABLE core.tenant_data_p2 (
    tenant_id uuid CONSTRAINT tenant_data_tenant_id_not_null NOT NULL,
    data_id uuid CONSTRAINT tenant_data_data_id_not_null NOT NULL,
    data jsonb CONSTRAINT tenant_data_data_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP CONSTRAINT tenant_data_created_at_not_null NOT NULL
);

ALTER TABLE ONLY core.tenant_data_p2 FORCE ROW LEVEL SECURITY;

CREATE TABLE core.tenant_data_p3 (
    tenant_id uuid CONSTRAINT tenant_data_tenant_id_not_null NOT NULL,
    data_id uuid CONSTRAINT tenant_data_data_id_not_null NOT NULL,
    data jsonb CONSTRAINT tenant_data_data_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP CONSTRAINT tenant_data_created_at_not_null NOT NULL
);

ALTER TABLE ONLY core.tenant_data_p3 FORCE ROW LEVEL SECURITY;

CREATE TABLE core.tenants (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name character varying(255) NOT NULL,
    identifier character varying(100) NOT NULL,
    subscription_tier character varying(50) DEFAULT 'free'::character varying NOT NULL,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    limits jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT tenants_tier_check CHECK (((subscription_tier)::text = ANY ((ARRAY['free'::character varying, 'basic'::character varying, 'pro'::character varying, 'enterprise'::character varying])::text[])))
);

ALTER TABLE ONLY core.tenants FORCE ROW LEVEL SECURITY;

CREATE VIEW core.users WITH (security_invoker='true') AS
 SELECT id,
    tenant_id,
    email,
    username,
    mfa_enabled,
    email_verified,
    status,
    last_login_at,
    failed_login_attempts,
    locked_until,
    created_at,
    updated_at,
    deleted_at
   FROM auth.users;

ALTER TABLE ONLY core.tenant_data ATTACH PARTITION core.tenant_data_p0 FOR VALUES WITH (modulus 4, remainder 0);

ALTER TABLE ONLY core.tenant_data ATTACH PARTITION core.tenant_data_p1 FOR VALUES WITH (modulus 4, remainder 1);

ALTER TABLE ONLY core.tenant_data ATTACH PARTITION core.tenant_data_p2 FOR VALUES WITH (modulus 4, remainder 2);

ALTER TABLE ONLY core.tenant_data ATTACH PARTITION core.tenant_data_p3 FOR VALUES WITH (modulus 4, remainder 3);

ALTER TABLE ONLY core.configurations
    ADD CONSTRAINT configurations_key_unique UNIQUE (service_name, key);

ALTER TABLE ONLY core.configurations
    ADD CONSTRAINT configurations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.services
    ADD CONSTRAINT services_name_key UNIQUE (name);

ALTER TABLE ONLY core.services
    ADD CONSTRAINT services_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.tenant_data
    ADD CONSTRAINT tenant_data_pkey PRIMARY KEY (tenant_id, data_id);

ALTER TABLE ONLY core.tenant_data_p0
    ADD CONSTRAINT tenant_data_p0_pkey PRIMARY KEY (tenant_id, data_id);

ALTER TABLE ONLY core.tenant_data_p1
    ADD CONSTRAINT tenant_data_p1_pkey PRIMARY KEY (tenant_id, data_id);

ALTER TABLE ONLY core.tenant_data_p2
    ADD CONSTRAINT tenant_data_p2_pkey PRIMARY KEY (tenant_id, data_id);

ALTER TABLE ONLY core.tenant_data_p3
    ADD CONSTRAINT tenant_data_p3_pkey PRIMARY KEY (tenant_id, data_id);

ALTER TABLE ONLY core.tenants
    ADD CONSTRAINT tenants_identifier_key UNIQUE (identifier);

ALTER TABLE ONLY core.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (id);

CREATE INDEX idx_metadata_gin ON core.services USING gin (metadata);

CREATE INDEX idx_services_config ON core.services USING gin (configuration);

CREATE INDEX idx_tenants_settings ON core.tenants USING gin (settings);

ALTER INDEX core.tenant_data_pkey ATTACH PARTITION core.tenant_data_p0_pkey;

ALTER INDEX core.tenant_data_pkey ATTACH PARTITION core.tenant_data_p1_pkey;

ALTER INDEX core.tenant_data_pkey ATTACH PARTITION core.tenant_data_p2_pkey;

ALTER INDEX core.tenant_data_pkey ATTACH PARTITION core.tenant_data_p3_pkey;

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON core.configurations FOR EACH ROW EXECUTE FUNCTION public.audit_changes('value');

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON core.services FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON core.tenants FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON core.configurations FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON core.services FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON core.tenants FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE core.tenant_data ENABLE ROW LEVEL SECURITY;

ALTER TABLE core.tenant_data_p0 ENABLE ROW LEVEL SECURITY;

ALTER TABLE core.tenant_data_p1 ENABLE ROW LEVEL SECURITY;

ALTER TABLE core.tenant_data_p2 ENABLE ROW LEVEL SECURITY;

ALTER TABLE core.tenant_data_p3 ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON core.tenant_data USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON core.tenant_data_p0 USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON core.tenant_data_p1 USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON core.tenant_data_p2 USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON core.tenant_data_p3 USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON core.tenants USING ((id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE core.tenants ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA core TO neo_app;
GRANT USAGE ON SCHEMA core TO neo_backup;
GRANT USAGE ON SCHEMA core TO neo_readonly;

REVOKE ALL ON FUNCTION core.grant_reader(reader text, relation regclass) FROM PUBLIC;

REVOKE ALL ON FUNCTION core.grant_readers() FROM PUBLIC;

REVOKE ALL ON FUNCTION core.grant_services() FROM PUBLIC;

REVOKE ALL ON FUNCTION core.set_updated_at() FROM PUBLIC;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE core.configurations TO neo_app;
GRANT SELECT ON TABLE core.configurations TO neo_backup;

GRANT SELECT(id) ON TABLE core.configurations TO neo_readonly;

GRANT SELECT(service_name) ON TABLE core.configurations TO neo_readonly;

GRANT SELECT(key) ON TABLE core.configurations TO neo_readonly;

GRANT SELECT(is_secret) ON TABLE core.configurations TO neo_readonly;

GRANT SELECT(version) ON TABLE core.configurations TO neo_readonly;

GRANT SELECT(updated_by) ON TABLE core.configurations TO neo_readonly;

GRANT SELECT(created_at) ON TABLE core.configurations TO neo_readonly;

GRANT SELECT(updated_at) ON TABLE core.configurations TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE core.services TO neo_app;
GRANT SELECT ON TABLE core.services TO neo_backup;
GRANT SELECT ON TABLE core.services TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE core.tenant_data TO neo_app;
GRANT SELECT ON TABLE core.tenant_data TO neo_backup;
GRANT SELECT ON TABLE core.tenant_data TO neo_readonly;

GRANT SELECT ON TABLE core.tenant_data_p0 TO neo_backup;

GRANT SELECT ON TABLE core.tenant_data_p1 TO neo_backup;

GRANT SELECT ON TABLE core.tenant_data_p2 TO neo_backup;

GRANT SELECT ON TABLE core.tenant_data_p3 TO neo_backup;

GRANT SELECT,INSERT,UPDATE ON TABLE core.tenants TO neo_app;
GRANT SELECT ON TABLE core.tenants TO neo_backup;
GRANT SELECT ON TABLE core.tenants TO neo_readonly;

GRANT SELECT ON TABLE core.users TO neo_app;
GRANT SELECT ON TABLE core.users TO neo_backup;
GRANT SELECT ON TABLE core.users TO neo_readonly;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA core GRANT USAGE ON SEQUENCES TO neo_app;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA core GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO neo_app;
