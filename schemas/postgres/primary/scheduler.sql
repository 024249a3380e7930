CREATE SCHEMA scheduler;

CREATE TABLE scheduler.jobs (
    name character varying(100) NOT NULL,
    cron character varying(100) NOT NULL,
    next_run timestamp with time zone NOT NULL,
    token bigint DEFAULT 0 NOT NULL,
    holder text,
    lease_until timestamp with time zone,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE scheduler.runs (
    id bigint NOT NULL,
    job character varying(100) NOT NULL,
    token bigint NOT NULL,
    holder text NOT NULL,
    scheduled_for timestamp with time zone NOT NULL,
    forced boolean NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    seconds double precision,
    outcome character varying(20) DEFAULT 'running'::character varying NOT NULL,
    result jsonb,
    error text,
    CONSTRAINT runs_outcome_check CHECK (((outcome)::text = ANY ((ARRAY['running'::character varying, 'done'::character varying, 'failed'::character varying, 'lost'::character varying])::text[])))
);

ALTER TABLE scheduler.runs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME scheduler.runs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY scheduler.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (name);

ALTER TABLE ONLY scheduler.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY scheduler.runs
    ADD CONSTRAINT runs_token_unique UNIQUE (job, token);

CREATE UNIQUE INDEX idx_runs_done_once ON scheduler.runs USING btree (job, scheduled_for) WHERE (((outcome)::text = 'done'::text) AND (NOT forced));

CREATE INDEX idx_runs_job ON scheduler.runs USING btree (job, id DESC);

ALTER TABLE ONLY scheduler.runs
    ADD CONSTRAINT runs_job_fkey FOREIGN KEY (job) REFERENCES scheduler.jobs(name) ON DELETE CASCADE;

GRANT USAGE ON SCHEMA scheduler TO neo_relay;
GRANT USAGE ON SCHEMA scheduler TO neo_backup;
GRANT USAGE ON SCHEMA scheduler TO neo_readonly;

GRANT SELECT,INSERT,UPDATE ON TABLE scheduler.jobs TO neo_relay;
GRANT SELECT ON TABLE scheduler.jobs TO neo_backup;
GRANT SELECT ON TABLE scheduler.jobs TO neo_readonly;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE scheduler.runs TO neo_relay;
GRANT SELECT ON TABLE scheduler.runs TO neo_backup;
GRANT SELECT ON TABLE scheduler.runs TO neo_readonly;

GRANT SELECT ON SEQUENCE scheduler.runs_id_seq TO neo_backup;
