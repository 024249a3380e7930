"""What can be computed, each run of it, what came out, and who may run or read it."""

from alembic import op

revision = "0010_compute"
down_revision = "0009_sgx"

UP = (
    "CREATE SCHEMA compute",
    """
    CREATE TABLE compute.computations (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL REFERENCES core.tenants (id),
        name varchar(255) NOT NULL,
        description text,
        blockchain_type varchar(50) NOT NULL,
        computation_type varchar(50) NOT NULL,
        code_hash varchar(64),
        is_active boolean NOT NULL DEFAULT true,
        version int NOT NULL DEFAULT 1,
        metadata jsonb NOT NULL DEFAULT '{}',
        created_by uuid,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT computations_tenant_id_unique UNIQUE (tenant_id, id),
        CONSTRAINT computations_created_by_fkey FOREIGN KEY (tenant_id, created_by)
            REFERENCES auth.users (tenant_id, id),
        CONSTRAINT computations_version_check CHECK (version > 0)
    )
    """,
    (
        "CREATE INDEX idx_active_computations ON compute.computations (blockchain_type)"
        " WHERE is_active = true"
    ),
    "CREATE INDEX idx_computations_created_by ON compute.computations (tenant_id, created_by)",
    (
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON compute.computations"
        " FOR EACH ROW EXECUTE FUNCTION core.set_updated_at()"
    ),
    """
    CREATE TABLE compute.computation_statuses (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL,
        computation_id uuid NOT NULL,
        status varchar(50) NOT NULL DEFAULT 'pending',
        attempt int NOT NULL DEFAULT 1,
        started_at timestamptz,
        completed_at timestamptz,
        error_message text,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT computation_statuses_whole_unique UNIQUE (tenant_id, computation_id, id),
        CONSTRAINT computation_statuses_computation_fkey FOREIGN KEY (tenant_id, computation_id)
            REFERENCES compute.computations (tenant_id, id) ON DELETE CASCADE,
        CONSTRAINT computation_statuses_status_check
            CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
        CONSTRAINT computation_statuses_attempt_check CHECK (attempt > 0),
        CONSTRAINT computation_statuses_period_check CHECK (completed_at >= started_at)
    )
    """,
    (
        "CREATE INDEX idx_computation_statuses_unfinished"
        " ON compute.computation_statuses (status, created_at)"
        " WHERE status IN ('pending', 'running')"
    ),
    # a result belongs to a run of the same computation
    """
    CREATE TABLE compute.computation_results (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL,
        computation_id uuid NOT NULL,
        status_id uuid,
        result jsonb NOT NULL,
        output_hash varchar(64),
        gas_used bigint,
        proof bytea,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT computation_results_computation_fkey FOREIGN KEY (tenant_id, computation_id)
            REFERENCES compute.computations (tenant_id, id) ON DELETE CASCADE,
        CONSTRAINT computation_results_status_fkey
            FOREIGN KEY (tenant_id, computation_id, status_id)
            REFERENCES compute.computation_statuses (tenant_id, computation_id, id)
            ON DELETE CASCADE,
        CONSTRAINT computation_results_gas_check CHECK (gas_used >= 0)
    )
    """,
    (
        "CREATE INDEX idx_computation_results_status"
        " ON compute.computation_results (tenant_id, computation_id, status_id)"
    ),
    # a principal is a user, a role or a service: no foreign key fits all three
    """
    CREATE TABLE compute.computation_permissions (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL,
        computation_id uuid NOT NULL,
        principal_type varchar(50) NOT NULL,
        principal_id varchar(255) NOT NULL,
        permission varchar(50) NOT NULL,
        granted_by uuid,
        granted_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        expires_at timestamptz,
        CONSTRAINT computation_permissions_unique
            UNIQUE (computation_id, principal_type, principal_id, permission),
        CONSTRAINT computation_permissions_computation_fkey FOREIGN KEY (tenant_id, computation_id)
            REFERENCES compute.computations (tenant_id, id) ON DELETE CASCADE,
        CONSTRAINT computation_permissions_granted_by_fkey FOREIGN KEY (tenant_id, granted_by)
            REFERENCES auth.users (tenant_id, id),
        CONSTRAINT computation_permissions_principal_check
            CHECK (principal_type IN ('user', 'role', 'service')),
        CONSTRAINT computation_permissions_permission_check
            CHECK (permission IN ('read', 'execute', 'admin'))
    )
    """,
    (
        "CREATE INDEX idx_computation_permissions_computation"
        " ON compute.computation_permissions (tenant_id, computation_id)"
    ),
    (
        "CREATE INDEX idx_computation_permissions_granted_by"
        " ON compute.computation_permissions (tenant_id, granted_by)"
    ),
    "GRANT USAGE ON SCHEMA compute TO neo_app",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA compute TO neo_app",
)

TENANT_OWNED = (
    "computations",
    "computation_statuses",
    "computation_results",
    "computation_permissions",
)


def upgrade() -> None:
    """Make the tables, closed to other tenants."""
    own = "tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"
    for statement in UP:
        op.execute(statement)
    for table in TENANT_OWNED:
        op.execute(f"ALTER TABLE compute.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE compute.{table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON compute.{table} USING ({own}) WITH CHECK ({own})"
        )


def downgrade() -> None:
    """Drop the schema with its rows."""
    op.execute("DROP SCHEMA compute CASCADE")
