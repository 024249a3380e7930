"""Data feeds of the outside world, who asked them, and what was answered to the chain."""

from alembic import op

revision = "0011_oracle"
down_revision = "0010_compute"

UP = (
    "CREATE SCHEMA oracle",
    """
    CREATE TABLE oracle.data_feeds (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name varchar(255) NOT NULL UNIQUE,
        symbol varchar(50),
        source_url varchar(500),
        feed_type varchar(50) NOT NULL,
        decimals int NOT NULL DEFAULT 8,
        update_interval_s int NOT NULL DEFAULT 60,
        is_active boolean NOT NULL DEFAULT true,
        last_value numeric,
        last_updated_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT data_feeds_decimals_check CHECK (decimals BETWEEN 0 AND 78),
        CONSTRAINT data_feeds_interval_check CHECK (update_interval_s > 0)
    )
    """,
    "CREATE INDEX idx_data_feeds_symbol ON oracle.data_feeds (symbol) WHERE is_active",
    """
    CREATE TABLE oracle.requests (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        data_feed_id uuid NOT NULL REFERENCES oracle.data_feeds (id),
        requester varchar(255) NOT NULL,
        request_data jsonb NOT NULL DEFAULT '{}',
        callback_address varchar(255),
        network_id uuid REFERENCES blockchain.networks (id),
        status varchar(50) NOT NULL DEFAULT 'pending',
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        fulfilled_at timestamptz,
        CONSTRAINT requests_status_check
            CHECK (status IN ('pending', 'processing', 'fulfilled', 'failed', 'expired'))
    )
    """,
    "CREATE INDEX idx_requests_feed ON oracle.requests (data_feed_id, created_at DESC)",
    "CREATE INDEX idx_requests_network ON oracle.requests (network_id)",
    (
        "CREATE INDEX idx_requests_open ON oracle.requests (created_at)"
        " WHERE status IN ('pending', 'processing')"
    ),
    """
    CREATE TABLE oracle.responses (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        request_id uuid NOT NULL REFERENCES oracle.requests (id) ON DELETE CASCADE,
        value numeric,
        raw jsonb,
        signer varchar(255),
        signature text,
        confidence numeric(5, 4),
        block_number bigint,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT responses_confidence_check CHECK (confidence BETWEEN 0 AND 1),
        CONSTRAINT responses_content_check CHECK (value IS NOT NULL OR raw IS NOT NULL)
    )
    """,
    "CREATE INDEX idx_responses_request ON oracle.responses (request_id)",
    "GRANT USAGE ON SCHEMA oracle TO neo_app",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA oracle TO neo_app",
)


def upgrade() -> None:
    """Make the tables. Feeds are public facts and requests stand on a chain: nobody's own."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Drop the schema with its rows."""
    op.execute("DROP SCHEMA oracle CASCADE")
