"""The schema in which the event store lives where it shares this database, for its retention.

See decision 0009. Nothing is in it otherwise.
"""

from alembic import op

revision = "0024_single_database"
down_revision = "0023_services"


def _connecting(command: str, direction: str) -> str:
    return (
        "DO $$ BEGIN EXECUTE format("
        f"'{command} CONNECT ON DATABASE %I {direction} neo_retention', current_database()); END $$"
    )


def upgrade() -> None:
    """What the event store's own database gives everybody, this one gives by name."""
    op.execute(_connecting("GRANT", "TO"))
    op.execute("GRANT USAGE ON SCHEMA eventsourcing TO neo_retention")


def downgrade() -> None:
    """Take it back."""
    op.execute("REVOKE USAGE ON SCHEMA eventsourcing FROM neo_retention")
    op.execute(_connecting("REVOKE", "FROM"))
