CREATE SCHEMA auth;

CREATE FUNCTION auth.settle_user() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        NEW.email := lower(NEW.email);
        IF TG_OP = 'UPDATE' AND NEW.deleted_at IS NOT NULL AND OLD.deleted_at IS NULL THEN
            -- a deleted user neither keeps the address from others nor logs in again
            NEW.email := 'deleted:' || NEW.id;
            NEW.username := 'deleted:' || NEW.id;
            NEW.password_hash := '!';
        END IF;
        RETURN NEW;
    END
    $$;

CREATE TABLE auth.api_keys (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name character varying(100) NOT NULL,
    key_hash character varying(64) NOT NULL,
    service character varying(100),
    roles text[] DEFAULT '{}'::text[] NOT NULL,
    created_by character varying(255),
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone
);

ALTER TABLE ONLY auth.api_keys FORCE ROW LEVEL SECURITY;

CREATE TABLE auth.permissions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name character varying(100) NOT NULL,
    resource character varying(100) NOT NULL,
    action character varying(50) NOT NULL,
    description text,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);

CREATE TABLE auth.role_permissions (
    tenant_id uuid NOT NULL,
    role_id uuid NOT NULL,
    permission_id uuid NOT NULL
);

ALTER TABLE ONLY auth.role_permissions FORCE ROW LEVEL SECURITY;

CREATE TABLE auth.roles (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name character varying(100) NOT NULL,
    description text,
    is_system boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);

ALTER TABLE ONLY auth.roles FORCE ROW LEVEL SECURITY;

CREATE TABLE auth.sessions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    token_hash character varying(255) NOT NULL,
    refresh_token_hash character varying(255),
    ip_address inet NOT NULL,
    user_agent text,
    expires_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);

ALTER TABLE ONLY auth.sessions FORCE ROW LEVEL SECURITY;

CREATE TABLE auth.user_roles (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role_id uuid NOT NULL,
    granted_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    granted_by uuid,
    expires_at timestamp with time zone
);

ALTER TABLE ONLY auth.user_roles FORCE ROW LEVEL SECURITY;

CREATE TABLE auth.users (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    email character varying(255) NOT NULL,
    username character varying(100) NOT NULL,
    password_hash character varying(255) NOT NULL,
    mfa_secret character varying(255),
    mfa_enabled boolean DEFAULT false NOT NULL,
    email_verified boolean DEFAULT false NOT NULL,
    status character varying(50) DEFAULT 'active'::character varying NOT NULL,
    last_login_at timestamp with time zone,
    failed_login_attempts integer DEFAULT 0 NOT NULL,
    locked_until timestamp with time zone,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT users_status_check CHECK (((status)::text = ANY ((ARRAY['active'::character varying, 'inactive'::character varying, 'locked'::character varying, 'suspended'::character varying])::text[])))
);

ALTER TABLE ONLY auth.users FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY auth.api_keys
    ADD CONSTRAINT api_keys_name_unique UNIQUE (tenant_id, name);

ALTER TABLE ONLY auth.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY auth.permissions
    ADD CONSTRAINT permissions_name_key UNIQUE (name);

ALTER TABLE ONLY auth.permissions
    ADD CONSTRAINT permissions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY auth.permissions
    ADD CONSTRAINT permissions_unique UNIQUE (resource, action);

ALTER TABLE ONLY auth.role_permissions
    ADD CONSTRAINT role_permissions_pkey PRIMARY KEY (role_id, permission_id);

ALTER TABLE ONLY auth.roles
    ADD CONSTRAINT roles_name_unique UNIQUE (tenant_id, name);

ALTER TABLE ONLY auth.roles
    ADD CONSTRAINT roles_pkey PRIMARY KEY (id);

ALTER TABLE ONLY auth.roles
    ADD CONSTRAINT roles_tenant_id_unique UNIQUE (tenant_id, id);

ALTER TABLE ONLY auth.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY auth.sessions
    ADD CONSTRAINT sessions_refresh_token_hash_key UNIQUE (refresh_token_hash);

