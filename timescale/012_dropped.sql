-- With the extension, whose own job drops: keeps up to when points (and hours) have been dropped
-- that are in the aggregates, so that a refresh does not go there even after retention has been
-- made longer. That is the end of the newest day past its time that has hours but no points (days
-- but no hours). Run before policies change, and whenever somebody refreshes by hand.
CREATE OR REPLACE FUNCTION note_dropped_metrics() RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    part record;
    dropped timestamptz;
BEGIN
    FOR part IN
        SELECT p.level, p.relation, p.moment, p.rollup,
            date_trunc('day', now() - (j.config ->> 'drop_after')::interval) AS horizon
        FROM (VALUES ('raw', 'metrics', 'time', 'metrics_hourly'),
            ('hourly', 'metrics_hourly', 'bucket', 'metrics_daily')
        ) AS p (level, relation, moment, rollup)
        JOIN timescaledb_information.jobs j ON j.proc_name = 'policy_retention'
        LEFT JOIN timescaledb_information.continuous_aggregates c
            ON c.materialization_hypertable_name = j.hypertable_name
        WHERE coalesce(c.view_name, j.hypertable_name) = p.relation
    LOOP
        EXECUTE format($statement$
            SELECT day FROM generate_series($1 - INTERVAL '1 day', (
                SELECT date_trunc('day', greatest(min(bucket), $2)) FROM %I
                WHERE bucket < $1 HAVING min(bucket) IS NOT NULL
            ), INTERVAL '-1 day') AS day
            WHERE EXISTS (
                SELECT FROM %1$I WHERE bucket >= day AND bucket < day + INTERVAL '1 day'
            ) AND NOT EXISTS (
                SELECT FROM %2$I WHERE %3$I >= day AND %3$I < day + INTERVAL '1 day'
            )
            LIMIT 1
        $statement$, part.rollup, part.relation, part.moment)
        INTO dropped
        USING part.horizon, (SELECT gone_before FROM metrics_retention WHERE level = part.level);
        UPDATE metrics_retention
        SET gone_before = greatest(gone_before, dropped + INTERVAL '1 day')
        WHERE level = part.level AND dropped IS NOT NULL;
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION note_dropped_metrics FROM PUBLIC;
