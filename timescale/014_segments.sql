-- Without the extension: days of points that change no more are packed into segments, a tenth of
-- their size or less. A day is packed or has a partition, never both: whoever writes to a packed day
-- has its partition made again, with its points. A segment holds up to 1,000 points of one series and
-- unit on one day: values as they are, bit for bit, and times as steps in microseconds from the point
-- before (0 for the first), which TOAST compresses to next to nothing where they are regular.
--
-- `metrics_all` has every point of both modes, packed or not. `first` and `last` are the times of the
-- segment that a point lies in (of a point that is not packed: its own). Whoever asks for a range of
-- time says so of all three, because only that keeps other segments from being unpacked:
--   time >= $1 AND time < $2 AND last >= $1 AND first < $2 AND first >= (the beginning of $1's day)
DO $do$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'metrics'::regclass) <> 'p' THEN
        CREATE OR REPLACE VIEW metrics_all AS
        SELECT time, service_id, metric_name, value, tags, unit, series_id,
            time AS first, time AS last
        FROM metrics;
    ELSE
        CREATE TABLE IF NOT EXISTS metrics_segments (
            first TIMESTAMPTZ NOT NULL,
            last TIMESTAMPTZ NOT NULL,
            series_id UUID NOT NULL,
            service_id UUID NOT NULL,
            metric_name VARCHAR(255) NOT NULL,
            unit VARCHAR(50),
            points INTEGER NOT NULL,
            steps BIGINT[] NOT NULL,
            readings DOUBLE PRECISION[] NOT NULL,
            PRIMARY KEY (series_id, first)
        );
        CREATE INDEX IF NOT EXISTS metrics_segments_service_name
            ON metrics_segments (service_id, metric_name, first);
        CREATE INDEX IF NOT EXISTS metrics_segments_first ON metrics_segments (first);
        GRANT SELECT ON metrics_segments TO neo_app, neo_relay;

        CREATE OR REPLACE VIEW metrics_all AS
        SELECT time, service_id, metric_name, value, tags, unit, series_id,
            time AS first, time AS last
        FROM metrics
        UNION ALL
        SELECT p.time, s.service_id, s.metric_name, p.value, n.tags, s.unit, s.series_id,
            s.first, s.last
        FROM metrics_segments s LEFT JOIN series n USING (series_id) CROSS JOIN LATERAL (
            SELECT value, s.first + INTERVAL '1 microsecond'
                * sum(step::float8) OVER (ROWS UNBOUNDED PRECEDING) AS time
            FROM unnest(s.steps, s.readings) AS u (step, value)
        ) p;
    END IF;
    GRANT SELECT ON metrics_all TO neo_app, neo_relay;
END $do$;

-- Makes the partitions of these days, with their points where they are packed; see 003. The lock is
-- one per day: unpacking a day keeps nobody from making another. Give the days in order.
CREATE OR REPLACE FUNCTION make_metric_days(days date[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    made date[] := '{}';
    day date;
    partition text;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'metrics'::regclass) <> 'p' THEN
        RETURN 0;
    END IF;
    FOREACH day IN ARRAY days LOOP
        partition := format('metrics_p%s', to_char(day, 'YYYYMMDD'));
        PERFORM pg_advisory_xact_lock(hashtext('neo-polystore:metric days'), hashtext(partition));
        CONTINUE WHEN to_regclass(partition) IS NOT NULL;
        EXECUTE format(
            'CREATE TABLE %I (LIKE metrics INCLUDING DEFAULTS INCLUDING INDEXES)', partition
        );
        -- before it is attached: the triggers of metrics need not hear of it
        EXECUTE format($statement$
            INSERT INTO %I (time, service_id, metric_name, value, tags, unit, series_id)
            SELECT time, service_id, metric_name, value, tags, unit, series_id
            FROM metrics_all WHERE first >= $1 AND first < $2
        $statement$, partition) USING day::timestamptz, (day + 1)::timestamptz;
        DELETE FROM metrics_segments WHERE first >= day AND first < day + 1;
        made := made || day;
    END LOOP;
    FOREACH day IN ARRAY made LOOP
        EXECUTE format(
            'ALTER TABLE metrics ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            format('metrics_p%s', to_char(day, 'YYYYMMDD')),
            day::timestamptz, (day + 1)::timestamptz
        );
    END LOOP;
    RETURN cardinality(made);
END $$;

-- The partitions of `metrics` and their days.
CREATE OR REPLACE FUNCTION metric_partitions()
RETURNS TABLE (partition text, since timestamptz, until timestamptz)
LANGUAGE sql STABLE SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
    SELECT c.relname::text, (bounds[1])::timestamptz, (bounds[2])::timestamptz
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(
        pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(.*)''\) TO \(''(.*)''\)'
    ) AS bounds
    WHERE i.inhparent = 'metrics'::regclass
