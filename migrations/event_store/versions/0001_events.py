"""Event streams: events, aggregates, snapshots, projections, and the horizon that readers stop at.

Names are unqualified, so the objects land in the connection's own schema; only the functions pin
theirs, because they run with their owner's rights.
"""

from alembic import op
from sqlalchemy import text

revision = "0001_events"
down_revision = None

TABLES = (
    """
    CREATE TABLE events (
        event_id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        aggregate_id UUID NOT NULL,
        aggregate_type VARCHAR(255) NOT NULL,
        event_type VARCHAR(255) NOT NULL,
        event_version INT NOT NULL,
        event_data JSONB NOT NULL,
        metadata JSONB NOT NULL DEFAULT '{}',
        user_id UUID,
        correlation_id UUID,
        causation_id UUID,
        created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
        -- the horizon needs every position to be drawn at the insert: no cache
        position BIGINT GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME events_position_seq CACHE 1),
        xid XID8 NOT NULL DEFAULT pg_current_xact_id(),
        CONSTRAINT events_unique UNIQUE (aggregate_id, event_version),
        CONSTRAINT events_position_unique UNIQUE (position),
        CONSTRAINT events_version_check CHECK (event_version > 0)
    )
    """,
    """
    CREATE TABLE aggregates (
        aggregate_id UUID PRIMARY KEY,
        aggregate_type VARCHAR(255) NOT NULL,
        current_version INT NOT NULL,
        created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE snapshots (
        snapshot_id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        aggregate_id UUID NOT NULL,
        aggregate_type VARCHAR(255) NOT NULL,
        snapshot_version INT NOT NULL,
        snapshot_data JSONB NOT NULL,
        created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT snapshots_unique UNIQUE (aggregate_id, snapshot_version)
    )
    """,
    """
    CREATE TABLE projections (
        projection_id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        projection_name VARCHAR(255) NOT NULL UNIQUE,
        last_processed_event_id UUID,
        last_processed_timestamp TIMESTAMPTZ,
        checkpoint_data JSONB,
        status VARCHAR(50) NOT NULL DEFAULT 'active',
        created_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
    )
    """,
    "CREATE INDEX idx_events_aggregate ON events (aggregate_id, event_version)",
    "CREATE INDEX idx_events_type ON events (event_type, created_at DESC)",
    "CREATE INDEX idx_events_correlation ON events (correlation_id)",
    "CREATE INDEX idx_events_created ON events (created_at DESC)",
    "CREATE INDEX idx_snapshots_aggregate ON snapshots (aggregate_id, snapshot_version DESC)",
)

# Bit 62 keeps the lock keys apart from everybody else's; the position stands below it.
HORIZON = (
    """
    CREATE FUNCTION events_announce() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(
            (1::bigint << 62) | coalesce(pg_sequence_last_value('events_position_seq'), 0)
        );
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER events_announce BEFORE INSERT ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_announce()
    """,
    """
    CREATE FUNCTION events_horizon() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp AS $$
    DECLARE
        drawn bigint;
        announced bigint;
    BEGIN
        IF pg_is_in_recovery() THEN
            RAISE 'a standby does not know who is appending: read the feed on the primary'
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        -- the order of these two statements is the proof: see stores/event_store/feed.py
        drawn := coalesce(pg_sequence_last_value('events_position_seq'), 0);
        SELECT min((classid::bigint << 32 | objid::bigint) & ~(1::bigint << 62)) INTO announced
        FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 30 = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
        RETURN least(drawn, announced);
    END $$
    """,
    "REVOKE ALL ON FUNCTION events_announce(), events_horizon() FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION events_horizon() TO neo_app",
)

IMMUTABILITY = (
    """
    CREATE FUNCTION events_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_user = 'neo_retention' THEN
            RETURN NULL;
        END IF;
        RAISE 'events are immutable: % is refused', TG_OP
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Correct an event by appending another; only neo_retention may delete.';
    END $$
    """,
    """
    CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_refuse_change()
    """,
)

GRANTS = (
    "GRANT SELECT, INSERT ON events TO neo_app",
    "GRANT SELECT, INSERT ON aggregates TO neo_app",
    "GRANT UPDATE (current_version, updated_at) ON aggregates TO neo_app",
    "GRANT SELECT, INSERT ON snapshots TO neo_app",
    "GRANT SELECT, INSERT, UPDATE ON projections TO neo_app",
    "GRANT SELECT, DELETE ON events TO neo_retention",
    "GRANT SELECT ON aggregates, snapshots TO neo_retention",
)


def upgrade() -> None:
    """Create everything."""
    schema = op.get_bind().execute(text("SELECT quote_ident(current_schema())")).scalar_one()
    horizon = (statement.format(schema=schema) for statement in HORIZON)
    for statement in (*TABLES, *horizon, *IMMUTABILITY, *GRANTS):
        op.execute(statement)


def downgrade() -> None:
    """Drop everything, events and all."""
    op.execute("DROP TABLE events, aggregates, snapshots, projections")
    op.execute("DROP FUNCTION events_announce(), events_horizon(), events_refuse_change()")
