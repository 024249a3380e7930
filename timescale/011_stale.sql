-- Whether rollups of these times wait for a refresh although their points are there, so that a query
-- has to ask the points. Never without the extension, whose views are right at any time. With it,
-- real-time means "after what was materialised last": a late point shows with the next refresh.
-- What lies before the refresh's reach, because its points are or will be dropped, is not waiting.
CREATE OR REPLACE FUNCTION metric_rollups_stale(
    level text, since timestamptz, until timestamptz
) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    views name[] := CASE WHEN level = 'daily' THEN '{metrics_hourly,metrics_daily}'
        ELSE '{metrics_hourly}' END;
    floor timestamptz;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'metrics'::regclass) = 'p' THEN
        RETURN false;
    END IF;
    SELECT greatest(gone_before, date_trunc('day', now() - keep) + INTERVAL '1 day') INTO floor
    FROM metrics_retention r WHERE r.level = 'raw';
    RETURN EXISTS (
        WITH asked AS (
            SELECT c.mat_hypertable_id AS id, c.raw_hypertable_id AS source,
                (extract(epoch FROM greatest(since, floor, '0001-01-01')) * 1000000)::bigint AS first,
                least(
                    (extract(epoch FROM least(until, '9999-12-31')) * 1000000)::bigint, w.watermark
                ) AS bound
            FROM _timescaledb_catalog.continuous_agg c
            JOIN _timescaledb_catalog.continuous_aggs_watermark w
                ON w.mat_hypertable_id = c.mat_hypertable_id
            WHERE c.user_view_schema = 'public' AND c.user_view_name = ANY (views)
        )
        SELECT FROM asked a
        JOIN _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log i
            ON i.hypertable_id = a.source
            AND i.lowest_modified_value < a.bound AND i.greatest_modified_value >= a.first
        UNION ALL
        SELECT FROM asked a
        JOIN _timescaledb_catalog.continuous_aggs_materialization_invalidation_log i
            ON i.materialization_id = a.id
            AND i.lowest_modified_value < a.bound AND i.greatest_modified_value >= a.first
    );
END $$;

REVOKE ALL ON FUNCTION metric_rollups_stale FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metric_rollups_stale TO neo_app, neo_relay;
