"""API keys: what programs prove themselves by, each a tenant's, of which only the hash is kept."""

from alembic import op

revision = "0027_api_keys"
down_revision = "0026_sealing"

UP = (
    """
    CREATE TABLE auth.api_keys (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL REFERENCES core.tenants (id),
        name varchar(100) NOT NULL,
        key_hash varchar(64) NOT NULL,
        service varchar(100),
        roles text[] NOT NULL DEFAULT '{}',
        created_by varchar(255),
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        expires_at timestamptz,
        revoked_at timestamptz,
        CONSTRAINT api_keys_name_unique UNIQUE (tenant_id, name)
    )
    """,
    "ALTER TABLE auth.api_keys ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE auth.api_keys FORCE ROW LEVEL SECURITY",
    # a key is ended, never deleted: what was done with it stays explained
    "REVOKE ALL ON auth.api_keys FROM neo_app",
    "GRANT SELECT, INSERT ON auth.api_keys TO neo_app",
    "GRANT UPDATE (revoked_at) ON auth.api_keys TO neo_app",
    (
        "CREATE TRIGGER audit_changes AFTER INSERT OR UPDATE OR DELETE ON auth.api_keys"
        " FOR EACH ROW EXECUTE FUNCTION public.audit_changes('key_hash')"
    ),
)

# The readers' function names, in its own text, the columns that neo_readonly may not read.
LAST = "('security.secrets', 'payload')"
HASH = f"{LAST},\n    ('auth.api_keys', 'key_hash')"


def _secrets(old: str, new: str) -> str:
    return (
        "DO $do$ BEGIN EXECUTE replace("
        "pg_get_functiondef('core.grant_reader(text, regclass)'::regprocedure),"
        f" $old${old}$old$, $new${new}$new$); END $do$"
    )


def upgrade() -> None:
    """Make the table, closed to other tenants."""
    own = "tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"
    for statement in UP:
        op.execute(statement)
    op.execute(f"CREATE POLICY tenant_isolation ON auth.api_keys USING ({own}) WITH CHECK ({own})")
    op.execute(_secrets(LAST, HASH))
    op.execute("SELECT core.grant_readers()")


def downgrade() -> None:
    """Drop the table: every key is void."""
    op.execute(_secrets(HASH, LAST))
    op.execute("DROP TABLE auth.api_keys")
