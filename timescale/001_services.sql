-- The names behind service ids: a metric row carries the 16 bytes of the id, not the name.
CREATE TABLE IF NOT EXISTS services (
    service_id UUID PRIMARY KEY,
    name VARCHAR(255) NOT NULL UNIQUE
);

GRANT SELECT, INSERT ON services TO neo_app;
