CREATE SCHEMA enclave;

CREATE FUNCTION enclave.check_head() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        IF (NEW.owner, NEW.data_key, NEW.tenant_id)
                IS DISTINCT FROM (OLD.owner, OLD.data_key, OLD.tenant_id)
            OR NEW.version < OLD.version OR NEW.generation <= OLD.generation
            OR (NEW.mac <> OLD.mac AND NEW.deleted_at IS NOT NULL)
            OR (OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL
                AND NEW.version = OLD.version) THEN
            RAISE EXCEPTION 'the head of a sealed item only rises'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'sealed_heads_rise',
                    COLUMN = 'version', SCHEMA = 'enclave', TABLE = 'sealed_heads';
        END IF;
        RETURN NEW;
    END
    $$;

CREATE FUNCTION enclave.mark_deleted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        IF TG_TABLE_SCHEMA = 'enclave' THEN
            UPDATE enclave.sealed_heads h
            SET deleted_at = now(), generation = h.generation + 1
            WHERE h.owner = 'user:' || OLD.owner_id AND h.data_key = substr(OLD.data_key, 38)
                AND h.tenant_id = OLD.tenant_id AND h.deleted_at IS NULL;
        ELSE
            UPDATE enclave.sealed_heads h
            SET deleted_at = now(), generation = h.generation + 1
            WHERE h.owner = 'service:' || OLD.service_name AND h.data_key = OLD.item_key
                AND h.deleted_at IS NULL;
        END IF;
        RETURN NULL;
    END
    $$;

CREATE TABLE enclave.attestations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    enclave_id character varying(255) NOT NULL,
    mr_enclave character varying(96) NOT NULL,
    mr_signer character varying(96) NOT NULL,
    isv_prod_id integer NOT NULL,
    isv_svn integer NOT NULL,
    report_data character varying(128),
    quote bytea NOT NULL,
    attestation_type character varying(50) NOT NULL,
    status character varying(50) NOT NULL,
    verified_at timestamp with time zone,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    collateral text,
    verdict jsonb,
    policy jsonb,
    judged_at timestamp with time zone,
    root_ca bytea,
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

CREATE TABLE enclave.sealed_heads (
    owner character varying(263) NOT NULL COLLATE pg_catalog."C",
    data_key character varying(255) NOT NULL COLLATE pg_catalog."C",
    tenant_id uuid,
    version integer NOT NULL,
    generation bigint DEFAULT 1 NOT NULL,
    mac bytea NOT NULL,
    key_id character varying(255) NOT NULL,
    enclave_id character varying(255) NOT NULL,
    policy character varying(50) NOT NULL,
    measurement bytea,
    product_id integer,
    svn_floor integer,
    label character varying(200),
    policy_name character varying(100) DEFAULT ''::character varying NOT NULL,
    size_bytes bigint NOT NULL,
    attestation_id uuid,
    written_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    sealed_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT sealed_heads_mac_check CHECK ((octet_length(mac) = 32)),
    CONSTRAINT sealed_heads_owner_check CHECK ((((owner)::text ~~ 'user:%'::text) = (tenant_id IS NOT NULL))),
    CONSTRAINT sealed_heads_policy_check CHECK (((policy)::text = ANY ((ARRAY['MRENCLAVE'::character varying, 'MRSIGNER'::character varying, 'USER_DEFINED'::character varying])::text[]))),
    CONSTRAINT sealed_heads_version_check CHECK (((version > 0) AND (generation > 0)))
)
WITH (fillfactor='80');

ALTER TABLE ONLY enclave.sealed_heads FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY enclave.attestations
    ADD CONSTRAINT attestations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY enclave.computations
    ADD CONSTRAINT computations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY enclave.sealed_data
    ADD CONSTRAINT sealed_data_data_key_key UNIQUE (data_key);

ALTER TABLE ONLY enclave.sealed_data
    ADD CONSTRAINT sealed_data_pkey PRIMARY KEY (id);

ALTER TABLE ONLY enclave.sealed_heads
    ADD CONSTRAINT sealed_heads_pkey PRIMARY KEY (owner, data_key);