$$;

-- Packs the oldest day later than `after` that has a partition and has been over for `age`, when what
-- was written to it last is in the rollups. Answers the day (NULL: there is none) and its points. They
-- can be read meanwhile, writes to this day wait. Waits two seconds at most for others to let go of
-- the table (55P03 then); call it in a transaction of its own.
CREATE OR REPLACE FUNCTION pack_metric_day(
    moment timestamptz, age interval, after timestamptz, OUT day timestamptz, OUT points bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s'
AS $$
DECLARE
    old record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('neo-polystore:metric rollups'));
    SELECT * INTO old FROM metric_partitions() p
    WHERE p.until <= date_trunc('day', moment) - age AND (after IS NULL OR p.since > after)
    ORDER BY p.until LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', old.partition);
    PERFORM refresh_metrics(moment, old.since, old.until);
    EXECUTE format($statement$
        INSERT INTO metrics_segments (first, last, series_id, service_id, metric_name, unit, points,
            steps, readings)
        SELECT min(time), max(time), series_id, service_id, metric_name, unit, count(*),
            array_agg(step ORDER BY time), array_agg(value ORDER BY time)
        FROM (
            SELECT *, (place - 1) / 1000 AS segment, CASE WHEN place %% 1000 = 1 THEN 0 ELSE
                (extract(epoch FROM time - before) * 1000000)::bigint END AS step
            FROM (
                SELECT *, row_number() OVER series AS place, lag(time) OVER series AS before
                FROM %I WINDOW series AS (PARTITION BY series_id, unit ORDER BY time)
            ) numbered
        ) stepped
        GROUP BY series_id, service_id, metric_name, unit, segment
    $statement$, old.partition);
    day := old.since;
    SELECT coalesce(sum(s.points), 0) INTO points FROM metrics_segments s
    WHERE first >= old.since AND first < old.until;
    LOCK TABLE ONLY metrics IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('DROP TABLE %I', old.partition);
END $$;

-- Days past their time, packed (no partition) or not; see 009.
CREATE OR REPLACE FUNCTION old_metric_days(moment timestamptz)
RETURNS TABLE (partition text, since timestamptz, until timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    horizon timestamptz := (
        SELECT date_trunc('day', moment) - keep FROM metrics_retention WHERE level = 'raw'
    );
BEGIN
    RETURN QUERY
    SELECT * FROM (
        SELECT p.partition, p.since, p.until FROM metric_partitions() p
        UNION ALL
        SELECT DISTINCT NULL::text, date_trunc('day', s.first),
            date_trunc('day', s.first) + INTERVAL '1 day'
        FROM metrics_segments s WHERE s.first < horizon
    ) d WHERE d.until <= horizon ORDER BY d.until;
END $$;

-- Drops the oldest of these days; see 009. Answers its name, or NULL where there is none.
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
    IF old.partition IS NULL THEN  -- it was aggregated before it was packed
        DELETE FROM metrics_segments WHERE first >= old.since AND first < old.until;
    ELSE
        LOCK TABLE ONLY metrics IN ACCESS EXCLUSIVE MODE;
        PERFORM refresh_metrics(moment, old.since, old.until);
        EXECUTE format('DROP TABLE %I', old.partition);
    END IF;
    UPDATE metrics_retention SET gone_before = greatest(gone_before, old.until)
    WHERE level = 'raw';
    RETURN coalesce(old.partition, 'packed ' || old.since);
END $$;

REVOKE ALL ON FUNCTION metric_partitions, pack_metric_day, drop_metric_day FROM PUBLIC;
GRANT EXECUTE ON FUNCTION drop_metric_day, pack_metric_day TO neo_relay;
