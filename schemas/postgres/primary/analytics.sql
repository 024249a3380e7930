CREATE SCHEMA analytics;

CREATE TABLE analytics.model_runs (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name character varying(255) NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    status character varying(50) DEFAULT 'pending'::character varying NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT model_runs_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'running'::character varying, 'completed'::character varying, 'failed'::character varying, 'cancelled'::character varying])::text[])))
);

ALTER TABLE ONLY analytics.model_runs FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY analytics.model_runs
    ADD CONSTRAINT model_runs_pkey PRIMARY KEY (id);

CREATE INDEX idx_model_runs_status ON analytics.model_runs USING btree (tenant_id, status, created_at);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON analytics.model_runs FOR EACH ROW EXECUTE FUNCTION public.audit_changes('payload');

CREATE TRIGGER set_updated_at BEFORE UPDATE ON analytics.model_runs FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY analytics.model_runs
    ADD CONSTRAINT model_runs_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE analytics.model_runs ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON analytics.model_runs USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA analytics TO neo_app;
GRANT USAGE ON SCHEMA analytics TO neo_backup;
GRANT USAGE ON SCHEMA analytics TO neo_readonly;
GRANT USAGE ON SCHEMA analytics TO neo_analytics_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE analytics.model_runs TO neo_app;
GRANT SELECT ON TABLE analytics.model_runs TO neo_backup;
GRANT SELECT ON TABLE analytics.model_runs TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE analytics.model_runs TO neo_analytics_user;
