"""What sealing keeps beside the blobs: heads against rollback, evidence, and policies as data.

A head says which version of an item is the newest and which MAC it has. It is written with the
item, never lowered and never removed: an older blob, or a whole older row, does not fit it.
"""

from alembic import op

revision = "0026_sealing"
down_revision = "0025_retention"

HEADS = """
    CREATE TABLE enclave.sealed_heads (
        owner varchar(263) COLLATE "C" NOT NULL,
        data_key varchar(255) COLLATE "C" NOT NULL,
        tenant_id uuid,
        version int NOT NULL,
        generation bigint NOT NULL DEFAULT 1,
        mac bytea NOT NULL,
        key_id varchar(255) NOT NULL,
        enclave_id varchar(255) NOT NULL,
        policy varchar(50) NOT NULL,
        measurement bytea,
        product_id int,
        svn_floor int,
        label varchar(200),
        policy_name varchar(100) NOT NULL DEFAULT '',
        size_bytes bigint NOT NULL,
        attestation_id uuid,
        written_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        sealed_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        deleted_at timestamptz,
        CONSTRAINT sealed_heads_pkey PRIMARY KEY (owner, data_key),
        CONSTRAINT sealed_heads_owner_check CHECK ((owner LIKE 'user:%') = (tenant_id IS NOT NULL)),
        CONSTRAINT sealed_heads_version_check CHECK (version > 0 AND generation > 0),
        CONSTRAINT sealed_heads_mac_check CHECK (octet_length(mac) = 32),
        CONSTRAINT sealed_heads_policy_check
            CHECK (policy IN ('MRENCLAVE', 'MRSIGNER', 'USER_DEFINED'))
    ) WITH (fillfactor = 80)
    """

# What an item was can only be succeeded. Restoring a deleted item's row does not undo the mark.
RISE = """
    CREATE FUNCTION enclave.check_head() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF (NEW.owner, NEW.data_key, NEW.tenant_id)
                IS DISTINCT FROM (OLD.owner, OLD.data_key, OLD.tenant_id)
            OR NEW.version < OLD.version OR NEW.generation <= OLD.generation
            OR (NEW.mac <> OLD.mac AND NEW.deleted_at IS NOT NULL)
            OR (OLD.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL
                AND NEW.version = OLD.version) THEN
            RAISE EXCEPTION 'the head of a sealed item only rises'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'sealed_heads_rise',
                    COLUMN = 'version', SCHEMA = 'enclave', TABLE = 'sealed_heads';
        END IF;
        RETURN NEW;
    END
    $$
    """

# Whoever removes an item, the clean-up too, leaves its head saying so.
MARK = """
    CREATE FUNCTION enclave.mark_deleted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF TG_TABLE_SCHEMA = 'enclave' THEN
            UPDATE enclave.sealed_heads h
            SET deleted_at = now(), generation = h.generation + 1
            WHERE h.owner = 'user:' || OLD.owner_id AND h.data_key = substr(OLD.data_key, 38)
                AND h.tenant_id = OLD.tenant_id AND h.deleted_at IS NULL;
        ELSE
            UPDATE enclave.sealed_heads h
            SET deleted_at = now(), generation = h.generation + 1
            WHERE h.owner = 'service:' || OLD.service_name AND h.data_key = OLD.item_key
                AND h.deleted_at IS NULL;
        END IF;
        RETURN NULL;
    END
    $$
    """

TENANT = "tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"
SERVICE = (
    "tenant_id IS NULL AND"
    " owner = (SELECT 'service:' || NULLIF(current_setting('app.current_service', true), ''))"
)

