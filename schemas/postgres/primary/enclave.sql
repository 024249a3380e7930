CREATE SCHEMA enclave;

CREATE TABLE enclave.attestations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    enclave_id character varying(255) NOT NULL,
    mr_enclave character varying(64) NOT NULL,
    mr_signer character varying(64) NOT NULL,
    isv_prod_id integer NOT NULL,
    isv_svn integer NOT NULL,
    report_data character varying(128),
    quote bytea NOT NULL,
    attestation_type character varying(50) NOT NULL,
    status character varying(50) NOT NULL,
    verified_at timestamp with time zone,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT attestations_type_check CHECK (((attestation_type)::text = ANY ((ARRAY['EPID'::character varying, 'DCAP'::character varying, 'ECDSA'::character varying])::text[])))
);

CREATE TABLE enclave.computations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    enclave_id character varying(255) NOT NULL,
    operation_type character varying(100) NOT NULL,
    input_hash character varying(64) NOT NULL,
    output_hash character varying(64),
    status character varying(50) DEFAULT 'pending'::character varying NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    error_message text,
    gas_used bigint,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT computations_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'running'::character varying, 'completed'::character varying, 'failed'::character varying, 'cancelled'::character varying])::text[])))
);

ALTER TABLE ONLY enclave.computations FORCE ROW LEVEL SECURITY;

CREATE TABLE enclave.sealed_data (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    owner_id uuid NOT NULL,
    enclave_id character varying(255) NOT NULL,
    data_key character varying(255) NOT NULL,
    sealed_blob bytea NOT NULL,
    mac character varying(64) NOT NULL,
    policy character varying(50) NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT sealed_data_policy_check CHECK (((policy)::text = ANY ((ARRAY['MRENCLAVE'::character varying, 'MRSIGNER'::character varying, 'USER_DEFINED'::character varying])::text[])))
);
ALTER TABLE ONLY enclave.sealed_data ALTER COLUMN sealed_blob SET STORAGE EXTERNAL;

ALTER TABLE ONLY enclave.sealed_data FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY enclave.attestations
    ADD CONSTRAINT attestations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY enclave.computations
    ADD CONSTRAINT computations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY enclave.sealed_data
    ADD CONSTRAINT sealed_data_data_key_key UNIQUE (data_key);

ALTER TABLE ONLY enclave.sealed_data
    ADD CONSTRAINT sealed_data_pkey PRIMARY KEY (id);

CREATE INDEX idx_attestations_expiry ON enclave.attestations USING btree (expires_at);

CREATE INDEX idx_computations_user ON enclave.computations USING btree (tenant_id, user_id);

CREATE INDEX idx_sealed_data_owner ON enclave.sealed_data USING btree (tenant_id, owner_id);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON enclave.attestations FOR EACH ROW EXECUTE FUNCTION public.audit_changes('quote');

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON enclave.computations FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON enclave.sealed_data FOR EACH ROW EXECUTE FUNCTION public.audit_changes('sealed_blob');

CREATE TRIGGER set_updated_at BEFORE UPDATE ON enclave.sealed_data FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY enclave.computations
    ADD CONSTRAINT computations_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES auth.users(tenant_id, id);

ALTER TABLE ONLY enclave.sealed_data
    ADD CONSTRAINT sealed_data_owner_fkey FOREIGN KEY (tenant_id, owner_id) REFERENCES auth.users(tenant_id, id);

ALTER TABLE enclave.computations ENABLE ROW LEVEL SECURITY;

ALTER TABLE enclave.sealed_data ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON enclave.computations USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON enclave.sealed_data USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA enclave TO neo_app;
GRANT USAGE ON SCHEMA enclave TO neo_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enclave.attestations TO neo_app;
GRANT SELECT ON TABLE enclave.attestations TO neo_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enclave.computations TO neo_app;
GRANT SELECT ON TABLE enclave.computations TO neo_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enclave.sealed_data TO neo_app;
GRANT SELECT ON TABLE enclave.sealed_data TO neo_backup;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA enclave GRANT USAGE ON SEQUENCES TO neo_app;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA enclave GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO neo_app;
