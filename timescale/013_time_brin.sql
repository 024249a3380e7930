-- Without the extension: hours of a day are found by where their points lie in it, whatever the
-- service. That is what a refresh asks; the index costs next to nothing, a page for a day.
DO $do$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'metrics'::regclass) = 'p' THEN
        CREATE INDEX IF NOT EXISTS idx_metrics_time_brin ON metrics
        USING brin (time) WITH (pages_per_range = 32, autosummarize = on);
    END IF;
END $do$;
