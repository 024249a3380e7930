"""Legal holds, and the deletions under way that a hold has to wait for (decision 0015).

A hold is never deleted: released, it stays on record. Who deletes takes the lock of the data type
shared and reads the holds under it; who adds a hold takes it alone. `deletions` are kept by those
whose records lie in another store: one that is still there without its lock was left by a crash,
and what it asked of that store may go on until `deadline`.
"""

from alembic import op

revision = "0025_retention"
down_revision = "0024_single_database"

LOCK = "hashtext('retention.holds'), hashtext(%s)"

UP = (
    "CREATE SCHEMA retention",
    """
    CREATE TABLE retention.holds (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        data_types text[] NOT NULL CHECK (cardinality(data_types) > 0),
        tenant uuid,
        key text,
        conditions jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(conditions) = 'array'),
        since timestamptz,
        until timestamptz,
        words text,
        reason text NOT NULL CHECK (reason <> ''),
        added_by text NOT NULL,
        added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        in_force_at timestamptz,
        released_by text,
        released_at timestamptz,
        release_reason text CHECK (release_reason <> ''),
        CONSTRAINT holds_release_check
            CHECK ((released_at IS NULL) = (release_reason IS NULL)
                AND (released_at IS NULL) = (released_by IS NULL))
    )
    """,
    "CREATE INDEX idx_holds_open ON retention.holds (id) WHERE released_at IS NULL",
    """
    CREATE TABLE retention.deletions (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        data_type text NOT NULL,
        holder text NOT NULL,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        deadline timestamptz NOT NULL
    )
    """,
    f"""
    CREATE FUNCTION retention.guard(data_type text, seen bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared({LOCK % "data_type"});
        IF seen IS DISTINCT FROM (
            SELECT coalesce(max(id), 0) FROM retention.holds WHERE guard.data_type = ANY(data_types)
        ) THEN
            RAISE EXCEPTION 'a hold on % was added meanwhile', data_type
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END $$
    """,
    # Nobody changes the year's rows from here to the end of the transaction.
    """
    CREATE FUNCTION retention.lock_transaction_year(year int) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF year IS NULL OR year NOT BETWEEN 1970 AND extract(year FROM now()) - 1 THEN
            RAISE EXCEPTION 'year must be a past one from 1970 on, got %', year
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        EXECUTE format('LOCK TABLE blockchain.%I IN SHARE MODE', 'transactions_' || year);
    END $$
    """,
    (
        "REVOKE ALL ON FUNCTION retention.guard(text, bigint),"
        " retention.lock_transaction_year(int) FROM PUBLIC"
    ),
    "GRANT EXECUTE ON FUNCTION retention.lock_transaction_year(int) TO neo_relay",
    "GRANT SELECT ON blockchain.transactions, blockchain.networks TO neo_relay",
    "GRANT USAGE ON SCHEMA retention TO neo_app, neo_relay, neo_retention",
    "GRANT EXECUTE ON FUNCTION retention.guard(text, bigint) TO neo_app, neo_relay, neo_retention",
    "GRANT SELECT, INSERT ON retention.holds TO neo_relay",
    (
        "GRANT UPDATE (in_force_at, released_by, released_at, release_reason)"
        " ON retention.holds TO neo_relay"
    ),
    "GRANT SELECT, INSERT, DELETE ON retention.deletions TO neo_relay",
)


def upgrade() -> None:
    """Make both tables, and what a deleting transaction asks."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Drop them: every hold is gone."""
    op.execute("DROP SCHEMA retention CASCADE")
    op.execute("REVOKE SELECT ON blockchain.transactions, blockchain.networks FROM neo_relay")
