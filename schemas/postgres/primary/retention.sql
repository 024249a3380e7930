CREATE SCHEMA retention;

CREATE FUNCTION retention.guard(data_type text, seen bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(hashtext('retention.holds'), hashtext(data_type));
        IF seen IS DISTINCT FROM (
            SELECT coalesce(max(id), 0) FROM retention.holds WHERE guard.data_type = ANY(data_types)
        ) THEN
            RAISE EXCEPTION 'a hold on % was added meanwhile', data_type
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END $$;

CREATE FUNCTION retention.lock_transaction_year(year integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        IF year IS NULL OR year NOT BETWEEN 1970 AND extract(year FROM now()) - 1 THEN
            RAISE EXCEPTION 'year must be a past one from 1970 on, got %', year
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        EXECUTE format('LOCK TABLE blockchain.%I IN SHARE MODE', 'transactions_' || year);
    END $$;

CREATE TABLE retention.deletions (
    id bigint NOT NULL,
    data_type text NOT NULL,
    holder text NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    deadline timestamp with time zone NOT NULL
);

ALTER TABLE retention.deletions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME retention.deletions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE retention.holds (
    id bigint NOT NULL,
    data_types text[] NOT NULL,
    tenant uuid,
    key text,
    conditions jsonb DEFAULT '[]'::jsonb NOT NULL,
    since timestamp with time zone,
    until timestamp with time zone,
    words text,
    reason text NOT NULL,
    added_by text NOT NULL,
    added_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    in_force_at timestamp with time zone,
    released_by text,
    released_at timestamp with time zone,
    release_reason text,
    CONSTRAINT holds_conditions_check CHECK ((jsonb_typeof(conditions) = 'array'::text)),
    CONSTRAINT holds_data_types_check CHECK ((cardinality(data_types) > 0)),
    CONSTRAINT holds_reason_check CHECK ((reason <> ''::text)),
    CONSTRAINT holds_release_check CHECK ((((released_at IS NULL) = (release_reason IS NULL)) AND ((released_at IS NULL) = (released_by IS NULL)))),
    CONSTRAINT holds_release_reason_check CHECK ((release_reason <> ''::text))
);

ALTER TABLE retention.holds ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME retention.holds_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY retention.deletions
    ADD CONSTRAINT deletions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY retention.holds
    ADD CONSTRAINT holds_pkey PRIMARY KEY (id);

CREATE INDEX idx_holds_open ON retention.holds USING btree (id) WHERE (released_at IS NULL);

GRANT USAGE ON SCHEMA retention TO neo_backup;
GRANT USAGE ON SCHEMA retention TO neo_app;
GRANT USAGE ON SCHEMA retention TO neo_relay;
GRANT USAGE ON SCHEMA retention TO neo_retention;

REVOKE ALL ON FUNCTION retention.guard(data_type text, seen bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION retention.guard(data_type text, seen bigint) TO neo_app;
GRANT ALL ON FUNCTION retention.guard(data_type text, seen bigint) TO neo_relay;
GRANT ALL ON FUNCTION retention.guard(data_type text, seen bigint) TO neo_retention;

REVOKE ALL ON FUNCTION retention.lock_transaction_year(year integer) FROM PUBLIC;
GRANT ALL ON FUNCTION retention.lock_transaction_year(year integer) TO neo_app;
GRANT ALL ON FUNCTION retention.lock_transaction_year(year integer) TO neo_relay;

GRANT SELECT ON TABLE retention.deletions TO neo_backup;
GRANT SELECT,INSERT,DELETE ON TABLE retention.deletions TO neo_relay;

GRANT SELECT ON SEQUENCE retention.deletions_id_seq TO neo_backup;

GRANT SELECT ON TABLE retention.holds TO neo_backup;
GRANT SELECT,INSERT ON TABLE retention.holds TO neo_relay;

GRANT UPDATE(in_force_at) ON TABLE retention.holds TO neo_relay;

GRANT UPDATE(released_by) ON TABLE retention.holds TO neo_relay;

GRANT UPDATE(released_at) ON TABLE retention.holds TO neo_relay;

GRANT UPDATE(release_reason) ON TABLE retention.holds TO neo_relay;

GRANT SELECT ON SEQUENCE retention.holds_id_seq TO neo_backup;