ALTER TABLE ONLY auth.sessions
    ADD CONSTRAINT sessions_token_hash_key UNIQUE (token_hash);

ALTER TABLE ONLY auth.user_roles
    ADD CONSTRAINT user_roles_pkey PRIMARY KEY (user_id, role_id);

ALTER TABLE ONLY auth.users
    ADD CONSTRAINT users_email_unique UNIQUE (tenant_id, email);

ALTER TABLE ONLY auth.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY auth.users
    ADD CONSTRAINT users_tenant_id_unique UNIQUE (tenant_id, id);

ALTER TABLE ONLY auth.users
    ADD CONSTRAINT users_username_unique UNIQUE (tenant_id, username);

CREATE INDEX idx_role_permissions_permission ON auth.role_permissions USING btree (permission_id);

CREATE INDEX idx_role_permissions_role ON auth.role_permissions USING btree (role_id);

CREATE INDEX idx_role_permissions_tenant ON auth.role_permissions USING btree (tenant_id, role_id);

CREATE INDEX idx_sessions_expires ON auth.sessions USING btree (expires_at) WHERE (revoked_at IS NULL);

CREATE INDEX idx_sessions_tenant ON auth.sessions USING btree (tenant_id, user_id);

CREATE INDEX idx_sessions_user ON auth.sessions USING btree (user_id);

CREATE INDEX idx_user_roles_granted_by ON auth.user_roles USING btree (tenant_id, granted_by);

CREATE INDEX idx_user_roles_role ON auth.user_roles USING btree (tenant_id, role_id);

CREATE INDEX idx_user_roles_user ON auth.user_roles USING btree (user_id);

CREATE INDEX idx_users_active ON auth.users USING btree (email) WHERE ((deleted_at IS NULL) AND ((status)::text = 'active'::text));

CREATE INDEX idx_users_email ON auth.users USING btree (email) WHERE (deleted_at IS NULL);

CREATE INDEX idx_users_mfa_enabled ON auth.users USING btree (id) WHERE (mfa_enabled = true);

CREATE INDEX idx_users_tenant ON auth.users USING btree (tenant_id) WHERE (deleted_at IS NULL);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON auth.api_keys FOR EACH ROW EXECUTE FUNCTION public.audit_changes('key_hash');

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON auth.permissions FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON auth.role_permissions FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON auth.roles FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON auth.user_roles FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON auth.users FOR EACH ROW EXECUTE FUNCTION public.audit_changes('password_hash', 'mfa_secret');

CREATE TRIGGER set_updated_at BEFORE UPDATE ON auth.roles FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON auth.users FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

CREATE TRIGGER settle_user BEFORE INSERT OR UPDATE ON auth.users FOR EACH ROW EXECUTE FUNCTION auth.settle_user();

