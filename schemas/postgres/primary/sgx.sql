CREATE SCHEMA sgx;

CREATE FUNCTION sgx.measure_item() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        NEW.size_bytes := octet_length(NEW.sealed_data);
        RETURN NEW;
    END
    $$;

CREATE TABLE sgx.enclave_attestations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    service_name character varying(255) NOT NULL,
    sealed_item_id uuid NOT NULL,
    attestation_id uuid NOT NULL,
    status character varying(50) DEFAULT 'pending'::character varying NOT NULL,
    verified_at timestamp with time zone,
    expires_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT enclave_attestations_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'verified'::character varying, 'rejected'::character varying, 'revoked'::character varying, 'expired'::character varying])::text[])))
);

ALTER TABLE ONLY sgx.enclave_attestations FORCE ROW LEVEL SECURITY;

CREATE TABLE sgx.sealed_data_items (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    service_name character varying(255) NOT NULL,
    item_key character varying(255) NOT NULL,
    sealed_data bytea NOT NULL,
    mac character varying(64),
    content_hash character varying(64),
    policy_id uuid,
    size_bytes bigint DEFAULT 0 NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    expires_at timestamp with time zone,
    last_accessed_at timestamp with time zone,
    access_count bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT sealed_data_items_version_check CHECK ((version > 0))
);
ALTER TABLE ONLY sgx.sealed_data_items ALTER COLUMN sealed_data SET STORAGE EXTERNAL;

ALTER TABLE ONLY sgx.sealed_data_items FORCE ROW LEVEL SECURITY;

CREATE TABLE sgx.sealing_policies (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name character varying(100) NOT NULL,
    policy_type character varying(50) NOT NULL,
    retention_days integer DEFAULT 90 NOT NULL,
    key_rotation_days integer,
    allowed_enclaves text[] DEFAULT '{}'::text[] NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    svn_floor integer,
    attestation_max_age interval,
    attestation_policy jsonb,
    CONSTRAINT sealing_policies_attestation_check CHECK ((attestation_max_age > '00:00:00'::interval)),
    CONSTRAINT sealing_policies_days_check CHECK (((retention_days > 0) AND (key_rotation_days > 0))),
    CONSTRAINT sealing_policies_svn_check CHECK (((svn_floor >= 0) AND (svn_floor <= 65535))),
    CONSTRAINT sealing_policies_type_check CHECK (((policy_type)::text = ANY ((ARRAY['MRENCLAVE'::character varying, 'MRSIGNER'::character varying, 'USER_DEFINED'::character varying])::text[])))
);

ALTER TABLE ONLY sgx.enclave_attestations
    ADD CONSTRAINT enclave_attestations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY sgx.sealed_data_items
    ADD CONSTRAINT sealed_data_items_key_unique UNIQUE (service_name, item_key);

ALTER TABLE ONLY sgx.sealed_data_items
    ADD CONSTRAINT sealed_data_items_pkey PRIMARY KEY (id);

ALTER TABLE ONLY sgx.sealed_data_items
    ADD CONSTRAINT sealed_data_items_service_id_unique UNIQUE (id, service_name);

ALTER TABLE ONLY sgx.sealing_policies
    ADD CONSTRAINT sealing_policies_name_key UNIQUE (name);

ALTER TABLE ONLY sgx.sealing_policies
    ADD CONSTRAINT sealing_policies_pkey PRIMARY KEY (id);

CREATE INDEX idx_enclave_attestations_attestation ON sgx.enclave_attestations USING btree (attestation_id);

CREATE INDEX idx_enclave_attestations_expiry ON sgx.enclave_attestations USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE INDEX idx_enclave_attestations_item ON sgx.enclave_attestations USING btree (service_name, sealed_item_id);

CREATE INDEX idx_sealed_data_expiry ON sgx.sealed_data_items USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE INDEX idx_sealed_data_policy ON sgx.sealed_data_items USING btree (policy_id);

