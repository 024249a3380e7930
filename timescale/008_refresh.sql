-- Aggregates touched hours again, and the days that are complete with them; without the extension
-- only. At most `at_most` hours per call, oldest first, of [since, until); by default of those that
-- are over for an hour. Answers how many hours it did and how many in the range are left.
-- One at a time; the caller's transaction is the refresh, so call this in one of its own.
CREATE OR REPLACE FUNCTION refresh_metrics(
    moment timestamptz, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
    at_most integer DEFAULT 168, OUT refreshed integer, OUT remaining integer
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET timezone = 'UTC' SET max_parallel_workers_per_gather = 0
AS $$
DECLARE
    first timestamptz := coalesce(since, '-infinity');
    bound timestamptz := coalesce(until, date_trunc('hour', moment - INTERVAL '1 hour'));
    hours_gone timestamptz;
    days_gone timestamptz;
    touched timestamptz[];
    chosen timestamptz[];
    run record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('neo-polystore:metric rollups'));
    SELECT max(gone_before) FILTER (WHERE level <> 'daily'),
        max(gone_before) FILTER (WHERE level <> 'raw')
    INTO hours_gone, days_gone FROM metrics_retention;

    WITH taken AS (DELETE FROM metrics_touched RETURNING hour)
    SELECT coalesce(array_agg(DISTINCT hour) FILTER (WHERE hour >= hours_gone), '{}')
    INTO touched FROM taken;
    chosen := ARRAY(
        SELECT h FROM unnest(touched) h WHERE h + INTERVAL '1 hour' > first AND h < bound
        ORDER BY h LIMIT at_most
    );
    INSERT INTO metrics_touched (hour)
    SELECT h FROM unnest(touched) h WHERE h <> ALL (chosen);

    FOR run IN  -- hours that follow one another, in one go
        SELECT min(h) AS since, max(h) + INTERVAL '1 hour' AS until
        FROM (
            SELECT h, h - row_number() OVER (ORDER BY h) * INTERVAL '1 hour' AS start
            FROM unnest(chosen) h
        ) numbered
        GROUP BY start ORDER BY 1
    LOOP
        -- planned anew for these times, so that only their days are looked at
        EXECUTE $statement$
            WITH fresh AS MATERIALIZED (
                SELECT date_bin('1 hour', time, 'epoch') AS bucket, series_id, service_id,
                    metric_name, min(value) AS min_value, max(value) AS max_value,
                    sum(CASE WHEN abs(value) < 1e290 THEN value
                        ELSE value * 'Infinity'::float8 END) AS sum_value,
                    count(*) AS count
                FROM metrics WHERE time >= $1 AND time < $2 AND value <> 'NaN'
                GROUP BY 1, 2, 3, 4
            ), vanished AS (
                DELETE FROM metrics_hours h WHERE bucket >= $1 AND bucket < $2 AND NOT EXISTS (
                    SELECT FROM fresh f WHERE f.series_id = h.series_id AND f.bucket = h.bucket
                )
            )
            INSERT INTO metrics_hours AS h (bucket, series_id, service_id, metric_name, min_value,
                max_value, sum_value, count)
            SELECT * FROM fresh
            ON CONFLICT (series_id, bucket) DO UPDATE
            SET min_value = excluded.min_value, max_value = excluded.max_value,
                sum_value = excluded.sum_value, count = excluded.count
            WHERE (h.min_value, h.max_value, h.sum_value, h.count) IS DISTINCT FROM
                (excluded.min_value, excluded.max_value, excluded.sum_value, excluded.count)
        $statement$ USING run.since, run.until;
    END LOOP;

    -- a day with more hours to come is aggregated with the last of them
    PERFORM refresh_metric_days(day) FROM (
        SELECT DISTINCT date_bin('1 day', h, 'epoch') AS day FROM unnest(chosen) h
        EXCEPT SELECT date_bin('1 day', h, 'epoch') FROM unnest(touched) h WHERE h <> ALL (chosen)
    ) days WHERE day >= days_gone;

    refreshed := cardinality(chosen);
    remaining := (
        SELECT count(*) FROM unnest(touched) h WHERE h + INTERVAL '1 hour' > first AND h < bound
    ) - refreshed;
END $$;

CREATE OR REPLACE FUNCTION refresh_metric_days(day timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
BEGIN
    WITH fresh AS MATERIALIZED (
        SELECT day AS bucket, series_id, service_id, metric_name, min(min_value) AS min_value,
            max(max_value) AS max_value, sum(sum_value) AS sum_value, sum(count)::bigint AS count
        FROM metrics_hours WHERE bucket >= day AND bucket < day + INTERVAL '1 day'
        GROUP BY series_id, service_id, metric_name
    ), vanished AS (
        DELETE FROM metrics_days d WHERE bucket = day
            AND NOT EXISTS (SELECT FROM fresh f WHERE f.series_id = d.series_id)
    )
    INSERT INTO metrics_days AS d (bucket, series_id, service_id, metric_name, min_value, max_value,
        sum_value, count)
    SELECT * FROM fresh
    ON CONFLICT (series_id, bucket) DO UPDATE
    SET min_value = excluded.min_value, max_value = excluded.max_value,
        sum_value = excluded.sum_value, count = excluded.count
    WHERE (d.min_value, d.max_value, d.sum_value, d.count) IS DISTINCT FROM
        (excluded.min_value, excluded.max_value, excluded.sum_value, excluded.count);
END $$;

REVOKE ALL ON FUNCTION refresh_metrics, refresh_metric_days FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refresh_metrics TO neo_relay;
