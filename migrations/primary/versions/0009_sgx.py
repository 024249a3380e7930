"""What enclaves seal for services: policies, items that may expire, and their attestations."""

from alembic import op

revision = "0009_sgx"
down_revision = "0008_monitoring"

UP = (
    "CREATE SCHEMA sgx",
    """
    CREATE TABLE sgx.sealing_policies (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name varchar(100) NOT NULL UNIQUE,
        policy_type varchar(50) NOT NULL,
        retention_days int NOT NULL DEFAULT 90,
        key_rotation_days int,
        allowed_enclaves text[] NOT NULL DEFAULT '{}',
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT sealing_policies_type_check
            CHECK (policy_type IN ('MRENCLAVE', 'MRSIGNER', 'USER_DEFINED')),
        CONSTRAINT sealing_policies_days_check CHECK (retention_days > 0 AND key_rotation_days > 0)
    )
    """,
    """
    CREATE TABLE sgx.sealed_data_items (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        service_name varchar(255) NOT NULL,
        item_key varchar(255) NOT NULL,
        sealed_data bytea NOT NULL,
        mac varchar(64),
        content_hash varchar(64),
        policy_id uuid REFERENCES sgx.sealing_policies (id),
        size_bytes bigint NOT NULL DEFAULT 0,
        version int NOT NULL DEFAULT 1,
        metadata jsonb NOT NULL DEFAULT '{}',
        expires_at timestamptz,
        last_accessed_at timestamptz,
        access_count bigint NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT sealed_data_items_key_unique UNIQUE (service_name, item_key),
        -- what belongs to an item names the service too, and this makes it tell the truth
        CONSTRAINT sealed_data_items_service_id_unique UNIQUE (service_name, id),
        CONSTRAINT sealed_data_items_version_check CHECK (version > 0)
    )
    """,
    # sealed bytes do not compress: trying costs time on every write
    "ALTER TABLE sgx.sealed_data_items ALTER COLUMN sealed_data SET STORAGE EXTERNAL",
    (
        "CREATE INDEX idx_sealed_data_service_expiry"
        " ON sgx.sealed_data_items (service_name, expires_at) WHERE expires_at IS NOT NULL"
    ),
    # the clean-up asks for all services at once
    (
        "CREATE INDEX idx_sealed_data_expiry ON sgx.sealed_data_items (expires_at)"
        " WHERE expires_at IS NOT NULL"
    ),
    "CREATE INDEX idx_sealed_data_policy ON sgx.sealed_data_items (policy_id)",
    """
    CREATE FUNCTION sgx.measure_item() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        NEW.size_bytes := octet_length(NEW.sealed_data);
        RETURN NEW;
    END
    $$
    """,
    (
        "CREATE TRIGGER measure_item BEFORE INSERT OR UPDATE OF sealed_data, size_bytes"
        " ON sgx.sealed_data_items FOR EACH ROW EXECUTE FUNCTION sgx.measure_item()"
    ),
    (
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON sgx.sealed_data_items"
        " FOR EACH ROW EXECUTE FUNCTION core.set_updated_at()"
    ),
    """
    CREATE TABLE sgx.enclave_attestations (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        service_name varchar(255) NOT NULL,
        sealed_item_id uuid NOT NULL,
        attestation_id uuid NOT NULL REFERENCES enclave.attestations (id),
        status varchar(50) NOT NULL DEFAULT 'pending',
        verified_at timestamptz,
        expires_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT enclave_attestations_item_fkey FOREIGN KEY (service_name, sealed_item_id)
            REFERENCES sgx.sealed_data_items (service_name, id) ON DELETE CASCADE,
        CONSTRAINT enclave_attestations_status_check
            CHECK (status IN ('pending', 'verified', 'rejected', 'revoked', 'expired'))
    )
    """,
    (
        "CREATE INDEX idx_enclave_attestations_item"
        " ON sgx.enclave_attestations (service_name, sealed_item_id)"
    ),
    (
        "CREATE INDEX idx_enclave_attestations_attestation"
        " ON sgx.enclave_attestations (attestation_id)"
    ),
    (
        "CREATE INDEX idx_enclave_attestations_expiry ON sgx.enclave_attestations (expires_at)"
        " WHERE expires_at IS NOT NULL"
    ),
    "CREATE INDEX idx_attestations_expiry ON enclave.attestations (expires_at)",
    "GRANT USAGE ON SCHEMA sgx TO neo_app",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sgx TO neo_app",
)


def upgrade() -> None:
    """Make the tables, closed to other services where a service owns the rows."""
    own = "service_name = (SELECT NULLIF(current_setting('app.current_service', true), ''))"
    for statement in UP:
        op.execute(statement)
    for table in ("sealed_data_items", "enclave_attestations"):
        op.execute(f"ALTER TABLE sgx.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE sgx.{table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY service_isolation ON sgx.{table} FOR ALL"
            f" USING ({own}) WITH CHECK ({own})"
        )


def downgrade() -> None:
    """Drop the schema with its rows."""
    op.execute("DROP INDEX enclave.idx_attestations_expiry")
    op.execute("DROP SCHEMA sgx CASCADE")
