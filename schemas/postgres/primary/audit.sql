CREATE SCHEMA audit;

CREATE FUNCTION audit.link(tenants uuid[], days date[], entries text[], digests bytea[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    DECLARE
        chain record;
        entry record;
        number bigint;
        head bytea;
        next bytea;
        linked bigint := 0;
    BEGIN
        FOR chain IN
            SELECT DISTINCT i.tenant, i.day FROM unnest(tenants, days) AS i (tenant, day)
            ORDER BY 1, 2
        LOOP
            INSERT INTO audit.chain_heads AS h (tenant_id, day, hash)
            VALUES (chain.tenant, chain.day, sha256(
                convert_to('neo_polystore audit chain 1', 'UTF8') || uuid_send(chain.tenant)
                || convert_to(to_char(chain.day, 'YYYY-MM-DD'), 'UTF8')
            ))
            ON CONFLICT (tenant_id, day) DO NOTHING;
            SELECT h.seq, h.hash INTO number, head FROM audit.chain_heads h
            WHERE h.tenant_id = chain.tenant AND h.day = chain.day FOR UPDATE;
            FOR entry IN
                SELECT i.id, i.digest
                FROM unnest(tenants, days, entries, digests) WITH ORDINALITY
                    AS i (tenant, day, id, digest, place)
                WHERE i.tenant = chain.tenant AND i.day = chain.day ORDER BY i.place
            LOOP
                next := sha256(head || entry.digest || convert_to(entry.id, 'UTF8'));
                INSERT INTO audit.chain_links (tenant_id, day, seq, entry_id, digest, hash)
                VALUES (chain.tenant, chain.day, number + 1, entry.id, entry.digest, next)
                ON CONFLICT ON CONSTRAINT chain_links_entry_unique DO NOTHING;
                IF FOUND THEN
                    number := number + 1;
                    head := next;
                    linked := linked + 1;
                END IF;
            END LOOP;
            UPDATE audit.chain_heads h
            SET seq = number, hash = head, linked_at = clock_timestamp()
            WHERE h.tenant_id = chain.tenant AND h.day = chain.day AND h.seq <> number;
        END LOOP;
        RETURN linked;
    END $$;

CREATE FUNCTION audit.note(action text, schema_name text, table_name text, record_id text, details jsonb DEFAULT NULL::jsonb, success boolean DEFAULT true, error_message text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        IF action IN ('INSERT', 'UPDATE', 'DELETE') OR action LIKE '%CLEANUP%' THEN
            RAISE EXCEPTION 'the database alone says %', action
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        PERFORM audit.record(action, schema_name, table_name, record_id, new_values => details,
            success => success, error_message => error_message);
    END
    $$;

CREATE FUNCTION audit.record(action text, schema_name text, table_name text, record_id text DEFAULT NULL::text, tenant_id uuid DEFAULT NULL::uuid, service_name text DEFAULT NULL::text, old_values jsonb DEFAULT NULL::jsonb, new_values jsonb DEFAULT NULL::jsonb, success boolean DEFAULT true, error_message text DEFAULT NULL::text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
        INSERT INTO monitoring.audit_logs (action, schema_name, table_name, record_id, actor,
            tenant_id, service_name, old_values, new_values, success, error_message)
        VALUES ($1, $2, $3, $4,
            coalesce(nullif(current_setting('app.current_user', true), ''), session_user),
            coalesce($5, nullif(current_setting('app.current_tenant', true), '')::uuid),
            coalesce(nullif(current_setting('app.current_service', true), ''), $6),
            $7, $8, $9, $10)
    $_$;

CREATE TABLE audit.chain_heads (
    tenant_id uuid NOT NULL,
    day date NOT NULL,
    seq bigint DEFAULT 0 NOT NULL,
    hash bytea NOT NULL,
    linked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE ONLY audit.chain_heads FORCE ROW LEVEL SECURITY;

CREATE TABLE audit.chain_links (
    tenant_id uuid NOT NULL,
    day date NOT NULL,
    seq bigint NOT NULL,
    entry_id text NOT NULL,
    digest bytea NOT NULL,
    hash bytea NOT NULL,
    linked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT chain_links_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT chain_links_entry_check CHECK (((octet_length(entry_id) >= 1) AND (octet_length(entry_id) <= 2000)))
);

ALTER TABLE ONLY audit.chain_links FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY audit.chain_heads
    ADD CONSTRAINT chain_heads_pkey PRIMARY KEY (tenant_id, day);

ALTER TABLE ONLY audit.chain_links
    ADD CONSTRAINT chain_links_entry_unique UNIQUE (tenant_id, day, entry_id);

ALTER TABLE ONLY audit.chain_links
    ADD CONSTRAINT chain_links_pkey PRIMARY KEY (tenant_id, day, seq);

ALTER TABLE audit.chain_heads ENABLE ROW LEVEL SECURITY;

ALTER TABLE audit.chain_links ENABLE ROW LEVEL SECURITY;

CREATE POLICY linking ON audit.chain_heads TO neo_owner USING (true) WITH CHECK (true);

CREATE POLICY linking ON audit.chain_links TO neo_owner USING (true) WITH CHECK (true);

CREATE POLICY tenant_isolation ON audit.chain_heads FOR SELECT USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON audit.chain_links FOR SELECT USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA audit TO neo_app;
GRANT USAGE ON SCHEMA audit TO neo_backup;
GRANT USAGE ON SCHEMA audit TO neo_readonly;

REVOKE ALL ON FUNCTION audit.link(tenants uuid[], days date[], entries text[], digests bytea[]) FROM PUBLIC;
GRANT ALL ON FUNCTION audit.link(tenants uuid[], days date[], entries text[], digests bytea[]) TO neo_app;

REVOKE ALL ON FUNCTION audit.note(action text, schema_name text, table_name text, record_id text, details jsonb, success boolean, error_message text) FROM PUBLIC;
GRANT ALL ON FUNCTION audit.note(action text, schema_name text, table_name text, record_id text, details jsonb, success boolean, error_message text) TO neo_app;

REVOKE ALL ON FUNCTION audit.record(action text, schema_name text, table_name text, record_id text, tenant_id uuid, service_name text, old_values jsonb, new_values jsonb, success boolean, error_message text) FROM PUBLIC;

GRANT SELECT ON TABLE audit.chain_heads TO neo_backup;
GRANT SELECT ON TABLE audit.chain_heads TO neo_app;
GRANT SELECT ON TABLE audit.chain_heads TO neo_readonly;

GRANT SELECT ON TABLE audit.chain_links TO neo_backup;
GRANT SELECT ON TABLE audit.chain_links TO neo_app;
GRANT SELECT ON TABLE audit.chain_links TO neo_readonly;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA audit GRANT USAGE ON SEQUENCES TO neo_app;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA audit GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO neo_app;
