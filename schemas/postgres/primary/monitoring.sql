CREATE SCHEMA monitoring;

CREATE TABLE monitoring.alerts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name character varying(255) NOT NULL,
    severity character varying(50) NOT NULL,
    status character varying(50) DEFAULT 'firing'::character varying NOT NULL,
    service_name character varying(255),
    message text,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    starts_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    ends_at timestamp with time zone,
    acknowledged_by character varying(255),
    CONSTRAINT alerts_period_check CHECK ((ends_at >= starts_at)),
    CONSTRAINT alerts_severity_check CHECK (((severity)::text = ANY ((ARRAY['info'::character varying, 'warning'::character varying, 'critical'::character varying])::text[]))),
    CONSTRAINT alerts_status_check CHECK (((status)::text = ANY ((ARRAY['firing'::character varying, 'acknowledged'::character varying, 'resolved'::character varying, 'silenced'::character varying])::text[])))
);

CREATE TABLE monitoring.audit_logs (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    "timestamp" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    action character varying(100) NOT NULL,
    schema_name character varying(63),
    table_name character varying(63),
    record_id text,
    actor character varying(255) NOT NULL,
    database_user character varying(63) DEFAULT SESSION_USER NOT NULL,
    tenant_id uuid,
    service_name character varying(255),
    old_values jsonb,
    new_values jsonb,
    ip_address inet DEFAULT inet_client_addr(),
    success boolean DEFAULT true NOT NULL,
    error_message text
);

ALTER TABLE ONLY monitoring.audit_logs FORCE ROW LEVEL SECURITY;

CREATE VIEW monitoring.database_performance WITH (security_invoker='true') AS
 SELECT d.datname AS database,
    pg_database_size(d.datid) AS size_bytes,
    d.numbackends AS connections,
    (current_setting('max_connections'::text))::integer AS max_connections,
    d.xact_commit AS commits,
    d.xact_rollback AS rollbacks,
    round(((d.blks_hit)::numeric / (NULLIF((d.blks_hit + d.blks_read), 0))::numeric), 4) AS cache_hit_ratio,
    d.tup_returned AS rows_read,
    d.tup_fetched AS rows_fetched,
    d.tup_inserted AS rows_inserted,
    d.tup_updated AS rows_updated,
    d.tup_deleted AS rows_deleted,
    d.temp_files,
    d.temp_bytes,
    d.deadlocks,
    d.conflicts,
    d.checksum_failures,
    ( SELECT count(*) AS count
           FROM pg_locks l
          WHERE ((NOT l.granted) AND (l.database = d.datid))) AS waiting_locks,
    age(p.datfrozenxid) AS oldest_xid_age,
    d.stats_reset
   FROM (pg_stat_database d
     JOIN pg_database p ON ((p.oid = d.datid)))
  WHERE (d.datname = current_database());

CREATE VIEW monitoring.index_usage WITH (security_invoker='true') AS
 SELECT s.schemaname,
    s.relname,
    s.indexrelname,
    s.idx_scan,
    s.idx_tup_read,
    s.idx_tup_fetch,
    pg_relation_size((s.indexrelid)::regclass) AS size_bytes,
    i.indisunique AS is_unique,
    i.indisprimary AS is_primary,
    i.indisvalid AS is_valid
   FROM (pg_stat_user_indexes s
     JOIN pg_index i ON ((i.indexrelid = s.indexrelid)));

CREATE VIEW monitoring.table_usage WITH (security_invoker='true') AS
 SELECT schemaname,
    relname,
    seq_scan,
    seq_tup_read,
    idx_scan,
    idx_tup_fetch,
    n_tup_ins,
    n_tup_upd,
    n_tup_hot_upd,
    n_tup_del,
    n_live_tup,
    n_dead_tup,
    round(((n_dead_tup)::numeric / (NULLIF(n_live_tup, 0))::numeric), 4) AS dead_ratio,
    last_vacuum,
    last_autovacuum,
    last_analyze,
    last_autoanalyze,
    pg_total_relation_size((relid)::regclass) AS size_bytes
   FROM pg_stat_user_tables s;