CREATE INDEX idx_attestations_expiry ON enclave.attestations USING btree (expires_at);

CREATE INDEX idx_computations_user ON enclave.computations USING btree (tenant_id, user_id);

CREATE INDEX idx_sealed_data_owner ON enclave.sealed_data USING btree (tenant_id, owner_id, data_key);

CREATE INDEX idx_sealed_heads_attestation ON enclave.sealed_heads USING btree (attestation_id) WHERE ((attestation_id IS NOT NULL) AND (deleted_at IS NULL));

CREATE INDEX idx_sealed_heads_key ON enclave.sealed_heads USING btree (key_id, owner, data_key) WHERE (deleted_at IS NULL);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON enclave.attestations FOR EACH ROW EXECUTE FUNCTION public.audit_changes('quote', 'collateral', 'root_ca');

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON enclave.computations FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON enclave.sealed_data FOR EACH ROW EXECUTE FUNCTION public.audit_changes('sealed_blob');

CREATE TRIGGER check_head BEFORE UPDATE ON enclave.sealed_heads FOR EACH ROW EXECUTE FUNCTION enclave.check_head();

CREATE TRIGGER mark_deleted AFTER DELETE ON enclave.sealed_data FOR EACH ROW EXECUTE FUNCTION enclave.mark_deleted();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON enclave.sealed_data FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY enclave.computations
    ADD CONSTRAINT computations_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES auth.users(tenant_id, id);

ALTER TABLE ONLY enclave.sealed_data
    ADD CONSTRAINT sealed_data_owner_fkey FOREIGN KEY (tenant_id, owner_id) REFERENCES auth.users(tenant_id, id);

CREATE POLICY cleaning ON enclave.sealed_heads FOR SELECT TO neo_owner USING ((current_setting('app.maintenance'::text, true) = 'cleanup'::text));

ALTER TABLE enclave.computations ENABLE ROW LEVEL SECURITY;

CREATE POLICY marking ON enclave.sealed_heads TO neo_owner USING ((pg_trigger_depth() > 0)) WITH CHECK ((pg_trigger_depth() > 0));

ALTER TABLE enclave.sealed_data ENABLE ROW LEVEL SECURITY;

ALTER TABLE enclave.sealed_heads ENABLE ROW LEVEL SECURITY;

CREATE POLICY service_isolation ON enclave.sealed_heads USING (((tenant_id IS NULL) AND ((owner)::text = ( SELECT ('service:'::text || NULLIF(current_setting('app.current_service'::text, true), ''::text)))))) WITH CHECK (((tenant_id IS NULL) AND ((owner)::text = ( SELECT ('service:'::text || NULLIF(current_setting('app.current_service'::text, true), ''::text))))));

CREATE POLICY surveying ON enclave.sealed_heads FOR SELECT TO neo_relay USING (true);

CREATE POLICY tenant_isolation ON enclave.computations USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON enclave.sealed_data USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON enclave.sealed_heads USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA enclave TO neo_app;
GRANT USAGE ON SCHEMA enclave TO neo_backup;
GRANT USAGE ON SCHEMA enclave TO neo_relay;

REVOKE ALL ON FUNCTION enclave.check_head() FROM PUBLIC;
GRANT ALL ON FUNCTION enclave.check_head() TO neo_app;

REVOKE ALL ON FUNCTION enclave.mark_deleted() FROM PUBLIC;
GRANT ALL ON FUNCTION enclave.mark_deleted() TO neo_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enclave.attestations TO neo_app;
GRANT SELECT ON TABLE enclave.attestations TO neo_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enclave.computations TO neo_app;
GRANT SELECT ON TABLE enclave.computations TO neo_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enclave.sealed_data TO neo_app;
GRANT SELECT ON TABLE enclave.sealed_data TO neo_backup;

GRANT SELECT ON TABLE enclave.sealed_heads TO neo_backup;
GRANT SELECT,INSERT,UPDATE ON TABLE enclave.sealed_heads TO neo_app;
GRANT SELECT ON TABLE enclave.sealed_heads TO neo_relay;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA enclave GRANT USAGE ON SEQUENCES TO neo_app;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA enclave GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO neo_app;
