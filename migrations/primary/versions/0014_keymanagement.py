"""Keys, wrapped by another key before they come here, and the history of their rotation."""

from alembic import op

revision = "0014_keymanagement"
down_revision = "0013_crosschain"

UP = (
    "CREATE SCHEMA keymanagement",
    """
    CREATE TABLE keymanagement.keys (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        key_alias varchar(255) NOT NULL UNIQUE,
        key_type varchar(50) NOT NULL,
        algorithm varchar(50) NOT NULL,
        public_key text,
        encrypted_key_material bytea,
        status varchar(50) NOT NULL DEFAULT 'active',
        version int NOT NULL DEFAULT 1,
        rotation_days int NOT NULL DEFAULT 90,
        expires_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        rotated_at timestamptz,
        CONSTRAINT keys_status_check
            CHECK (status IN ('active', 'rotated', 'revoked', 'destroyed')),
        CONSTRAINT keys_destroyed_check
            CHECK (status <> 'destroyed' OR encrypted_key_material IS NULL),
        CONSTRAINT keys_version_check CHECK (version > 0),
        CONSTRAINT keys_rotation_check CHECK (rotation_days > 0)
    )
    """,
    (
        "CREATE INDEX idx_keys_due ON keymanagement.keys ((coalesce(rotated_at, created_at)))"
        " WHERE status = 'active'"
    ),
    """
    CREATE TABLE keymanagement.key_rotations (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        key_id uuid NOT NULL REFERENCES keymanagement.keys (id),
        from_version int NOT NULL,
        to_version int NOT NULL,
        reason varchar(255),
        rotated_by varchar(255),
        rotated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT key_rotations_version_unique UNIQUE (key_id, to_version),
        CONSTRAINT key_rotations_versions_check CHECK (to_version > from_version)
    )
    """,
    "GRANT USAGE ON SCHEMA keymanagement TO neo_app",
    # a key ends as destroyed, not as a missing row, and its history stands
    "GRANT SELECT, INSERT, UPDATE ON keymanagement.keys TO neo_app",
    "GRANT SELECT, INSERT ON keymanagement.key_rotations TO neo_app",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Drop the schema, and with it every key: what they sealed stays sealed."""
    op.execute("DROP SCHEMA keymanagement CASCADE")
