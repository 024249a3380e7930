"""What the remaining services of a tenant keep: objects, secrets, notifications, jobs, reports."""

from alembic import op

revision = "0015_services"
down_revision = "0014_keymanagement"

OBJECTS = """
    CREATE TABLE storage.objects (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL REFERENCES core.tenants (id),
        bucket varchar(63) NOT NULL,
        object_key varchar(1024) NOT NULL,
        size_bytes bigint NOT NULL,
        sha256 varchar(64) NOT NULL,
        content_type varchar(255) NOT NULL DEFAULT 'application/octet-stream',
        ipfs_cid varchar(255),
        created_date date NOT NULL DEFAULT CURRENT_DATE,
        CONSTRAINT objects_key_unique UNIQUE (tenant_id, bucket, object_key),
        CONSTRAINT objects_size_check CHECK (size_bytes >= 0),
        CONSTRAINT objects_sha256_check CHECK (sha256 ~ '^[0-9a-f]{64}$')
    )
    """

# schema.table, and what its rows can be, the first of which they begin as
SERVICES = {
    "security.secrets": ("active", "rotated", "revoked", "expired"),
    "notification.notifications": ("pending", "sent", "delivered", "failed", "read"),
    "automation.jobs": ("active", "paused", "running", "completed", "failed", "cancelled"),
    "analytics.model_runs": ("pending", "running", "completed", "failed", "cancelled"),
    "reporting.reports": ("pending", "running", "completed", "failed", "cancelled"),
}


def upgrade() -> None:
    """Make a schema and a table for each, closed to other tenants."""
    own = "tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"
    op.execute("CREATE SCHEMA storage")
    op.execute(OBJECTS)
    op.execute("CREATE INDEX idx_objects_created ON storage.objects (created_date)")
    op.execute("CREATE INDEX idx_objects_sha256 ON storage.objects (sha256)")
    for name, statuses in SERVICES.items():
        schema, table = name.split(".")
        op.execute(f"CREATE SCHEMA {schema}")
        op.execute(
            f"""
            CREATE TABLE {name} (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                tenant_id uuid NOT NULL REFERENCES core.tenants (id),
                name varchar(255) NOT NULL,
                payload jsonb NOT NULL DEFAULT '{{}}',
                status varchar(50) NOT NULL DEFAULT '{statuses[0]}',
                created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
                updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
                CONSTRAINT {table}_status_check CHECK (status IN {statuses})
            )
            """
        )
        op.execute(f"CREATE INDEX idx_{table}_status ON {name} (tenant_id, status, created_at)")
        op.execute(
            f"CREATE TRIGGER set_updated_at BEFORE UPDATE ON {name}"
            " FOR EACH ROW EXECUTE FUNCTION core.set_updated_at()"
        )
    op.execute(
        "ALTER TABLE security.secrets ADD CONSTRAINT secrets_name_unique UNIQUE (tenant_id, name)"
    )
    for name in ("storage.objects", *SERVICES):
        op.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant_isolation ON {name} USING ({own}) WITH CHECK ({own})")
        op.execute(f"GRANT USAGE ON SCHEMA {name.split('.')[0]} TO neo_app")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO neo_app")


def downgrade() -> None:
    """Drop the schemas with their rows."""
    for name in ("storage.objects", *SERVICES):
        op.execute(f"DROP SCHEMA {name.split('.')[0]} CASCADE")
