"""Users, their sessions, and who may do what; the user that stands for the platform."""

from alembic import op

revision = "0002_auth"
down_revision = "0001_core"

SYSTEM_TENANT = "00000000-0000-7000-8000-000000000001"
SYSTEM_USER = "00000000-0000-7000-8000-000000000002"

UP = (
    """
    CREATE TABLE auth.users (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL REFERENCES core.tenants (id),
        email varchar(255) NOT NULL,
        username varchar(100) NOT NULL,
        password_hash varchar(255) NOT NULL,
        mfa_secret varchar(255),
        mfa_enabled boolean NOT NULL DEFAULT false,
        email_verified boolean NOT NULL DEFAULT false,
        status varchar(50) NOT NULL DEFAULT 'active',
        last_login_at timestamptz,
        failed_login_attempts int NOT NULL DEFAULT 0,
        locked_until timestamptz,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        deleted_at timestamptz,
        CONSTRAINT users_email_unique UNIQUE (tenant_id, email),
        CONSTRAINT users_username_unique UNIQUE (tenant_id, username),
        -- what belongs to a user names the tenant too, and this makes it tell the truth
        CONSTRAINT users_tenant_id_unique UNIQUE (tenant_id, id),
        CONSTRAINT users_status_check
            CHECK (status IN ('active', 'inactive', 'locked', 'suspended'))
    )
    """,
    "CREATE INDEX idx_users_email ON auth.users (email) WHERE deleted_at IS NULL",
    "CREATE INDEX idx_users_tenant ON auth.users (tenant_id) WHERE deleted_at IS NULL",
    (
        "CREATE INDEX idx_users_active ON auth.users (email)"
        " WHERE deleted_at IS NULL AND status = 'active'"
    ),
    "CREATE INDEX idx_users_mfa_enabled ON auth.users (id) WHERE mfa_enabled = true",
    """
    CREATE FUNCTION auth.settle_user() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        NEW.email := lower(NEW.email);
        IF TG_OP = 'UPDATE' AND NEW.deleted_at IS NOT NULL AND OLD.deleted_at IS NULL THEN
            -- a deleted user neither keeps the address from others nor logs in again
            NEW.email := 'deleted:' || NEW.id;
            NEW.username := 'deleted:' || NEW.id;
            NEW.password_hash := '!';
        END IF;
        RETURN NEW;
    END
    $$
    """,
    (
        "CREATE TRIGGER settle_user BEFORE INSERT OR UPDATE ON auth.users"
        " FOR EACH ROW EXECUTE FUNCTION auth.settle_user()"
    ),
    """
    CREATE TABLE auth.sessions (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL,
        user_id uuid NOT NULL,
        token_hash varchar(255) NOT NULL UNIQUE,
        refresh_token_hash varchar(255) UNIQUE,
        ip_address inet NOT NULL,
        user_agent text,
        expires_at timestamptz NOT NULL,
        revoked_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT sessions_user_fkey FOREIGN KEY (tenant_id, user_id)
            REFERENCES auth.users (tenant_id, id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX idx_sessions_user ON auth.sessions (user_id)",
    "CREATE INDEX idx_sessions_expires ON auth.sessions (expires_at) WHERE revoked_at IS NULL",
    "CREATE INDEX idx_sessions_tenant ON auth.sessions (tenant_id, user_id)",
    """
    CREATE TABLE auth.permissions (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name varchar(100) NOT NULL UNIQUE,
        resource varchar(100) NOT NULL,
        action varchar(50) NOT NULL,
        description text,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT permissions_unique UNIQUE (resource, action)
    )
    """,
    """
    CREATE TABLE auth.roles (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL REFERENCES core.tenants (id),
        name varchar(100) NOT NULL,
        description text,
        is_system boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT roles_name_unique UNIQUE (tenant_id, name),
        CONSTRAINT roles_tenant_id_unique UNIQUE (tenant_id, id)
    )
    """,
    """
    CREATE TABLE auth.role_permissions (
        tenant_id uuid NOT NULL,
        role_id uuid NOT NULL,
        permission_id uuid NOT NULL REFERENCES auth.permissions (id) ON DELETE CASCADE,
        PRIMARY KEY (role_id, permission_id),
        CONSTRAINT role_permissions_role_fkey FOREIGN KEY (tenant_id, role_id)
            REFERENCES auth.roles (tenant_id, id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX idx_role_permissions_role ON auth.role_permissions (role_id)",
    "CREATE INDEX idx_role_permissions_tenant ON auth.role_permissions (tenant_id, role_id)",
    "CREATE INDEX idx_role_permissions_permission ON auth.role_permissions (permission_id)",
    """
    CREATE TABLE auth.user_roles (
        tenant_id uuid NOT NULL,
        user_id uuid NOT NULL,
        role_id uuid NOT NULL,
        granted_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        granted_by uuid,
        expires_at timestamptz,
        PRIMARY KEY (user_id, role_id),
        CONSTRAINT user_roles_user_fkey FOREIGN KEY (tenant_id, user_id)
            REFERENCES auth.users (tenant_id, id) ON DELETE CASCADE,
        CONSTRAINT user_roles_role_fkey FOREIGN KEY (tenant_id, role_id)
            REFERENCES auth.roles (tenant_id, id) ON DELETE CASCADE,
        CONSTRAINT user_roles_granted_by_fkey FOREIGN KEY (tenant_id, granted_by)
            REFERENCES auth.users (tenant_id, id)
    )
    """,
    "CREATE INDEX idx_user_roles_user ON auth.user_roles (user_id)",
    "CREATE INDEX idx_user_roles_role ON auth.user_roles (tenant_id, role_id)",
    "CREATE INDEX idx_user_roles_granted_by ON auth.user_roles (tenant_id, granted_by)",
)

TENANT_OWNED = ("users", "sessions", "roles", "role_permissions", "user_roles")


def upgrade() -> None:
    """Make the tables, closed to other tenants, and the system user (who cannot log in)."""
    own = "tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"
    for statement in UP:
        op.execute(statement)
    for table in ("users", "roles"):
        op.execute(
            f"CREATE TRIGGER set_updated_at BEFORE UPDATE ON auth.{table}"
            " FOR EACH ROW EXECUTE FUNCTION core.set_updated_at()"
        )
    for table in TENANT_OWNED:
        op.execute(f"ALTER TABLE auth.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE auth.{table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON auth.{table} USING ({own}) WITH CHECK ({own})"
        )
    op.execute(f"SELECT set_config('app.current_tenant', '{SYSTEM_TENANT}', true)")
    op.execute(
        "INSERT INTO auth.users (id, tenant_id, email, username, password_hash)"
        f" VALUES ('{SYSTEM_USER}', '{SYSTEM_TENANT}', 'system@localhost', 'system', '!')"
    )


def downgrade() -> None:
    """Drop the tables with their rows."""
    for table in ("user_roles", "role_permissions", "roles", "permissions", "sessions", "users"):
        op.execute(f"DROP TABLE auth.{table}")
    op.execute("DROP FUNCTION auth.settle_user()")
