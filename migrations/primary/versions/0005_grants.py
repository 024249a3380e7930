"""What the application may do: rows, where it needs them; never the schema, never TRUNCATE."""

from alembic import op

revision = "0005_grants"
down_revision = "0004_enclave"

APPLICATION = "neo_app"

SCHEMAS = ("core", "auth", "blockchain", "enclave", "audit")

ROWS = "SELECT, INSERT, UPDATE, DELETE"

# Tenants and transactions outlive the application's wish to delete them: a tenant is marked
# deleted, and transactions go by retention, which runs as the owner. Partitions are reached
# through their parent; the default one is looked at by the health probe.
GRANTS = {
    ROWS: (
        "core.services",
        "core.tenant_data",
        "auth.users",
        "auth.sessions",
        "auth.permissions",
        "auth.roles",
        "auth.role_permissions",
        "auth.user_roles",
        "blockchain.networks",
        "blockchain.wallets",
        "blockchain.smart_contracts",
        "enclave.attestations",
        "enclave.sealed_data",
        "enclave.computations",
    ),
    "SELECT, INSERT, UPDATE": ("core.tenants", "blockchain.transactions"),
    "SELECT, INSERT": ("blockchain.transaction_keys",),
    "SELECT": ("blockchain.transactions_default",),
}


def _on_database(command: str, privileges: str, direction: str) -> str:
    return (
        "DO $$ BEGIN EXECUTE format("
        f"'{command} {privileges} ON DATABASE %I {direction}', current_database()); END $$"
    )


def upgrade() -> None:
    """Take from PUBLIC, give to the application (TEMPORARY is for bulk loads' staging tables)."""
    op.execute(_on_database("REVOKE", "ALL", "FROM PUBLIC"))
    op.execute(_on_database("GRANT", "CONNECT, TEMPORARY", f"TO {APPLICATION}"))
    op.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    for schema in ("public", *SCHEMAS):
        op.execute(f"GRANT USAGE ON SCHEMA {schema} TO {APPLICATION}")
    for privileges, tables in GRANTS.items():
        op.execute(f"GRANT {privileges} ON {', '.join(tables)} TO {APPLICATION}")
    op.execute(
        f"GRANT EXECUTE ON FUNCTION blockchain.ensure_transaction_partitions(int) TO {APPLICATION}"
    )
    op.execute(f"ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO {APPLICATION}")
    for schema in SCHEMAS:
        later = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT"
        op.execute(f"{later} {ROWS} ON TABLES TO {APPLICATION}")
        op.execute(f"{later} USAGE ON SEQUENCES TO {APPLICATION}")


def downgrade() -> None:
    """Give PUBLIC back what a new database gives it, and the application nothing."""
    for schema in SCHEMAS:
        later = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} REVOKE"
        op.execute(f"{later} ALL ON SEQUENCES FROM {APPLICATION}")
        op.execute(f"{later} ALL ON TABLES FROM {APPLICATION}")
    op.execute(f"ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM {APPLICATION}")
    op.execute(
        "REVOKE EXECUTE ON FUNCTION blockchain.ensure_transaction_partitions(int)"
        f" FROM {APPLICATION}"
    )
    for tables in GRANTS.values():
        op.execute(f"REVOKE ALL ON {', '.join(tables)} FROM {APPLICATION}")
    for schema in ("public", *SCHEMAS):
        op.execute(f"REVOKE USAGE ON SCHEMA {schema} FROM {APPLICATION}")
    op.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    op.execute(_on_database("REVOKE", "ALL", f"FROM {APPLICATION}"))
    op.execute(_on_database("GRANT", "CONNECT, TEMPORARY", "TO PUBLIC"))
