"""Networks, wallets, transactions partitioned by year with their unique hashes, contracts."""

from alembic import op

revision = "0003_blockchain"
down_revision = "0002_auth"

NETWORKS = """
    CREATE TABLE blockchain.networks (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name varchar(100) NOT NULL UNIQUE,
        chain_id bigint NOT NULL UNIQUE,
        network_type varchar(50) NOT NULL,
        rpc_endpoint varchar(500) NOT NULL,
        ws_endpoint varchar(500),
        explorer_url varchar(500),
        is_testnet boolean NOT NULL DEFAULT false,
        is_active boolean NOT NULL DEFAULT true,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
    )
    """

WALLETS = """
    CREATE TABLE blockchain.wallets (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL,
        user_id uuid NOT NULL,
        network_id uuid NOT NULL REFERENCES blockchain.networks (id),
        address varchar(255) NOT NULL,
        public_key varchar(500),
        encrypted_private_key text,
        wallet_type varchar(50) NOT NULL,
        is_hardware boolean NOT NULL DEFAULT false,
        initial_balance numeric(78, 0),
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT wallets_address_unique UNIQUE (network_id, address),
        CONSTRAINT wallets_user_fkey FOREIGN KEY (tenant_id, user_id)
            REFERENCES auth.users (tenant_id, id)
    )
    """

# A partitioned table cannot be unique by anything that lacks the partition key, so the hashes
# have a table of their own. The second constraint is what transactions refer to.
TRANSACTION_KEYS = """
    CREATE TABLE blockchain.transaction_keys (
        network_id uuid NOT NULL,
        transaction_hash varchar(255) NOT NULL,
        transaction_id uuid NOT NULL,
        created_at timestamptz NOT NULL,
        CONSTRAINT transactions_hash_unique PRIMARY KEY (network_id, transaction_hash),
        CONSTRAINT transaction_keys_unique
            UNIQUE (transaction_id, created_at, network_id, transaction_hash)
    )
    """

TRANSACTIONS = """
    CREATE TABLE blockchain.transactions (
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        network_id uuid NOT NULL REFERENCES blockchain.networks (id),
        transaction_hash varchar(255) NOT NULL,
        from_address varchar(255) NOT NULL,
        to_address varchar(255),
        value numeric(78, 0) NOT NULL DEFAULT 0,
        gas_price numeric(78, 0),
        gas_limit bigint,
        gas_used bigint,
        nonce bigint,
        input_data text,
        status varchar(50) NOT NULL DEFAULT 'pending',
        block_number bigint,
        block_timestamp timestamptz,
        confirmation_count int DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (id, created_at),
        -- id and partition key are part of it: no second row can share another one's key row
        CONSTRAINT transactions_key_fkey
            FOREIGN KEY (id, created_at, network_id, transaction_hash)
            REFERENCES blockchain.transaction_keys
                (transaction_id, created_at, network_id, transaction_hash),
        CONSTRAINT transactions_status_check
            CHECK (status IN ('pending', 'confirmed', 'failed', 'dropped'))
    ) PARTITION BY RANGE (created_at)
    """

CONTRACTS = """
    CREATE TABLE blockchain.smart_contracts (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        network_id uuid NOT NULL REFERENCES blockchain.networks (id),
        address varchar(255) NOT NULL,
        name varchar(255),
        symbol varchar(50),
        contract_type varchar(50) NOT NULL,
        abi jsonb NOT NULL,
        bytecode text,
        source_code text,
        compiler_version varchar(50),
        optimization_enabled boolean,
        verified boolean NOT NULL DEFAULT false,
        deployed_by varchar(255),
        deployed_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT contracts_address_unique UNIQUE (network_id, address)
    )
    """

