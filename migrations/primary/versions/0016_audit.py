"""A line in monitoring.audit_logs for every changed row that is worth money, trust or a secret.

Left out: transactions and their keys (bulk loads write hundreds of thousands of rows that are
facts of a chain, checkable there), sessions (the table is itself the record of logins, until its
rows expire), tenant_data, oracle requests and responses and the statuses of computations
(histories themselves), outbox and scheduler (they keep their own books).
"""

from alembic import op

revision = "0016_audit"
down_revision = "0015_services"

ALL = "INSERT OR UPDATE OR DELETE"

# table: the columns that no log may hold, because they are secret or because they are large
AUDITED = {
    "core.services": (),
    "core.tenants": (),
    "core.configurations": ("value",),
    "auth.users": ("password_hash", "mfa_secret"),
    "auth.permissions": (),
    "auth.roles": (),
    "auth.role_permissions": (),
    "auth.user_roles": (),
    "blockchain.networks": (),
    "blockchain.wallets": ("encrypted_private_key",),
    "blockchain.smart_contracts": ("abi", "bytecode", "source_code"),
    "enclave.attestations": ("quote",),
    "enclave.sealed_data": ("sealed_blob",),
    "enclave.computations": (),
    "sgx.sealing_policies": (),
    "sgx.sealed_data_items": ("sealed_data",),
    "sgx.enclave_attestations": (),
    "compute.computations": (),
    "compute.computation_results": ("result", "proof"),
    "compute.computation_permissions": (),
    "oracle.data_feeds": (),
    "voting.proposals": (),
    "voting.votes": (),
    "voting.voting_powers": (),
    "crosschain.transactions": (),
    "crosschain.bridge_operations": ("proof",),
    "keymanagement.keys": ("encrypted_key_material",),
    "keymanagement.key_rotations": (),
    "storage.objects": (),
    "security.secrets": ("payload",),
    "notification.notifications": ("payload",),
    "automation.jobs": ("payload",),
    "analytics.model_runs": ("payload",),
    "reporting.reports": ("payload",),
    "monitoring.alerts": (),
}

# a feed's value changes by the second, and what it was is told by its responses
EVENTS = {
    "oracle.data_feeds": (
        "INSERT OR DELETE OR UPDATE OF name, symbol, source_url, feed_type, decimals,"
        " update_interval_s, is_active"
    ),
}

NAMES = {"sgx.sealed_data_items": "audit_sealed_data_changes"}


def upgrade() -> None:
    """Make the triggers."""
    for table, hidden in AUDITED.items():
        arguments = ", ".join(f"'{column}'" for column in hidden)
        op.execute(
            f"CREATE TRIGGER {NAMES.get(table, 'audit_changes')}"
            f" AFTER {EVENTS.get(table, ALL)} ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION public.audit_changes({arguments})"
        )


def downgrade() -> None:
    """Drop the triggers; what they wrote stays."""
    for table in AUDITED:
        op.execute(f"DROP TRIGGER {NAMES.get(table, 'audit_changes')} ON {table}")