ALTER TABLE ONLY monitoring.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY monitoring.audit_logs
    ADD CONSTRAINT audit_logs_pkey PRIMARY KEY (id);

CREATE INDEX idx_alerts_labels ON monitoring.alerts USING gin (labels);

CREATE INDEX idx_alerts_open ON monitoring.alerts USING btree (severity, starts_at DESC) WHERE ((status)::text = ANY ((ARRAY['firing'::character varying, 'acknowledged'::character varying])::text[]));

CREATE INDEX idx_audit_logs_cleanup ON monitoring.audit_logs USING btree ("timestamp" DESC) WHERE ((action)::text ~~ '%CLEANUP%'::text);

CREATE INDEX idx_audit_logs_record ON monitoring.audit_logs USING btree (schema_name, table_name, record_id);

CREATE INDEX idx_audit_logs_tenant ON monitoring.audit_logs USING btree (tenant_id, "timestamp" DESC) WHERE (tenant_id IS NOT NULL);

CREATE INDEX idx_audit_logs_time ON monitoring.audit_logs USING btree ("timestamp" DESC);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON monitoring.alerts FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

ALTER TABLE monitoring.audit_logs ENABLE ROW LEVEL SECURITY;

CREATE POLICY auditing ON monitoring.audit_logs FOR SELECT TO neo_auditor USING (true);

CREATE POLICY recording ON monitoring.audit_logs FOR INSERT TO neo_owner WITH CHECK (true);

CREATE POLICY tenant_isolation ON monitoring.audit_logs FOR SELECT USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA monitoring TO neo_app;
GRANT USAGE ON SCHEMA monitoring TO neo_relay;
GRANT USAGE ON SCHEMA monitoring TO neo_auditor;
GRANT USAGE ON SCHEMA monitoring TO neo_backup;
GRANT USAGE ON SCHEMA monitoring TO neo_readonly;
GRANT USAGE ON SCHEMA monitoring TO neo_monitoring_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE monitoring.alerts TO neo_app;
GRANT SELECT ON TABLE monitoring.alerts TO neo_auditor;
GRANT SELECT ON TABLE monitoring.alerts TO neo_backup;
GRANT SELECT ON TABLE monitoring.alerts TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE monitoring.alerts TO neo_monitoring_user;

GRANT SELECT ON TABLE monitoring.audit_logs TO neo_app;
GRANT SELECT ON TABLE monitoring.audit_logs TO neo_auditor;
GRANT SELECT ON TABLE monitoring.audit_logs TO neo_backup;
GRANT SELECT ON TABLE monitoring.audit_logs TO neo_readonly;
GRANT SELECT ON TABLE monitoring.audit_logs TO neo_monitoring_user;

GRANT SELECT ON TABLE monitoring.database_performance TO neo_app;
GRANT SELECT ON TABLE monitoring.database_performance TO neo_relay;
GRANT SELECT ON TABLE monitoring.database_performance TO neo_auditor;
GRANT SELECT ON TABLE monitoring.database_performance TO neo_backup;
GRANT SELECT ON TABLE monitoring.database_performance TO neo_readonly;
GRANT SELECT ON TABLE monitoring.database_performance TO neo_monitoring_user;

GRANT SELECT ON TABLE monitoring.index_usage TO neo_app;
GRANT SELECT ON TABLE monitoring.index_usage TO neo_relay;
GRANT SELECT ON TABLE monitoring.index_usage TO neo_auditor;
GRANT SELECT ON TABLE monitoring.index_usage TO neo_backup;
GRANT SELECT ON TABLE monitoring.index_usage TO neo_readonly;
GRANT SELECT ON TABLE monitoring.index_usage TO neo_monitoring_user;

GRANT SELECT ON TABLE monitoring.table_usage TO neo_app;
GRANT SELECT ON TABLE monitoring.table_usage TO neo_relay;
GRANT SELECT ON TABLE monitoring.table_usage TO neo_auditor;
GRANT SELECT ON TABLE monitoring.table_usage TO neo_backup;
GRANT SELECT ON TABLE monitoring.table_usage TO neo_readonly;
GRANT SELECT ON TABLE monitoring.table_usage TO neo_monitoring_user;