# Years are UTC years wherever the server stands. A year whose rows have already fallen into the
# default partition takes them over: attaching it would be refused as long as they are there.
ENSURE_PARTITIONS = """
    CREATE FUNCTION blockchain.ensure_transaction_partitions(years_ahead int)
    RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
    DECLARE
        first int := extract(year FROM now());
        partition text;
        since timestamptz;
        until timestamptz;
    BEGIN
        IF years_ahead IS NULL OR years_ahead NOT BETWEEN 0 AND 20 THEN
            RAISE EXCEPTION 'years_ahead must be between 0 and 20, got %', years_ahead
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('blockchain.ensure_transaction_partitions'));
        FOR year IN first .. first + years_ahead LOOP
            partition := 'transactions_' || year;
            CONTINUE WHEN to_regclass('blockchain.' || partition) IS NOT NULL;
            since := make_timestamptz(year, 1, 1, 0, 0, 0);
            until := make_timestamptz(year + 1, 1, 1, 0, 0, 0);
            EXECUTE format(
                'CREATE TABLE blockchain.%I (LIKE blockchain.transactions INCLUDING ALL)',
                partition);
            EXECUTE format('REVOKE ALL ON blockchain.%I FROM PUBLIC, neo_app', partition);
            LOCK TABLE blockchain.transactions_default IN ACCESS EXCLUSIVE MODE;
            EXECUTE format(
                'WITH moved AS (DELETE FROM blockchain.transactions_default'
                ' WHERE created_at >= %L AND created_at < %L RETURNING *)'
                ' INSERT INTO blockchain.%I SELECT * FROM moved', since, until, partition);
            EXECUTE format(
                'ALTER TABLE blockchain.transactions ATTACH PARTITION blockchain.%I'
                ' FOR VALUES FROM (%L) TO (%L)', partition, since, until);
            RETURN NEXT partition;
        END LOOP;
    END
    $$
    """

UP = (
    NETWORKS,
    WALLETS,
    "CREATE INDEX idx_wallets_user ON blockchain.wallets (user_id)",
    "CREATE INDEX idx_wallets_tenant ON blockchain.wallets (tenant_id, user_id)",
    TRANSACTION_KEYS,
    TRANSACTIONS,
    "CREATE INDEX idx_transactions_from ON blockchain.transactions (from_address)",
    "CREATE INDEX idx_transactions_to ON blockchain.transactions (to_address)",
    "CREATE INDEX idx_transactions_block ON blockchain.transactions (block_number DESC)",
    (
        "CREATE INDEX idx_transactions_status ON blockchain.transactions (status)"
        " WHERE status = 'pending'"
    ),
    (
        "CREATE INDEX idx_transactions_pending ON blockchain.transactions (created_at)"
        " WHERE status = 'pending'"
    ),
    (
        "CREATE INDEX idx_transactions_user_time"
        " ON blockchain.transactions (from_address, block_timestamp DESC)"
    ),
    "CREATE TABLE blockchain.transactions_default PARTITION OF blockchain.transactions DEFAULT",
    *(
        f"CREATE TABLE blockchain.transactions_{year} PARTITION OF blockchain.transactions"
        f" FOR VALUES FROM ('{year}-01-01 00:00:00+00') TO ('{year + 1}-01-01 00:00:00+00')"
        for year in (2024, 2025)
    ),
    (
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON blockchain.transactions"
        " FOR EACH ROW EXECUTE FUNCTION core.set_updated_at()"
    ),
    CONTRACTS,
    ENSURE_PARTITIONS,
    "SELECT blockchain.ensure_transaction_partitions(2)",
    "ALTER TABLE blockchain.wallets ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE blockchain.wallets FORCE ROW LEVEL SECURITY",
    """
    CREATE POLICY tenant_isolation ON blockchain.wallets
    USING (tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid))
    WITH CHECK (tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid))
    """,
)

DOWN = (
    "DROP FUNCTION blockchain.ensure_transaction_partitions(int)",
    "DROP TABLE blockchain.smart_contracts",
    "DROP TABLE blockchain.transactions",
    "DROP TABLE blockchain.transaction_keys",
    "DROP TABLE blockchain.wallets",
    "DROP TABLE blockchain.networks",
)


def upgrade() -> None:
    """Make the tables, and the partitions from 2024 to two years ahead."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables with their rows."""
    for statement in DOWN:
        op.execute(statement)
