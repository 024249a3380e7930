-- With the extension: hourly and daily continuous aggregates, the days made of the hours. They are
-- real-time: what is not materialised yet is aggregated from the points. What is left out of the
-- statistics, and how sums avoid overflow, is told in 007. Policies for them are made by `migrate`,
-- because how they are set depends on the settings.
DO $do$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'metrics'::regclass) = 'p' THEN
        RETURN;
    END IF;
    IF to_regclass('metrics_hourly') IS NULL THEN
        CREATE MATERIALIZED VIEW metrics_hourly WITH (
            timescaledb.continuous, timescaledb.materialized_only = false,
            timescaledb.create_group_indexes = false
        ) AS
        SELECT time_bucket(INTERVAL '1 hour', time) AS bucket, series_id, service_id, metric_name,
            tags,
            sum(CASE WHEN abs(value) < 1e290 THEN value ELSE value * 'Infinity'::float8 END)
                / count(*) AS avg_value,
            min(value) AS min_value,
            max(value) AS max_value,
            sum(CASE WHEN abs(value) < 1e290 THEN value ELSE value * 'Infinity'::float8 END)
                AS sum_value,
            count(*) AS count
        FROM metrics
        WHERE value <> 'NaN'
        GROUP BY 1, 2, 3, 4, 5
        WITH NO DATA;
        CREATE INDEX metrics_hourly_series ON metrics_hourly (series_id, bucket);
        CREATE INDEX metrics_hourly_service_name ON metrics_hourly (service_id, metric_name, bucket);
    END IF;
    IF to_regclass('metrics_daily') IS NULL THEN
        CREATE MATERIALIZED VIEW metrics_daily WITH (
            timescaledb.continuous, timescaledb.materialized_only = false,
            timescaledb.create_group_indexes = false
        ) AS
        SELECT time_bucket(INTERVAL '1 day', bucket) AS bucket, series_id, service_id, metric_name,
            tags,
            sum(sum_value) / sum(count)::float8 AS avg_value,
            min(min_value) AS min_value,
            max(max_value) AS max_value,
            sum(sum_value) AS sum_value,
            sum(count)::bigint AS count
        FROM metrics_hourly
        GROUP BY 1, 2, 3, 4, 5
        WITH NO DATA;
        CREATE INDEX metrics_daily_series ON metrics_daily (series_id, bucket);
        CREATE INDEX metrics_daily_service_name ON metrics_daily (service_id, metric_name, bucket);
    END IF;
    GRANT SELECT ON metrics_hourly, metrics_daily TO neo_app, neo_relay;
END $do$;
