"""Keeps evidence for as long as an item says that it was written under it."""

from alembic import op

revision = "0028_evidence"
down_revision = "0027_api_keys"

_FUNCTION = """
    CREATE OR REPLACE FUNCTION public.cleanup_expired_data() RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        removed jsonb := '{}';
        count bigint;
    BEGIN
        PERFORM set_config('app.maintenance', 'cleanup', true);
        DELETE FROM auth.sessions WHERE expires_at < now();
        GET DIAGNOSTICS count = ROW_COUNT;
        removed := removed || jsonb_build_object('sessions', count);
        DELETE FROM sgx.sealed_data_items WHERE expires_at < now();
        GET DIAGNOSTICS count = ROW_COUNT;
        removed := removed || jsonb_build_object('sealed_data_items', count);
        DELETE FROM sgx.enclave_attestations WHERE expires_at < now();
        GET DIAGNOSTICS count = ROW_COUNT;
        removed := removed || jsonb_build_object('enclave_attestations', count);
        DELETE FROM enclave.attestations a WHERE a.expires_at < now()
            AND NOT EXISTS (SELECT FROM sgx.enclave_attestations l WHERE l.attestation_id = a.id)
            {more};
        GET DIAGNOSTICS count = ROW_COUNT;
        removed := removed || jsonb_build_object('attestations', count);
        PERFORM set_config('app.maintenance', '', true);
        PERFORM audit.record('CLEANUP_EXPIRED_DATA', NULL, NULL, new_values => removed);
        RETURN removed;
    END
    $$
    """
_NAMED = """AND NOT EXISTS (SELECT FROM enclave.sealed_heads h
                WHERE h.attestation_id = a.id AND h.deleted_at IS NULL)"""
CLEANING = "current_setting('app.maintenance', true) = 'cleanup'"

UP = (
    (
        "CREATE INDEX idx_sealed_heads_attestation ON enclave.sealed_heads (attestation_id)"
        " WHERE attestation_id IS NOT NULL AND deleted_at IS NULL"
    ),
    (f"CREATE POLICY cleaning ON enclave.sealed_heads FOR SELECT TO neo_owner USING ({CLEANING})"),
    _FUNCTION.replace("{more}", _NAMED),
)

DOWN = (
    _FUNCTION.replace("\n            {more}", ""),
    "DROP POLICY cleaning ON enclave.sealed_heads",
    "DROP INDEX enclave.idx_sealed_heads_attestation",
)


def upgrade() -> None:
    """Make the index, the policy and the function."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Evidence goes when it has expired, whoever names it."""
    for statement in DOWN:
        op.execute(statement)
