CREATE SCHEMA storage;

CREATE TABLE storage.objects (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    bucket character varying(63) NOT NULL,
    object_key character varying(1024) NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 character varying(64) NOT NULL,
    content_type character varying(255) DEFAULT 'application/octet-stream'::character varying NOT NULL,
    ipfs_cid character varying(255),
    created_date date DEFAULT CURRENT_DATE NOT NULL,
    CONSTRAINT objects_sha256_check CHECK (((sha256)::text ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT objects_size_check CHECK ((size_bytes >= 0))
);

ALTER TABLE ONLY storage.objects FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY storage.objects
    ADD CONSTRAINT objects_key_unique UNIQUE (tenant_id, bucket, object_key);

ALTER TABLE ONLY storage.objects
    ADD CONSTRAINT objects_pkey PRIMARY KEY (id);

CREATE INDEX idx_objects_created ON storage.objects USING btree (created_date);

CREATE INDEX idx_objects_sha256 ON storage.objects USING btree (sha256);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON storage.objects FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

ALTER TABLE ONLY storage.objects
    ADD CONSTRAINT objects_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE storage.objects ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON storage.objects USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA storage TO neo_app;
GRANT USAGE ON SCHEMA storage TO neo_backup;
GRANT USAGE ON SCHEMA storage TO neo_readonly;
GRANT USAGE ON SCHEMA storage TO neo_storage_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE storage.objects TO neo_app;
GRANT SELECT ON TABLE storage.objects TO neo_backup;
GRANT SELECT ON TABLE storage.objects TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE storage.objects TO neo_storage_user;