CREATE INDEX idx_sealed_data_service_expiry ON sgx.sealed_data_items USING btree (service_name, expires_at) WHERE (expires_at IS NOT NULL);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON sgx.enclave_attestations FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON sgx.sealing_policies FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_sealed_data_changes AFTER INSERT OR DELETE OR UPDATE ON sgx.sealed_data_items FOR EACH ROW EXECUTE FUNCTION public.audit_changes('sealed_data');

CREATE TRIGGER mark_deleted AFTER DELETE ON sgx.sealed_data_items FOR EACH ROW EXECUTE FUNCTION enclave.mark_deleted();

CREATE TRIGGER measure_item BEFORE INSERT OR UPDATE OF sealed_data, size_bytes ON sgx.sealed_data_items FOR EACH ROW EXECUTE FUNCTION sgx.measure_item();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON sgx.sealed_data_items FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY sgx.enclave_attestations
    ADD CONSTRAINT enclave_attestations_attestation_id_fkey FOREIGN KEY (attestation_id) REFERENCES enclave.attestations(id);

ALTER TABLE ONLY sgx.enclave_attestations
    ADD CONSTRAINT enclave_attestations_item_fkey FOREIGN KEY (service_name, sealed_item_id) REFERENCES sgx.sealed_data_items(service_name, id) ON DELETE CASCADE;

ALTER TABLE ONLY sgx.sealed_data_items
    ADD CONSTRAINT sealed_data_items_policy_id_fkey FOREIGN KEY (policy_id) REFERENCES sgx.sealing_policies(id);

CREATE POLICY cleanup_delete ON sgx.enclave_attestations FOR DELETE TO neo_owner USING (((current_setting('app.maintenance'::text, true) = 'cleanup'::text) AND true));

CREATE POLICY cleanup_delete ON sgx.sealed_data_items FOR DELETE TO neo_owner USING (((current_setting('app.maintenance'::text, true) = 'cleanup'::text) AND (expires_at < now())));

CREATE POLICY cleanup_select ON sgx.enclave_attestations FOR SELECT TO neo_owner USING (((current_setting('app.maintenance'::text, true) = 'cleanup'::text) AND true));

CREATE POLICY cleanup_select ON sgx.sealed_data_items FOR SELECT TO neo_owner USING (((current_setting('app.maintenance'::text, true) = 'cleanup'::text) AND (expires_at < now())));

ALTER TABLE sgx.enclave_attestations ENABLE ROW LEVEL SECURITY;

ALTER TABLE sgx.sealed_data_items ENABLE ROW LEVEL SECURITY;

CREATE POLICY service_isolation ON sgx.enclave_attestations USING (((service_name)::text = ( SELECT NULLIF(current_setting('app.current_service'::text, true), ''::text) AS "nullif"))) WITH CHECK (((service_name)::text = ( SELECT NULLIF(current_setting('app.current_service'::text, true), ''::text) AS "nullif")));

CREATE POLICY service_isolation ON sgx.sealed_data_items USING (((service_name)::text = ( SELECT NULLIF(current_setting('app.current_service'::text, true), ''::text) AS "nullif"))) WITH CHECK (((service_name)::text = ( SELECT NULLIF(current_setting('app.current_service'::text, true), ''::text) AS "nullif")));

GRANT USAGE ON SCHEMA sgx TO neo_app;
GRANT USAGE ON SCHEMA sgx TO neo_backup;

REVOKE ALL ON FUNCTION sgx.measure_item() FROM PUBLIC;
GRANT ALL ON FUNCTION sgx.measure_item() TO neo_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sgx.enclave_attestations TO neo_app;
GRANT SELECT ON TABLE sgx.enclave_attestations TO neo_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sgx.sealed_data_items TO neo_app;
GRANT SELECT ON TABLE sgx.sealed_data_items TO neo_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sgx.sealing_policies TO neo_app;
GRANT SELECT ON TABLE sgx.sealing_policies TO neo_backup;
