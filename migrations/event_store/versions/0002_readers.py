"""What the groups of readers may read of the events; those that the server does not have, nothing.

In a database of the event store's own there is nothing else, so all three read all of it.
"""

from alembic import op

revision = "0002_readers"
down_revision = "0001_events"

EACH = """
    DO $$
    DECLARE
        reader text;
    BEGIN
        FOR reader IN SELECT rolname FROM pg_roles
            WHERE rolname IN ('neo_readonly', 'neo_auditor', 'neo_backup') ORDER BY rolname
        LOOP
            EXECUTE format('{statement}', reader);
        END LOOP;
    END
    $$
    """

TABLES = "events, aggregates, snapshots, projections, public.schema_revisions"


def upgrade() -> None:
    """Grant."""
    op.execute(EACH.format(statement=f"GRANT SELECT ON {TABLES} TO %I"))
    op.execute(EACH.format(statement="GRANT SELECT ON SEQUENCE events_position_seq TO %I"))


def downgrade() -> None:
    """Take back."""
    op.execute(EACH.format(statement=f"REVOKE SELECT ON {TABLES} FROM %I"))
    op.execute(EACH.format(statement="REVOKE SELECT ON SEQUENCE events_position_seq FROM %I"))
