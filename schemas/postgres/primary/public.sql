CREATE FUNCTION public.audit_changes() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    DECLARE
        hidden text[] := coalesce(TG_ARGV, '{}');
        nothing jsonb := (SELECT coalesce(jsonb_object_agg(name, NULL::text), '{}')
                          FROM unnest(hidden) AS name);
        before jsonb;
        after jsonb;
        kept jsonb;
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            before := to_jsonb(jsonb_populate_record(OLD, nothing)) - hidden;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            after := to_jsonb(jsonb_populate_record(NEW, nothing)) - hidden;
        END IF;
        kept := coalesce(after, before);
        PERFORM audit.record(
            TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME,
            -- rows that only join two others have no id of their own
            coalesce(kept ->> 'id', concat_ws('/', kept ->> 'user_id', kept ->> 'role_id',
                kept ->> 'permission_id')),
            (kept ->> 'tenant_id')::uuid, kept ->> 'service_name', before, after);
        RETURN NULL;
    END
    $$;

CREATE FUNCTION public.cleanup_expired_data() RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    DECLARE
        removed jsonb := '{}';
        count bigint;
    BEGIN
        PERFORM set_config('app.maintenance', 'cleanup', true);
        DELETE FROM auth.sessions WHERE expires_at < now();
        GET DIAGNOSTICS count = ROW_COUNT;
        removed := removed || jsonb_build_object('sessions', count);
        DELETE FROM sgx.sealed_data_items WHERE expires_at < now();
        GET DIAGNOSTICS count = ROW_COUNT;
        removed := removed || jsonb_build_object('sealed_data_items', count);
        DELETE FROM sgx.enclave_attestations WHERE expires_at < now();
        GET DIAGNOSTICS count = ROW_COUNT;
        removed := removed || jsonb_build_object('enclave_attestations', count);
        DELETE FROM enclave.attestations a WHERE a.expires_at < now()
            AND NOT EXISTS (SELECT FROM sgx.enclave_attestations l WHERE l.attestation_id = a.id)
            AND NOT EXISTS (SELECT FROM enclave.sealed_heads h
                WHERE h.attestation_id = a.id AND h.deleted_at IS NULL);
        GET DIAGNOSTICS count = ROW_COUNT;
        removed := removed || jsonb_build_object('attestations', count);
        PERFORM set_config('app.maintenance', '', true);
        PERFORM audit.record('CLEANUP_EXPIRED_DATA', NULL, NULL, new_values => removed);
        RETURN removed;
    END
    $$;

CREATE TABLE public.schema_revisions (
    environment text NOT NULL,
    revision text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY public.schema_revisions
    ADD CONSTRAINT schema_revisions_pkey PRIMARY KEY (environment, revision);

REVOKE USAGE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO neo_app;
GRANT USAGE ON SCHEMA public TO neo_relay;
GRANT USAGE ON SCHEMA public TO neo_backup;

REVOKE ALL ON FUNCTION public.audit_changes() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.cleanup_expired_data() FROM PUBLIC;
GRANT ALL ON FUNCTION public.cleanup_expired_data() TO neo_relay;

GRANT SELECT ON TABLE public.schema_revisions TO neo_backup;
