CREATE FUNCTION public.events_announce() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(
            (1::bigint << 62) | coalesce(pg_sequence_last_value('events_position_seq'), 0)
        );
        RETURN NULL;
    END $$;

CREATE FUNCTION public.events_horizon() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    DECLARE
        drawn bigint;
        announced bigint;
    BEGIN
        IF pg_is_in_recovery() THEN
            RAISE 'a standby does not know who is appending: read the feed on the primary'
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        -- the order of these two statements is the proof: see stores/event_store/feed.py
        drawn := coalesce(pg_sequence_last_value('events_position_seq'), 0);
        SELECT min((classid::bigint << 32 | objid::bigint) & ~(1::bigint << 62)) INTO announced
        FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 30 = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
        RETURN least(drawn, announced);
    END $$;

CREATE FUNCTION public.events_refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_user = 'neo_retention' THEN
            RETURN NULL;
        END IF;
        RAISE 'events are immutable: % is refused', TG_OP
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Correct an event by appending another; only neo_retention may delete.';
    END $$;

CREATE TABLE public.aggregates (
    aggregate_id uuid NOT NULL,
    aggregate_type character varying(255) NOT NULL,
    current_version integer NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE public.events (
    event_id uuid DEFAULT gen_random_uuid() NOT NULL,
    aggregate_id uuid NOT NULL,
    aggregate_type character varying(255) NOT NULL,
    event_type character varying(255) NOT NULL,
    event_version integer NOT NULL,
    event_data jsonb NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    user_id uuid,
    correlation_id uuid,
    causation_id uuid,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    "position" bigint NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    CONSTRAINT events_version_check CHECK ((event_version > 0))
);

ALTER TABLE public.events ALTER COLUMN "position" ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.events_position_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.projections (
    projection_id uuid DEFAULT gen_random_uuid() NOT NULL,
    projection_name character varying(255) NOT NULL,
    last_processed_event_id uuid,
    last_processed_timestamp timestamp with time zone,
    checkpoint_data jsonb,
    status character varying(50) DEFAULT 'active'::character varying NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);

CREATE TABLE public.schema_revisions (
    environment text NOT NULL,
    revision text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.snapshots (
    snapshot_id uuid DEFAULT gen_random_uuid() NOT NULL,
    aggregate_id uuid NOT NULL,
    aggregate_type character varying(255) NOT NULL,
    snapshot_version integer NOT NULL,
    snapshot_data jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);

ALTER TABLE ONLY public.aggregates
    ADD CONSTRAINT aggregates_pkey PRIMARY KEY (aggregate_id);

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_position_unique UNIQUE ("position");

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_unique UNIQUE (aggregate_id, event_version);

ALTER TABLE ONLY public.projections
    ADD CONSTRAINT projections_pkey PRIMARY KEY (projection_id);

ALTER TABLE ONLY public.projections
    ADD CONSTRAINT projections_projection_name_key UNIQUE (projection_name);

ALTER TABLE ONLY public.schema_revisions
    ADD CONSTRAINT schema_revisions_pkey PRIMARY KEY (environment, revision);

ALTER TABLE ONLY public.snapshots
    ADD CONSTRAINT snapshots_pkey PRIMARY KEY (snapshot_id);

ALTER TABLE ONLY public.snapshots
    ADD CONSTRAINT snapshots_unique UNIQUE (aggregate_id, snapshot_version);

CREATE INDEX idx_events_aggregate ON public.events USING btree (aggregate_id, event_version);

CREATE INDEX idx_events_correlation ON public.events USING btree (correlation_id);

CREATE INDEX idx_events_created ON public.events USING btree (created_at DESC);

CREATE INDEX idx_events_type ON public.events USING btree (event_type, created_at DESC);

CREATE INDEX idx_snapshots_aggregate ON public.snapshots USING btree (aggregate_id, snapshot_version DESC);

CREATE TRIGGER events_announce BEFORE INSERT ON public.events FOR EACH STATEMENT EXECUTE FUNCTION public.events_announce();

CREATE TRIGGER events_refuse_change BEFORE DELETE OR UPDATE OR TRUNCATE ON public.events FOR EACH STATEMENT EXECUTE FUNCTION public.events_refuse_change();

REVOKE ALL ON FUNCTION public.events_announce() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.events_horizon() FROM PUBLIC;
GRANT ALL ON FUNCTION public.events_horizon() TO neo_app;

GRANT SELECT,INSERT ON TABLE public.aggregates TO neo_app;
GRANT SELECT ON TABLE public.aggregates TO neo_retention;
GRANT SELECT ON TABLE public.aggregates TO neo_auditor;
GRANT SELECT ON TABLE public.aggregates TO neo_backup;
GRANT SELECT ON TABLE public.aggregates TO neo_readonly;

GRANT UPDATE(current_version) ON TABLE public.aggregates TO neo_app;

GRANT UPDATE(updated_at) ON TABLE public.aggregates TO neo_app;

GRANT SELECT,INSERT ON TABLE public.events TO neo_app;
GRANT SELECT,DELETE ON TABLE public.events TO neo_retention;
GRANT SELECT ON TABLE public.events TO neo_auditor;
GRANT SELECT ON TABLE public.events TO neo_backup;
GRANT SELECT ON TABLE public.events TO neo_readonly;

GRANT SELECT ON SEQUENCE public.events_position_seq TO neo_auditor;
GRANT SELECT ON SEQUENCE public.events_position_seq TO neo_backup;
GRANT SELECT ON SEQUENCE public.events_position_seq TO neo_readonly;

GRANT SELECT,INSERT,UPDATE ON TABLE public.projections TO neo_app;
GRANT SELECT ON TABLE public.projections TO neo_auditor;
GRANT SELECT ON TABLE public.projections TO neo_backup;
GRANT SELECT ON TABLE public.projections TO neo_readonly;

GRANT SELECT ON TABLE public.schema_revisions TO neo_auditor;
GRANT SELECT ON TABLE public.schema_revisions TO neo_backup;
GRANT SELECT ON TABLE public.schema_revisions TO neo_readonly;

GRANT SELECT,INSERT ON TABLE public.snapshots TO neo_app;
GRANT SELECT ON TABLE public.snapshots TO neo_retention;
GRANT SELECT ON TABLE public.snapshots TO neo_auditor;
GRANT SELECT ON TABLE public.snapshots TO neo_backup;
GRANT SELECT ON TABLE public.snapshots TO neo_readonly;