UP = (
    HEADS,
    (
        "CREATE INDEX idx_sealed_heads_key ON enclave.sealed_heads (key_id, owner, data_key)"
        " WHERE deleted_at IS NULL"
    ),
    RISE,
    (
        "CREATE TRIGGER check_head BEFORE UPDATE ON enclave.sealed_heads"
        " FOR EACH ROW EXECUTE FUNCTION enclave.check_head()"
    ),
    MARK,
    (
        "CREATE TRIGGER mark_deleted AFTER DELETE ON enclave.sealed_data"
        " FOR EACH ROW EXECUTE FUNCTION enclave.mark_deleted()"
    ),
    (
        "CREATE TRIGGER mark_deleted AFTER DELETE ON sgx.sealed_data_items"
        " FOR EACH ROW EXECUTE FUNCTION enclave.mark_deleted()"
    ),
    "ALTER TABLE enclave.sealed_heads ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE enclave.sealed_heads FORCE ROW LEVEL SECURITY",
    (
        "CREATE POLICY tenant_isolation ON enclave.sealed_heads"
        f" USING ({TENANT}) WITH CHECK ({TENANT})"
    ),
    (
        "CREATE POLICY service_isolation ON enclave.sealed_heads"
        f" USING ({SERVICE}) WITH CHECK ({SERVICE})"
    ),
    # the function that marks runs as the owner of the schema
    (
        "CREATE POLICY marking ON enclave.sealed_heads TO neo_owner"
        " USING (pg_trigger_depth() > 0) WITH CHECK (pg_trigger_depth() > 0)"
    ),
    # rotation and inventory go through all owners; heads hold nothing that is secret
    "CREATE POLICY surveying ON enclave.sealed_heads FOR SELECT TO neo_relay USING (true)",
    "REVOKE ALL ON enclave.sealed_heads FROM neo_app",
    "GRANT SELECT, INSERT, UPDATE ON enclave.sealed_heads TO neo_app",
    "GRANT USAGE ON SCHEMA enclave TO neo_relay",
    "GRANT SELECT ON enclave.sealed_heads TO neo_relay",
    """
    ALTER TABLE sgx.sealing_policies
        ADD COLUMN svn_floor int,
        ADD COLUMN attestation_max_age interval,
        ADD COLUMN attestation_policy jsonb,
        ADD CONSTRAINT sealing_policies_attestation_check
            CHECK (attestation_max_age > interval '0'),
        ADD CONSTRAINT sealing_policies_svn_check CHECK (svn_floor BETWEEN 0 AND 65535)
    """,
    """
    ALTER TABLE enclave.attestations
        ADD COLUMN collateral text,
        ADD COLUMN verdict jsonb,
        ADD COLUMN policy jsonb,
        ADD COLUMN judged_at timestamptz,
        ADD COLUMN root_ca bytea
    """,
    # a measurement of a TDX domain has 48 bytes
    """
    ALTER TABLE enclave.attestations
        ALTER COLUMN mr_enclave TYPE varchar(96), ALTER COLUMN mr_signer TYPE varchar(96)
    """,
    (
        "CREATE OR REPLACE TRIGGER audit_changes AFTER INSERT OR UPDATE OR DELETE"
        " ON enclave.attestations FOR EACH ROW"
        " EXECUTE FUNCTION public.audit_changes('quote', 'collateral', 'root_ca')"
    ),
    "SELECT core.grant_readers()",
)

DOWN = (
    (
        "CREATE OR REPLACE TRIGGER audit_changes AFTER INSERT OR UPDATE OR DELETE"
        " ON enclave.attestations FOR EACH ROW EXECUTE FUNCTION public.audit_changes('quote')"
    ),
    """
    ALTER TABLE enclave.attestations
        DROP COLUMN collateral, DROP COLUMN verdict, DROP COLUMN policy, DROP COLUMN judged_at,
        DROP COLUMN root_ca
    """,
    """
    ALTER TABLE enclave.attestations
        ALTER COLUMN mr_enclave TYPE varchar(64) USING left(mr_enclave, 64),
        ALTER COLUMN mr_signer TYPE varchar(64) USING left(mr_signer, 64)
    """,
    """
    ALTER TABLE sgx.sealing_policies
        DROP COLUMN svn_floor, DROP COLUMN attestation_max_age, DROP COLUMN attestation_policy
    """,
    "DROP TRIGGER mark_deleted ON sgx.sealed_data_items",
    "DROP TRIGGER mark_deleted ON enclave.sealed_data",
    "DROP TABLE enclave.sealed_heads",
    "DROP FUNCTION enclave.mark_deleted()",
    "DROP FUNCTION enclave.check_head()",
    "REVOKE USAGE ON SCHEMA enclave FROM neo_relay",
)


def upgrade() -> None:
    """Make table, functions and columns."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """The heads go: a rollback of an item that stays is not noticed any more."""
    for statement in DOWN:
        op.execute(statement)
