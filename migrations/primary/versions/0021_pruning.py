"""What may be forgotten: old runs of the scheduler, and dead letters that somebody has dealt with.

A dead letter is dealt with when it was replayed, or discarded by somebody who said why. Until then
nobody can delete it.
"""

from alembic import op

revision = "0021_pruning"
down_revision = "0020_audit_chain"

UP = (
    """
    ALTER TABLE outbox.dead_letters
        ADD COLUMN discarded_at timestamptz,
        ADD COLUMN discard_reason text,
        ADD CONSTRAINT dead_letters_settled_check
            CHECK (replayed_at IS NULL OR discarded_at IS NULL),
        ADD CONSTRAINT dead_letters_discard_check
            CHECK ((discarded_at IS NULL) = (discard_reason IS NULL))
    """,
    "DROP INDEX outbox.idx_dead_letters_open",
    (
        "CREATE INDEX idx_dead_letters_open ON outbox.dead_letters (topic, id)"
        " WHERE replayed_at IS NULL AND discarded_at IS NULL"
    ),
    # restrictive: whatever another policy permits, who may delete at all deletes no others
    (
        "CREATE POLICY settled ON outbox.dead_letters AS RESTRICTIVE FOR DELETE"
        " TO neo_relay, neo_owner"
        " USING (replayed_at IS NOT NULL OR discarded_at IS NOT NULL)"
    ),
    "GRANT DELETE ON outbox.dead_letters, scheduler.runs TO neo_relay",
)

DOWN = (
    "REVOKE DELETE ON outbox.dead_letters, scheduler.runs FROM neo_relay",
    "DROP POLICY settled ON outbox.dead_letters",
    "DROP INDEX outbox.idx_dead_letters_open",
    # the constraints go with the columns
    "ALTER TABLE outbox.dead_letters DROP COLUMN discarded_at, DROP COLUMN discard_reason",
    (
        "CREATE INDEX idx_dead_letters_open ON outbox.dead_letters (topic, id)"
        " WHERE replayed_at IS NULL"
    ),
)


def upgrade() -> None:
    """Add what a discarded letter has, and let the relay's role delete what is settled."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Discarded letters are open again."""
    for statement in DOWN:
        op.execute(statement)
