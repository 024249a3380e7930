-- What retention does without the extension. The functions take the moment that counts as now and
-- may be run at any time; those that drop, by the role of background work.

-- Days of points past their time, oldest first; a day goes when its end is that long ago.
CREATE OR REPLACE FUNCTION old_metric_days(moment timestamptz)
RETURNS TABLE (partition text, since timestamptz, until timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
    SELECT name, since, until FROM (
        SELECT c.relname::text AS name, (bounds[1])::timestamptz AS since,
            (bounds[2])::timestamptz AS until
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        CROSS JOIN LATERAL regexp_match(
            pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(.*)''\) TO \(''(.*)''\)'
        ) AS bounds
        WHERE i.inhparent = 'metrics'::regclass
    ) days
    WHERE until <= date_trunc('day', moment) - (
        SELECT keep FROM metrics_retention WHERE level = 'raw'
    )
    ORDER BY until
$$;

-- Drops the oldest of these days, after what was written to it last is in the rollups. Answers its
-- partition, or NULL where there is none. Waits two seconds at most for others to let go of the
-- table (55P03 then), and call it in a transaction of its own: everybody waits for its end.
CREATE OR REPLACE FUNCTION drop_metric_day(moment timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s'
AS $$
DECLARE
    old record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('neo-polystore:metric rollups'));
    SELECT * INTO old FROM old_metric_days(moment) LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    LOCK TABLE ONLY metrics IN ACCESS EXCLUSIVE MODE;
    PERFORM refresh_metrics(moment, old.since, old.until);
    EXECUTE format('DROP TABLE %I', old.partition);
    UPDATE metrics_retention SET gone_before = greatest(gone_before, old.until)
    WHERE level = 'raw';
    RETURN old.partition;
END $$;

-- Removes hours and days past their time; answers how many of each.
CREATE OR REPLACE FUNCTION drop_metric_rollups(
    moment timestamptz, OUT hours bigint, OUT days bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    hourly timestamptz;
    daily timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('neo-polystore:metric rollups'));
    SELECT max(date_trunc('day', moment) - keep) FILTER (WHERE level = 'hourly'),
        max(date_trunc('day', moment) - keep) FILTER (WHERE level = 'daily')
    INTO hourly, daily FROM metrics_retention;
    DELETE FROM metrics_hours WHERE bucket < hourly;
    GET DIAGNOSTICS hours = ROW_COUNT;
    DELETE FROM metrics_days WHERE bucket < daily;
    GET DIAGNOSTICS days = ROW_COUNT;
    UPDATE metrics_retention SET gone_before = greatest(gone_before, hourly)
    WHERE level = 'hourly' AND hours > 0;
    UPDATE metrics_retention SET gone_before = greatest(gone_before, daily)
    WHERE level = 'daily' AND days > 0;
END $$;

REVOKE ALL ON FUNCTION old_metric_days, drop_metric_day, drop_metric_rollups FROM PUBLIC;
GRANT EXECUTE ON FUNCTION old_metric_days TO neo_app, neo_relay;
GRANT EXECUTE ON FUNCTION drop_metric_day, drop_metric_rollups TO neo_relay;
