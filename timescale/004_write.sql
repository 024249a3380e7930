-- Writes a small batch in one call, and says what became of each point: the arrays run in parallel,
-- one element per point; no series and time comes twice. Answers the places (from 1) of the points
-- that are new (NULL: all of them) and of those that had another value or unit; what is in neither
-- was stored already. Its series and services are in their tables before.
-- Two statements, not one ON CONFLICT DO UPDATE: a point that is stored already is neither locked
-- nor rewritten, and each statement sees what a concurrent writer has committed before it. Rows go
-- in by day, series and time, as every writer has them, so that writers do not deadlock.
CREATE OR REPLACE FUNCTION write_points(
    series_ids uuid[], services uuid[], names text[], tag_sets text[], unit_names text[],
    times timestamptz[], points float8[],
    OUT added integer[], OUT replaced integer[]
)
LANGUAGE plpgsql AS $$
DECLARE
    new_series uuid[];
    new_times timestamptz[];
BEGIN
    WITH inserted AS (
        INSERT INTO metrics (time, service_id, metric_name, value, tags, unit, series_id)
        SELECT i.at, i.service, i.name, i.value, i.tags::jsonb, i.unit, i.series
        FROM unnest(series_ids, services, names, tag_sets, unit_names, times, points)
            AS i (series, service, name, tags, unit, at, value)
        ORDER BY date_trunc('day', i.at, 'UTC'), i.series, i.at
        ON CONFLICT (series_id, time) DO NOTHING
        RETURNING series_id, time
    )
    SELECT array_agg(series_id), array_agg(time) INTO new_series, new_times FROM inserted;
    IF cardinality(new_series) = cardinality(times) THEN
        RETURN;
    END IF;

    SELECT coalesce(array_agg(i.place), '{}') INTO added
    FROM unnest(series_ids, times) WITH ORDINALITY AS i (series, at, place)
    JOIN unnest(new_series, new_times) AS n (series, at) USING (series, at);
    -- planned anew for these times, so that only their days are looked at
    EXECUTE $statement$
        WITH given AS (
            SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) WITH ORDINALITY
                AS i (series, service, name, tags, unit, at, value, place)
        ), updated AS (
            INSERT INTO metrics AS m (time, service_id, metric_name, value, tags, unit, series_id)
            SELECT i.at, i.service, i.name, i.value, i.tags::jsonb, i.unit, i.series
            FROM given i
            JOIN metrics stored ON stored.series_id = i.series AND stored.time = i.at
            WHERE (stored.value, stored.unit) IS DISTINCT FROM (i.value, i.unit)
                AND stored.time BETWEEN $8 AND $9
            ORDER BY date_trunc('day', i.at, 'UTC'), i.series, i.at
            ON CONFLICT (series_id, time) DO UPDATE
            SET value = excluded.value, unit = excluded.unit
            WHERE (m.value, m.unit) IS DISTINCT FROM (excluded.value, excluded.unit)
            RETURNING series_id, time
        )
        SELECT coalesce(array_agg(given.place), '{}')
        FROM updated JOIN given ON given.series = series_id AND given.at = time
    $statement$
    INTO replaced
    USING series_ids, services, names, tag_sets, unit_names, times, points,
        (SELECT min(t) FROM unnest(times) t), (SELECT max(t) FROM unnest(times) t);
END $$;

REVOKE ALL ON FUNCTION write_points FROM PUBLIC;
GRANT EXECUTE ON FUNCTION write_points TO neo_app;
