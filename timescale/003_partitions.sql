-- Makes the partitions of the days that a batch touches; does nothing on a hypertable, which makes
-- its chunks by itself. Runs with the owner's rights because the application may not create tables.
-- A partition is made beside the table and then attached, which lets reads and writes of other
-- days go on (CREATE TABLE ... PARTITION OF would lock them all out). Days are days in UTC.
CREATE OR REPLACE FUNCTION make_metric_days(days date[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    made integer := 0;
    day date;
    partition text;
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'metrics'::regclass) <> 'p' THEN
        RETURN 0;
    END IF;
    -- one at a time: the lock ends with the caller's transaction, so call this in a short one
    PERFORM pg_advisory_xact_lock(hashtext('neo-polystore:metric days'));
    FOREACH day IN ARRAY days LOOP
        partition := format('metrics_p%s', to_char(day, 'YYYYMMDD'));
        CONTINUE WHEN to_regclass(partition) IS NOT NULL;
        EXECUTE format(
            'CREATE TABLE %I (LIKE metrics INCLUDING DEFAULTS INCLUDING INDEXES)', partition
        );
        EXECUTE format(
            'ALTER TABLE metrics ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            partition, day::timestamptz, (day + 1)::timestamptz
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

REVOKE ALL ON FUNCTION make_metric_days(date[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_metric_days(date[]) TO neo_app;
