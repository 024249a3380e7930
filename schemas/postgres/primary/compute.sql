CREATE SCHEMA compute;

CREATE TABLE compute.computation_permissions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    computation_id uuid NOT NULL,
    principal_type character varying(50) NOT NULL,
    principal_id character varying(255) NOT NULL,
    permission character varying(50) NOT NULL,
    granted_by uuid,
    granted_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    expires_at timestamp with time zone,
    CONSTRAINT computation_permissions_permission_check CHECK (((permission)::text = ANY ((ARRAY['read'::character varying, 'execute'::character varying, 'admin'::character varying])::text[]))),
    CONSTRAINT computation_permissions_principal_check CHECK (((principal_type)::text = ANY ((ARRAY['user'::character varying, 'role'::character varying, 'service'::character varying])::text[])))
);

ALTER TABLE ONLY compute.computation_permissions FORCE ROW LEVEL SECURITY;

CREATE TABLE compute.computation_results (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    computation_id uuid NOT NULL,
    status_id uuid,
    result jsonb NOT NULL,
    output_hash character varying(64),
    gas_used bigint,
    proof bytea,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT computation_results_gas_check CHECK ((gas_used >= 0))
);

ALTER TABLE ONLY compute.computation_results FORCE ROW LEVEL SECURITY;

CREATE TABLE compute.computation_statuses (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    computation_id uuid NOT NULL,
    status character varying(50) DEFAULT 'pending'::character varying NOT NULL,
    attempt integer DEFAULT 1 NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    error_message text,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT computation_statuses_attempt_check CHECK ((attempt > 0)),
    CONSTRAINT computation_statuses_period_check CHECK ((completed_at >= started_at)),
    CONSTRAINT computation_statuses_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'running'::character varying, 'completed'::character varying, 'failed'::character varying, 'cancelled'::character varying])::text[])))
);

ALTER TABLE ONLY compute.computation_statuses FORCE ROW LEVEL SECURITY;

CREATE TABLE compute.computations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    name character varying(255) NOT NULL,
    description text,
    blockchain_type character varying(50) NOT NULL,
    computation_type character varying(50) NOT NULL,
    code_hash character varying(64),
    is_active boolean DEFAULT true NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_by uuid,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT computations_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY compute.computations FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY compute.computation_permissions
    ADD CONSTRAINT computation_permissions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY compute.computation_permissions
    ADD CONSTRAINT computation_permissions_unique UNIQUE (computation_id, principal_type, principal_id, permission);

ALTER TABLE ONLY compute.computation_results
    ADD CONSTRAINT computation_results_pkey PRIMARY KEY (id);

ALTER TABLE ONLY compute.computation_statuses
    ADD CONSTRAINT computation_statuses_pkey PRIMARY KEY (id);

ALTER TABLE ONLY compute.computation_statuses
    ADD CONSTRAINT computation_statuses_whole_unique UNIQUE (tenant_id, computation_id, id);

ALTER TABLE ONLY compute.computations
    ADD CONSTRAINT computations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY compute.computations
    ADD CONSTRAINT computations_tenant_id_unique UNIQUE (tenant_id, id);

CREATE INDEX idx_active_computations ON compute.computations USING btree (blockchain_type) WHERE (is_active = true);

CREATE INDEX idx_computation_permissions_computation ON compute.computation_permissions USING btree (tenant_id, computation_id);

CREATE INDEX idx_computation_permissions_granted_by ON compute.computation_permissions USING btree (tenant_id, granted_by);

CREATE INDEX idx_computation_results_status ON compute.computation_results USING btree (tenant_id, computation_id, status_id);

CREATE INDEX idx_computation_statuses_unfinished ON compute.computation_statuses USING btree (status, created_at) WHERE ((status)::text = ANY ((ARRAY['pending'::character varying, 'running'::character varying])::text[]));

CREATE INDEX idx_computations_created_by ON compute.computations USING btree (tenant_id, created_by);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON compute.computation_permissions FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON compute.computation_results FOR EACH ROW EXECUTE FUNCTION public.audit_changes('result', 'proof');

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON compute.computations FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON compute.computations FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY compute.computation_permissions
    ADD CONSTRAINT computation_permissions_computation_fkey FOREIGN KEY (tenant_id, computation_id) REFERENCES compute.computations(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY compute.computation_permissions
    ADD CONSTRAINT computation_permissions_granted_by_fkey FOREIGN KEY (tenant_id, granted_by) REFERENCES auth.users(tenant_id, id);

ALTER TABLE ONLY compute.computation_results
    ADD CONSTRAINT computation_results_computation_fkey FOREIGN KEY (tenant_id, computation_id) REFERENCES compute.computations(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY compute.computation_results
    ADD CONSTRAINT computation_results_status_fkey FOREIGN KEY (tenant_id, computation_id, status_id) REFERENCES compute.computation_statuses(tenant_id, computation_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY compute.computation_statuses
    ADD CONSTRAINT computation_statuses_computation_fkey FOREIGN KEY (tenant_id, computation_id) REFERENCES compute.computations(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY compute.computations
    ADD CONSTRAINT computations_created_by_fkey FOREIGN KEY (tenant_id, created_by) REFERENCES auth.users(tenant_id, id);

ALTER TABLE ONLY compute.computations
    ADD CONSTRAINT computations_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE compute.computation_permissions ENABLE ROW LEVEL SECURITY;

ALTER TABLE compute.computation_results ENABLE ROW LEVEL SECURITY;

ALTER TABLE compute.computation_statuses ENABLE ROW LEVEL SECURITY;

ALTER TABLE compute.computations ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON compute.computation_permissions USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON compute.computation_results USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON compute.computation_statuses USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON compute.computations USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA compute TO neo_app;
GRANT USAGE ON SCHEMA compute TO neo_backup;
GRANT USAGE ON SCHEMA compute TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE compute.computation_permissions TO neo_app;
GRANT SELECT ON TABLE compute.computation_permissions TO neo_backup;
GRANT SELECT ON TABLE compute.computation_permissions TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE compute.computation_results TO neo_app;
GRANT SELECT ON TABLE compute.computation_results TO neo_backup;
GRANT SELECT ON TABLE compute.computation_results TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE compute.computation_statuses TO neo_app;
GRANT SELECT ON TABLE compute.computation_statuses TO neo_backup;
GRANT SELECT ON TABLE compute.computation_statuses TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE compute.computations TO neo_app;
GRANT SELECT ON TABLE compute.computations TO neo_backup;
GRANT SELECT ON TABLE compute.computations TO neo_readonly;
