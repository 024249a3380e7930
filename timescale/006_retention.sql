-- How long each resolution is kept (NULL: for ever) and up to when it has been dropped already:
-- `migrate` writes the first from the settings, retention writes the second. An hour or day before
-- `gone_before` of what it is made from is never aggregated again, so dropping points cannot change
-- the aggregates of the past.
CREATE TABLE IF NOT EXISTS metrics_retention (
    level TEXT PRIMARY KEY CHECK (level IN ('raw', 'hourly', 'daily')),
    keep INTERVAL,
    gone_before TIMESTAMPTZ NOT NULL DEFAULT '-infinity'
);

INSERT INTO metrics_retention (level, keep)
VALUES ('raw', '90 days'), ('hourly', '2 years'), ('daily', '5 years')
ON CONFLICT (level) DO NOTHING;

GRANT SELECT ON metrics_retention TO neo_app, neo_relay;
