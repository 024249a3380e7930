-- Writes a small batch in one call. The first four arrays describe its series; the others run in
-- parallel, one element per point, `numbers` being the place of its series, counted from 1. No
-- series and time comes twice; `earlier` says how many other values for it the same batch held
-- before. Answers how many rows are new, how many had another value or unit, and `earlier` summed
-- over both.
-- Two statements, not one ON CONFLICT DO UPDATE: a point that is stored already is neither locked
-- nor rewritten, and each statement sees what a concurrent writer has committed before it.
CREATE OR REPLACE FUNCTION write_metrics(
    series uuid[], services uuid[], names text[], tag_sets text[],
    numbers integer[], times timestamptz[], points float8[], units text[], earlier integer[],
    OUT added bigint, OUT replaced bigint, OUT overridden bigint
)
LANGUAGE plpgsql AS $$
DECLARE
    overridden_too bigint;
BEGIN
    WITH inserted AS (
        INSERT INTO metrics (time, service_id, metric_name, value, tags, unit, series_id)
        SELECT i.time, services[i.number], names[i.number], i.value, tag_sets[i.number]::jsonb,
            i.unit, series[i.number]
        FROM unnest(numbers, times, points, units) AS i (number, time, value, unit)
        ORDER BY series[i.number], i.time
        ON CONFLICT (series_id, time) DO NOTHING
        RETURNING series_id, time
    )
    SELECT count(*), coalesce(sum(i.earlier), 0) INTO added, overridden
    FROM inserted LEFT JOIN unnest(numbers, times, earlier) AS i (number, time, earlier)
        ON series[i.number] = inserted.series_id AND i.time = inserted.time AND i.earlier > 0;

    replaced := 0;
    IF added = cardinality(times) THEN
        RETURN;
    END IF;
    -- planned anew for these times, so that only their days are looked at
    EXECUTE $statement$
        WITH updated AS (
            INSERT INTO metrics AS m (time, service_id, metric_name, value, tags, unit, series_id)
            SELECT i.time, $2[i.number], $3[i.number], i.value, $4[i.number]::jsonb, i.unit,
                $1[i.number]
            FROM unnest($5, $6, $7, $8) AS i (number, time, value, unit)
            JOIN metrics stored ON stored.series_id = $1[i.number] AND stored.time = i.time
            WHERE (stored.value, stored.unit) IS DISTINCT FROM (i.value, i.unit)
                AND stored.time BETWEEN $10 AND $11
            ORDER BY $1[i.number], i.time
            ON CONFLICT (series_id, time) DO UPDATE
            SET value = excluded.value, unit = excluded.unit
            WHERE (m.value, m.unit) IS DISTINCT FROM (excluded.value, excluded.unit)
            RETURNING series_id, time
        )
        SELECT count(*), coalesce(sum(i.earlier), 0)
        FROM updated LEFT JOIN unnest($5, $6, $9) AS i (number, time, earlier)
            ON $1[i.number] = updated.series_id AND i.time = updated.time AND i.earlier > 0
    $statement$
    INTO replaced, overridden_too
    USING series, services, names, tag_sets, numbers, times, points, units, earlier,
        (SELECT min(t) FROM unnest(times) t), (SELECT max(t) FROM unnest(times) t);
    overridden := overridden + overridden_too;
END $$;

REVOKE ALL ON FUNCTION write_metrics FROM PUBLIC;
GRANT EXECUTE ON FUNCTION write_metrics TO neo_app;
