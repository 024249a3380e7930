CREATE SCHEMA reporting;

CREATE TABLE reporting.reports (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name character varying(255) NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    status character varying(50) DEFAULT 'pending'::character varying NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT reports_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'running'::character varying, 'completed'::character varying, 'failed'::character varying, 'cancelled'::character varying])::text[])))
);

ALTER TABLE ONLY reporting.reports FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY reporting.reports
    ADD CONSTRAINT reports_pkey PRIMARY KEY (id);

CREATE INDEX idx_reports_status ON reporting.reports USING btree (tenant_id, status, created_at);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON reporting.reports FOR EACH ROW EXECUTE FUNCTION public.audit_changes('payload');

CREATE TRIGGER set_updated_at BEFORE UPDATE ON reporting.reports FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY reporting.reports
    ADD CONSTRAINT reports_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE reporting.reports ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON reporting.reports USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA reporting TO neo_app;
GRANT USAGE ON SCHEMA reporting TO neo_backup;
GRANT USAGE ON SCHEMA reporting TO neo_readonly;
GRANT USAGE ON SCHEMA reporting TO neo_reporting_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE reporting.reports TO neo_app;
GRANT SELECT ON TABLE reporting.reports TO neo_backup;
GRANT SELECT ON TABLE reporting.reports TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE reporting.reports TO neo_reporting_user;
