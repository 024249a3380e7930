-- Metric points: a hypertable where TimescaleDB (2.13 or later) is installed in this database,
-- otherwise a table partitioned by day. Same names and columns, one day per chunk or partition.
DO $$
DECLARE
    extended boolean := EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb');
BEGIN
    IF to_regclass('metrics') IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE 'CREATE TABLE metrics (
        time TIMESTAMPTZ NOT NULL,
        service_id UUID NOT NULL,
        metric_name VARCHAR(255) NOT NULL,
        value DOUBLE PRECISION NOT NULL,
        tags JSONB DEFAULT ''{}'',
        unit VARCHAR(50),
        series_id UUID NOT NULL
    )' || CASE WHEN extended THEN '' ELSE ' PARTITION BY RANGE (time)' END;
    IF extended THEN
        -- the two indexes below serve every query; the default one on time alone would be a third
        PERFORM create_hypertable(
            'metrics', by_range('time', INTERVAL '1 day'),
            create_default_indexes => false, if_not_exists => true
        );
    END IF;
END $$;

CREATE UNIQUE INDEX IF NOT EXISTS metrics_series_time ON metrics (series_id, time);
CREATE INDEX IF NOT EXISTS idx_metrics_service_name_time
    ON metrics (service_id, metric_name, time DESC);

GRANT SELECT, INSERT, UPDATE ON metrics TO neo_app;
