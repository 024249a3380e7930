"""Transfers from one network to another, and the operations of the bridge that carry them."""

from alembic import op

revision = "0013_crosschain"
down_revision = "0012_voting"

UP = (
    "CREATE SCHEMA crosschain",
    """
    CREATE TABLE crosschain.transactions (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        source_network_id uuid NOT NULL REFERENCES blockchain.networks (id),
        target_network_id uuid NOT NULL REFERENCES blockchain.networks (id),
        source_tx_hash varchar(255) NOT NULL,
        target_tx_hash varchar(255),
        sender varchar(255) NOT NULL,
        recipient varchar(255) NOT NULL,
        asset varchar(255) NOT NULL,
        amount numeric(78, 0) NOT NULL,
        status varchar(50) NOT NULL DEFAULT 'pending',
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT crosschain_transactions_source_unique
            UNIQUE (source_network_id, source_tx_hash),
        CONSTRAINT crosschain_transactions_status_check
            CHECK (status IN ('pending', 'locked', 'relayed', 'completed', 'failed', 'refunded')),
        CONSTRAINT crosschain_transactions_networks_check
            CHECK (source_network_id <> target_network_id),
        CONSTRAINT crosschain_transactions_amount_check CHECK (amount >= 0)
    )
    """,
    (
        "CREATE INDEX idx_crosschain_target"
        " ON crosschain.transactions (target_network_id, target_tx_hash)"
    ),
    (
        "CREATE INDEX idx_crosschain_open ON crosschain.transactions (created_at)"
        " WHERE status IN ('pending', 'locked', 'relayed')"
    ),
    "CREATE INDEX idx_crosschain_sender ON crosschain.transactions (sender, created_at DESC)",
    "CREATE INDEX idx_crosschain_recipient ON crosschain.transactions (recipient, created_at DESC)",
    (
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON crosschain.transactions"
        " FOR EACH ROW EXECUTE FUNCTION core.set_updated_at()"
    ),
    """
    CREATE TABLE crosschain.bridge_operations (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        transaction_id uuid NOT NULL REFERENCES crosschain.transactions (id),
        operation_type varchar(50) NOT NULL,
        status varchar(50) NOT NULL DEFAULT 'pending',
        attempts int NOT NULL DEFAULT 0,
        proof bytea,
        error_message text,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        completed_at timestamptz,
        CONSTRAINT bridge_operations_type_check
            CHECK (operation_type IN ('lock', 'mint', 'burn', 'release')),
        CONSTRAINT bridge_operations_status_check
            CHECK (status IN ('pending', 'submitted', 'completed', 'failed')),
        CONSTRAINT bridge_operations_attempts_check CHECK (attempts >= 0)
    )
    """,
    (
        "CREATE INDEX idx_bridge_operations_transaction"
        " ON crosschain.bridge_operations (transaction_id)"
    ),
    (
        "CREATE INDEX idx_bridge_operations_open ON crosschain.bridge_operations (created_at)"
        " WHERE status IN ('pending', 'submitted')"
    ),
    "GRANT USAGE ON SCHEMA crosschain TO neo_app",
    # what moved money is not deleted
    "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA crosschain TO neo_app",
)


def upgrade() -> None:
    """Make the tables; like other transactions they are facts of a chain and nobody's own."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Drop the schema with its rows."""
    op.execute("DROP SCHEMA crosschain CASCADE")
