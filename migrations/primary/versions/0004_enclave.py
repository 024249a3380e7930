"""Attestations, blobs that enclaves sealed for users, and computations inside enclaves."""

from alembic import op

revision = "0004_enclave"
down_revision = "0003_blockchain"

UP = (
    """
    CREATE TABLE enclave.attestations (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        enclave_id varchar(255) NOT NULL,
        mr_enclave varchar(64) NOT NULL,
        mr_signer varchar(64) NOT NULL,
        isv_prod_id int NOT NULL,
        isv_svn int NOT NULL,
        report_data varchar(128),
        quote bytea NOT NULL,
        attestation_type varchar(50) NOT NULL,
        status varchar(50) NOT NULL,
        verified_at timestamptz,
        expires_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT attestations_type_check
            CHECK (attestation_type IN ('EPID', 'DCAP', 'ECDSA'))
    )
    """,
    """
    CREATE TABLE enclave.sealed_data (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL,
        owner_id uuid NOT NULL,
        enclave_id varchar(255) NOT NULL,
        data_key varchar(255) NOT NULL UNIQUE,
        sealed_blob bytea NOT NULL,
        mac varchar(64) NOT NULL,
        policy varchar(50) NOT NULL,
        version int NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT sealed_data_owner_fkey FOREIGN KEY (tenant_id, owner_id)
            REFERENCES auth.users (tenant_id, id),
        CONSTRAINT sealed_data_policy_check
            CHECK (policy IN ('MRENCLAVE', 'MRSIGNER', 'USER_DEFINED'))
    )
    """,
    # sealed bytes do not compress: trying costs time on every write
    "ALTER TABLE enclave.sealed_data ALTER COLUMN sealed_blob SET STORAGE EXTERNAL",
    "CREATE INDEX idx_sealed_data_owner ON enclave.sealed_data (tenant_id, owner_id)",
    """
    CREATE TABLE enclave.computations (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL,
        user_id uuid NOT NULL,
        enclave_id varchar(255) NOT NULL,
        operation_type varchar(100) NOT NULL,
        input_hash varchar(64) NOT NULL,
        output_hash varchar(64),
        status varchar(50) NOT NULL DEFAULT 'pending',
        started_at timestamptz,
        completed_at timestamptz,
        error_message text,
        gas_used bigint,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT computations_user_fkey FOREIGN KEY (tenant_id, user_id)
            REFERENCES auth.users (tenant_id, id),
        CONSTRAINT computations_status_check
            CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled'))
    )
    """,
    "CREATE INDEX idx_computations_user ON enclave.computations (tenant_id, user_id)",
    (
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON enclave.sealed_data"
        " FOR EACH ROW EXECUTE FUNCTION core.set_updated_at()"
    ),
)


def upgrade() -> None:
    """Make the tables, closed to other tenants where a user owns the rows."""
    own = "tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"
    for statement in UP:
        op.execute(statement)
    for table in ("sealed_data", "computations"):
        op.execute(f"ALTER TABLE enclave.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE enclave.{table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON enclave.{table} USING ({own}) WITH CHECK ({own})"
        )


def downgrade() -> None:
    """Drop the tables with their rows."""
    for table in ("computations", "sealed_data", "attestations"):
        op.execute(f"DROP TABLE enclave.{table}")
