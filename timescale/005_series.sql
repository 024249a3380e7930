-- One row per series: what a tag filter looks in, because an index on the tags of every point would
-- cost more than the points. A writer has it committed before the first point of its series, as it
-- has `services`; rows stay when the points go. Looked for so:
--   series_id IN (SELECT series_id FROM series
--                 WHERE service_id = $1 AND metric_name = $2 AND tags @> '{"host": "a"}')
CREATE TABLE IF NOT EXISTS series (
    series_id UUID PRIMARY KEY,
    service_id UUID NOT NULL,
    metric_name VARCHAR(255) NOT NULL,
    tags JSONB NOT NULL DEFAULT '{}'
);

CREATE INDEX IF NOT EXISTS series_service_name ON series (service_id, metric_name);
CREATE INDEX IF NOT EXISTS series_tags ON series USING gin (tags jsonb_path_ops);

-- the points of an earlier version
INSERT INTO series (series_id, service_id, metric_name, tags)
SELECT DISTINCT ON (series_id) series_id, service_id, metric_name, coalesce(tags, '{}')
FROM metrics
ON CONFLICT (series_id) DO NOTHING;

GRANT SELECT, INSERT ON series TO neo_app;
