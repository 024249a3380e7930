"""Bind transactions to their key rows once per statement instead of once per row.

The foreign key that did it before looked up and locked a key row for every transaction, and
needed an index over all four columns: a quarter of the server's time for a write. A statement's
transactions are now checked together, after it. Nobody but the owner may write to a partition by
its own name, so nobody passes by the table that carries the trigger.
"""

from alembic import op

revision = "0019_transaction_keys"
down_revision = "0018_readers"

# The settings keep the plan that a session remembers on the index of the keys, whatever the size
# of the statement for which it was made.
CHECK = """
    CREATE FUNCTION blockchain.check_transaction_keys() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    DECLARE
        orphan record;
    BEGIN
        SELECT a.network_id, a.transaction_hash INTO orphan
        FROM added a
        WHERE a.id IS DISTINCT FROM (
            SELECT k.transaction_id FROM blockchain.transaction_keys k
            WHERE k.network_id = a.network_id AND k.transaction_hash = a.transaction_hash
                AND k.created_at = a.created_at
        )
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'transaction % of network % has no row in blockchain.transaction_keys',
                orphan.transaction_hash, orphan.network_id
            USING ERRCODE = 'foreign_key_violation', SCHEMA = TG_TABLE_SCHEMA,
                TABLE = TG_TABLE_NAME, CONSTRAINT = 'transactions_key_check',
                HINT = 'Write the key row in the same statement or before.';
        END IF;
        RETURN NULL;
    END $$
    """

REFUSE = """
    CREATE FUNCTION blockchain.refuse_transaction_move() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        RAISE EXCEPTION 'what identifies a transaction never changes'
        USING ERRCODE = 'integrity_constraint_violation', SCHEMA = TG_TABLE_SCHEMA,
            TABLE = TG_TABLE_NAME, CONSTRAINT = 'transactions_key_check',
            HINT = 'That is its id, created_at, network_id and transaction_hash.';
    END $$
    """

TRIGGERS = (
    """
    CREATE TRIGGER transactions_key_check AFTER INSERT ON blockchain.transactions
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION blockchain.check_transaction_keys()
    """,
    """
    CREATE TRIGGER transactions_key_fixed
    BEFORE UPDATE OF id, created_at, network_id, transaction_hash ON blockchain.transactions
    FOR EACH ROW WHEN ((OLD.id, OLD.created_at, OLD.network_id, OLD.transaction_hash)
        IS DISTINCT FROM (NEW.id, NEW.created_at, NEW.network_id, NEW.transaction_hash))
    EXECUTE FUNCTION blockchain.refuse_transaction_move()
    """,
)


def upgrade() -> None:
    """Triggers first, so that nothing is unchecked in between."""
    op.execute(CHECK)
    op.execute(REFUSE)
    for trigger in TRIGGERS:
        op.execute(trigger)
    op.execute("ALTER TABLE blockchain.transactions DROP CONSTRAINT transactions_key_fkey")
    op.execute("ALTER TABLE blockchain.transaction_keys DROP CONSTRAINT transaction_keys_unique")


def downgrade() -> None:
    """Back to the foreign key, which reads all transactions once."""
    op.execute(
        "ALTER TABLE blockchain.transaction_keys ADD CONSTRAINT transaction_keys_unique"
        " UNIQUE (transaction_id, created_at, network_id, transaction_hash)"
    )
    op.execute(
        "ALTER TABLE blockchain.transactions ADD CONSTRAINT transactions_key_fkey"
        " FOREIGN KEY (id, created_at, network_id, transaction_hash)"
        " REFERENCES blockchain.transaction_keys"
        " (transaction_id, created_at, network_id, transaction_hash)"
    )
    op.execute("DROP TRIGGER transactions_key_fixed ON blockchain.transactions")
    op.execute("DROP TRIGGER transactions_key_check ON blockchain.transactions")
    op.execute("DROP FUNCTION blockchain.refuse_transaction_move()")
    op.execute("DROP FUNCTION blockchain.check_transaction_keys()")
