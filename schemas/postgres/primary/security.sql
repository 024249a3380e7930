CREATE SCHEMA security;

CREATE TABLE security.secrets (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name character varying(255) NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    status character varying(50) DEFAULT 'active'::character varying NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT secrets_status_check CHECK (((status)::text = ANY ((ARRAY['active'::character varying, 'rotated'::character varying, 'revoked'::character varying, 'expired'::character varying])::text[])))
);

ALTER TABLE ONLY security.secrets FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY security.secrets
    ADD CONSTRAINT secrets_name_unique UNIQUE (tenant_id, name);

ALTER TABLE ONLY security.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (id);

CREATE INDEX idx_secrets_status ON security.secrets USING btree (tenant_id, status, created_at);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON security.secrets FOR EACH ROW EXECUTE FUNCTION public.audit_changes('payload');

CREATE TRIGGER set_updated_at BEFORE UPDATE ON security.secrets FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY security.secrets
    ADD CONSTRAINT secrets_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE security.secrets ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON security.secrets USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA security TO neo_app;
GRANT USAGE ON SCHEMA security TO neo_backup;
GRANT USAGE ON SCHEMA security TO neo_readonly;
GRANT USAGE ON SCHEMA security TO neo_security_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE security.secrets TO neo_app;
GRANT SELECT ON TABLE security.secrets TO neo_backup;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE security.secrets TO neo_security_user;

GRANT SELECT(id) ON TABLE security.secrets TO neo_readonly;

GRANT SELECT(tenant_id) ON TABLE security.secrets TO neo_readonly;

GRANT SELECT(name) ON TABLE security.secrets TO neo_readonly;

GRANT SELECT(status) ON TABLE security.secrets TO neo_readonly;

GRANT SELECT(created_at) ON TABLE security.secrets TO neo_readonly;

GRANT SELECT(updated_at) ON TABLE security.secrets TO neo_readonly;
