-- Without the extension: hourly and daily rollups as tables, and the views `metrics_hourly` and
-- `metrics_daily` over them, of the names and columns that the continuous aggregates have.
--
-- Triggers log which hours a statement touched, in its own transaction. Whoever refreshes takes
-- log entries and aggregates their hours again in one transaction: it sees the points of every
-- entry that it took, entries that are committed later wait for the next refresh, and a refresh
-- that dies gives back what it took. The log has no key, so writers never wait for one another,
-- nor for a refresh; each refresh leaves at most one entry per hour.
--
-- The views do not read the rollups of hours in the log, they aggregate the points of these hours,
-- so they are right at any time. NaN (a stale marker, for one) is no part of any statistic. A sum
-- counts values from 1e290 on as infinite, because PostgreSQL raises an error where finite values
-- add up to infinity, and one such hour would keep all others from being refreshed.
DO $do$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'metrics'::regclass) <> 'p' THEN
        RETURN;
    END IF;

    CREATE TABLE IF NOT EXISTS metrics_hours (
        bucket TIMESTAMPTZ NOT NULL,
        series_id UUID NOT NULL,
        service_id UUID NOT NULL,
        metric_name VARCHAR(255) NOT NULL,
        min_value DOUBLE PRECISION NOT NULL,
        max_value DOUBLE PRECISION NOT NULL,
        sum_value DOUBLE PRECISION NOT NULL,
        count BIGINT NOT NULL,
        PRIMARY KEY (series_id, bucket)
    );
    CREATE TABLE IF NOT EXISTS metrics_days (LIKE metrics_hours INCLUDING ALL);
    CREATE INDEX IF NOT EXISTS metrics_hours_bucket ON metrics_hours (bucket);
    CREATE INDEX IF NOT EXISTS metrics_hours_service_name
        ON metrics_hours (service_id, metric_name, bucket);
    CREATE INDEX IF NOT EXISTS metrics_days_bucket ON metrics_days (bucket);
    CREATE INDEX IF NOT EXISTS metrics_days_service_name
        ON metrics_days (service_id, metric_name, bucket);

    IF to_regclass('metrics_touched') IS NULL THEN
        CREATE TABLE metrics_touched (hour TIMESTAMPTZ NOT NULL) WITH (
            autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000
        );
        -- the points of an earlier version
        INSERT INTO metrics_touched (hour)
        SELECT DISTINCT date_bin('1 hour', time, 'epoch') FROM metrics;
    END IF;

    -- which hours the log says are to be aggregated again; those that can be no more are not
    CREATE OR REPLACE VIEW metrics_touched_hours AS
    SELECT DISTINCT hour FROM metrics_touched
    WHERE hour >= (SELECT max(gone_before) FROM metrics_retention WHERE level <> 'daily');

    CREATE OR REPLACE VIEW metrics_hours_now AS
    SELECT bucket, series_id, service_id, metric_name, min_value, max_value, sum_value, count
    FROM metrics_hours h
    WHERE NOT EXISTS (SELECT FROM metrics_touched_hours t WHERE t.hour = h.bucket)
    UNION ALL
    SELECT t.hour, live.*
    FROM metrics_touched_hours t CROSS JOIN LATERAL (
        SELECT series_id, service_id, metric_name, min(value), max(value),
            sum(CASE WHEN abs(value) < 1e290 THEN value ELSE value * 'Infinity'::float8 END),
            count(*)
        FROM metrics
        WHERE time >= t.hour AND time < t.hour + INTERVAL '1 hour' AND value <> 'NaN'
        GROUP BY series_id, service_id, metric_name
    ) live;

    CREATE OR REPLACE VIEW metrics_days_now AS
    WITH touched AS (
        SELECT DISTINCT date_bin('1 day', hour, 'epoch') AS day FROM metrics_touched_hours
    )
    SELECT bucket, series_id, service_id, metric_name, min_value, max_value, sum_value, count
    FROM metrics_days d
    WHERE NOT EXISTS (SELECT FROM touched t WHERE t.day = d.bucket)
    UNION ALL
    SELECT t.day, live.*
    FROM touched t CROSS JOIN LATERAL (
        SELECT series_id, service_id, metric_name, min(min_value), max(max_value), sum(sum_value),
            sum(count)::bigint
        FROM metrics_hours_now
        WHERE bucket >= t.day AND bucket < t.day + INTERVAL '1 day'
        GROUP BY series_id, service_id, metric_name
    ) live;

    -- left joins, because the planner drops one whose columns nobody asks for
    CREATE OR REPLACE VIEW metrics_hourly AS
    SELECT r.bucket, r.series_id, r.service_id, r.metric_name, s.tags,
        r.sum_value / r.count AS avg_value, r.min_value, r.max_value, r.sum_value, r.count
    FROM metrics_hours_now r LEFT JOIN series s USING (series_id);

    CREATE OR REPLACE VIEW metrics_daily AS
    SELECT r.bucket, r.series_id, r.service_id, r.metric_name, s.tags,
        r.sum_value / r.count AS avg_value, r.min_value, r.max_value, r.sum_value, r.count
    FROM metrics_days_now r LEFT JOIN series s USING (series_id);

    GRANT SELECT ON metrics_hourly, metrics_daily, metrics_touched_hours TO neo_app, neo_relay;
    GRANT SELECT ON metrics, metrics_hours, metrics_days TO neo_app, neo_relay;
END $do$;

CREATE OR REPLACE FUNCTION log_touched_hours() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO metrics_touched (hour) SELECT DISTINCT date_bin('1 hour', time, 'epoch') FROM rows;
    RETURN NULL;
END $$;

-- both the hours that a point had and those that it has
CREATE OR REPLACE FUNCTION log_changed_hours() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO metrics_touched (hour)
    SELECT date_bin('1 hour', time, 'epoch') FROM rows
    UNION SELECT date_bin('1 hour', time, 'epoch') FROM earlier;
    RETURN NULL;
END $$;

DO $do$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'metrics'::regclass) <> 'p' OR EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = 'metrics'::regclass AND tgname = 'metrics_inserted'
    ) THEN
        RETURN;
    END IF;
    CREATE TRIGGER metrics_inserted AFTER INSERT ON metrics
        REFERENCING NEW TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION log_touched_hours();
    CREATE TRIGGER metrics_updated AFTER UPDATE ON metrics
        REFERENCING OLD TABLE AS earlier NEW TABLE AS rows
        FOR EACH STATEMENT EXECUTE FUNCTION log_changed_hours();
    CREATE TRIGGER metrics_deleted AFTER DELETE ON metrics
        REFERENCING OLD TABLE AS rows FOR EACH STATEMENT EXECUTE FUNCTION log_touched_hours();
END $do$;
