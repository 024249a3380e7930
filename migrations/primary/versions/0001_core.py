"""Schemas, services, tenants and what tenants keep; the trigger behind every updated_at."""

from alembic import op

revision = "0001_core"
down_revision = None

SYSTEM_TENANT = "00000000-0000-7000-8000-000000000001"

UP = (
    # what this role makes is nobody's but its own until somebody is granted it
    "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    "CREATE SCHEMA core",
    "CREATE SCHEMA auth",
    "CREATE SCHEMA blockchain",
    "CREATE SCHEMA enclave",
    "CREATE SCHEMA audit",
    """
    CREATE FUNCTION core.set_updated_at() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        -- not now(): a row that is made and changed in one transaction has changed nevertheless
        NEW.updated_at := clock_timestamp();
        RETURN NEW;
    END
    $$
    """,
    """
    CREATE TABLE core.services (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name varchar(255) NOT NULL UNIQUE,
        description text,
        version varchar(50) NOT NULL,
        status varchar(50) NOT NULL DEFAULT 'inactive',
        configuration jsonb NOT NULL DEFAULT '{}',
        metadata jsonb NOT NULL DEFAULT '{}',
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT services_status_check
            CHECK (status IN ('active', 'inactive', 'degraded', 'maintenance'))
    )
    """,
    "CREATE INDEX idx_services_config ON core.services USING gin (configuration)",
    """
    CREATE TABLE core.tenants (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name varchar(255) NOT NULL,
        identifier varchar(100) NOT NULL UNIQUE,
        subscription_tier varchar(50) NOT NULL DEFAULT 'free',
        settings jsonb NOT NULL DEFAULT '{}',
        limits jsonb NOT NULL DEFAULT '{}',
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        deleted_at timestamptz,
        CONSTRAINT tenants_tier_check
            CHECK (subscription_tier IN ('free', 'basic', 'pro', 'enterprise'))
    )
    """,
    "CREATE INDEX idx_tenants_settings ON core.tenants USING gin (settings)",
    """
    CREATE TABLE core.tenant_data (
        tenant_id uuid NOT NULL,
        data_id uuid NOT NULL,
        data jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (tenant_id, data_id)
    ) PARTITION BY HASH (tenant_id)
    """,
    *(
        f"CREATE TABLE core.tenant_data_p{part} PARTITION OF core.tenant_data"
        f" FOR VALUES WITH (MODULUS 4, REMAINDER {part})"
        for part in range(4)
    ),
)


def isolate(table: str, column: str = "tenant_id") -> tuple[str, ...]:
    """Show and accept only rows of the tenant in force, to the owner of the table too.

    The sub-select is evaluated once per statement; an unset or empty setting is no tenant.
    """
    own = f"{column} = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"
    return (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant_isolation ON {table} USING ({own}) WITH CHECK ({own})",
    )


def stamp(table: str) -> str:
    """Keep updated_at true, whatever client writes."""
    return (
        f"CREATE TRIGGER set_updated_at BEFORE UPDATE ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION core.set_updated_at()"
    )


def upgrade() -> None:
    """Make schemas and tables, and the tenant that owns what the platform itself loads."""
    for statement in UP:
        op.execute(statement)
    for table in ("core.services", "core.tenants"):
        op.execute(stamp(table))
    for statement in isolate("core.tenants", "id"):
        op.execute(statement)
    # a partition that is addressed by its own name does not ask its parent's policies
    for table in ("tenant_data", *(f"tenant_data_p{part}" for part in range(4))):
        for statement in isolate(f"core.{table}"):
            op.execute(statement)
    op.execute(f"SELECT set_config('app.current_tenant', '{SYSTEM_TENANT}', true)")
    op.execute(
        "INSERT INTO core.tenants (id, name, identifier, subscription_tier)"
        f" VALUES ('{SYSTEM_TENANT}', 'System', 'system', 'enterprise')"
    )


def downgrade() -> None:
    """Drop it all, with its rows."""
    for schema in ("audit", "enclave", "blockchain", "auth"):
        op.execute(f"DROP SCHEMA {schema}")
    op.execute("DROP SCHEMA core CASCADE")
    op.execute("ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC")
