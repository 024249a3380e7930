CREATE SCHEMA automation;

CREATE TABLE automation.jobs (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name character varying(255) NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    status character varying(50) DEFAULT 'active'::character varying NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT jobs_status_check CHECK (((status)::text = ANY ((ARRAY['active'::character varying, 'paused'::character varying, 'running'::character varying, 'completed'::character varying, 'failed'::character varying, 'cancelled'::character varying])::text[])))
);

ALTER TABLE ONLY automation.jobs FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY automation.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);

CREATE INDEX idx_jobs_status ON automation.jobs USING btree (tenant_id, status, created_at);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON automation.jobs FOR EACH ROW EXECUTE FUNCTION public.audit_changes('payload');

CREATE TRIGGER set_updated_at BEFORE UPDATE ON automation.jobs FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY automation.jobs
    ADD CONSTRAINT jobs_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE automation.jobs ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON automation.jobs USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA automation TO neo_app;
GRANT USAGE ON SCHEMA automation TO neo_backup;
GRANT USAGE ON SCHEMA automation TO neo_readonly;
GRANT USAGE ON SCHEMA automation TO neo_automation_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE automation.jobs TO neo_app;
GRANT SELECT ON TABLE automation.jobs TO neo_backup;
GRANT SELECT ON TABLE automation.jobs TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE automation.jobs TO neo_automation_user;