ALTER TABLE ONLY auth.api_keys
    ADD CONSTRAINT api_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE ONLY auth.role_permissions
    ADD CONSTRAINT role_permissions_permission_id_fkey FOREIGN KEY (permission_id) REFERENCES auth.permissions(id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.role_permissions
    ADD CONSTRAINT role_permissions_role_fkey FOREIGN KEY (tenant_id, role_id) REFERENCES auth.roles(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.roles
    ADD CONSTRAINT roles_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE ONLY auth.sessions
    ADD CONSTRAINT sessions_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES auth.users(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.user_roles
    ADD CONSTRAINT user_roles_granted_by_fkey FOREIGN KEY (tenant_id, granted_by) REFERENCES auth.users(tenant_id, id);

ALTER TABLE ONLY auth.user_roles
    ADD CONSTRAINT user_roles_role_fkey FOREIGN KEY (tenant_id, role_id) REFERENCES auth.roles(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.user_roles
    ADD CONSTRAINT user_roles_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES auth.users(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY auth.users
    ADD CONSTRAINT users_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE auth.api_keys ENABLE ROW LEVEL SECURITY;

CREATE POLICY cleanup_delete ON auth.sessions FOR DELETE TO neo_owner USING (((current_setting('app.maintenance'::text, true) = 'cleanup'::text) AND (expires_at < now())));

CREATE POLICY cleanup_select ON auth.sessions FOR SELECT TO neo_owner USING (((current_setting('app.maintenance'::text, true) = 'cleanup'::text) AND (expires_at < now())));

ALTER TABLE auth.role_permissions ENABLE ROW LEVEL SECURITY;

ALTER TABLE auth.roles ENABLE ROW LEVEL SECURITY;

ALTER TABLE auth.sessions ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON auth.api_keys USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON auth.role_permissions USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON auth.roles USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON auth.sessions USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON auth.user_roles USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON auth.users USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE auth.user_roles ENABLE ROW LEVEL SECURITY;

ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA auth TO neo_app;
GRANT USAGE ON SCHEMA auth TO neo_backup;
GRANT USAGE ON SCHEMA auth TO neo_readonly;

REVOKE ALL ON FUNCTION auth.settle_user() FROM PUBLIC;

GRANT SELECT ON TABLE auth.api_keys TO neo_backup;
GRANT SELECT,INSERT ON TABLE auth.api_keys TO neo_app;

GRANT SELECT(id) ON TABLE auth.api_keys TO neo_readonly;

GRANT SELECT(tenant_id) ON TABLE auth.api_keys TO neo_readonly;

GRANT SELECT(name) ON TABLE auth.api_keys TO neo_readonly;

GRANT SELECT(service) ON TABLE auth.api_keys TO neo_readonly;

GRANT SELECT(roles) ON TABLE auth.api_keys TO neo_readonly;

GRANT SELECT(created_by) ON TABLE auth.api_keys TO neo_readonly;

GRANT SELECT(created_at) ON TABLE auth.api_keys TO neo_readonly;

GRANT SELECT(expires_at) ON TABLE auth.api_keys TO neo_readonly;

GRANT UPDATE(revoked_at) ON TABLE auth.api_keys TO neo_app;
GRANT SELECT(revoked_at) ON TABLE auth.api_keys TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE auth.permissions TO neo_app;
GRANT SELECT ON TABLE auth.permissions TO neo_backup;
GRANT SELECT ON TABLE auth.permissions TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE auth.role_permissions TO neo_app;
GRANT SELECT ON TABLE auth.role_permissions TO neo_backup;
GRANT SELECT ON TABLE auth.role_permissions TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE auth.roles TO neo_app;
GRANT SELECT ON TABLE auth.roles TO neo_backup;
GRANT SELECT ON TABLE auth.roles TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE auth.sessions TO neo_app;
GRANT SELECT ON TABLE auth.sessions TO neo_backup;

GRANT SELECT(id) ON TABLE auth.sessions TO neo_readonly;

GRANT SELECT(tenant_id) ON TABLE auth.sessions TO neo_readonly;

GRANT SELECT(user_id) ON TABLE auth.sessions TO neo_readonly;

GRANT SELECT(ip_address) ON TABLE auth.sessions TO neo_readonly;

GRANT SELECT(user_agent) ON TABLE auth.sessions TO neo_readonly;

GRANT SELECT(expires_at) ON TABLE auth.sessions TO neo_readonly;

GRANT SELECT(revoked_at) ON TABLE auth.sessions TO neo_readonly;

GRANT SELECT(created_at) ON TABLE auth.sessions TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE auth.user_roles TO neo_app;
GRANT SELECT ON TABLE auth.user_roles TO neo_backup;
GRANT SELECT ON TABLE auth.user_roles TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE auth.users TO neo_app;
GRANT SELECT ON TABLE auth.users TO neo_backup;

GRANT SELECT(id) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(tenant_id) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(email) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(username) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(mfa_enabled) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(email_verified) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(status) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(last_login_at) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(failed_login_attempts) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(locked_until) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(created_at) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(updated_at) ON TABLE auth.users TO neo_readonly;

GRANT SELECT(deleted_at) ON TABLE auth.users TO neo_readonly;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA auth GRANT USAGE ON SEQUENCES TO neo_app;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA auth GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO neo_app;
