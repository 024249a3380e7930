"""The clean-up of what has expired, and the views that show how the database is doing."""

from alembic import op

revision = "0017_maintenance"
down_revision = "0016_audit"

# One row per clean-up, also when there was nothing to do: that it ran is worth knowing. What no
# longer proves anything but is still referred to by a living item stays with it.
CLEANUP = """
    CREATE FUNCTION public.cleanup_expired_data() RETURNS jsonb
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
            AND NOT EXISTS (SELECT FROM sgx.enclave_attestations l WHERE l.attestation_id = a.id);
        GET DIAGNOSTICS count = ROW_COUNT;
        removed := removed || jsonb_build_object('attestations', count);
        PERFORM set_config('app.maintenance', '', true);
        PERFORM audit.record('CLEANUP_EXPIRED_DATA', NULL, NULL, new_values => removed);
        RETURN removed;
    END
    $$
    """

# Row-level security binds the function's owner too. These open to it, while the function runs,
# the rows of everybody that have expired, and no others. To any other role they mean nothing.
CLEANING = "current_setting('app.maintenance', true) = 'cleanup'"
POLICIES = {
    "auth.sessions": "expires_at < now()",
    "sgx.sealed_data_items": "expires_at < now()",
    # all of them may be looked at: whether an attestation is still referred to
    "sgx.enclave_attestations": "true",
}

PERFORMANCE = """
    CREATE VIEW monitoring.database_performance WITH (security_invoker = true) AS
    SELECT d.datname AS database, pg_database_size(d.datid) AS size_bytes,
        d.numbackends AS connections,
        current_setting('max_connections')::int AS max_connections,
        d.xact_commit AS commits, d.xact_rollback AS rollbacks,
        round(d.blks_hit::numeric / NULLIF(d.blks_hit + d.blks_read, 0), 4) AS cache_hit_ratio,
        d.tup_returned AS rows_read, d.tup_fetched AS rows_fetched, d.tup_inserted AS rows_inserted,
        d.tup_updated AS rows_updated, d.tup_deleted AS rows_deleted,
        d.temp_files, d.temp_bytes, d.deadlocks, d.conflicts, d.checksum_failures,
        (SELECT count(*) FROM pg_locks l WHERE NOT l.granted AND l.database = d.datid)
            AS waiting_locks,
        age(p.datfrozenxid) AS oldest_xid_age, d.stats_reset
    FROM pg_stat_database d JOIN pg_database p ON p.oid = d.datid
    WHERE d.datname = current_database()
    """

INDEX_USAGE = """
    CREATE VIEW monitoring.index_usage WITH (security_invoker = true) AS
    SELECT s.schemaname, s.relname, s.indexrelname, s.idx_scan, s.idx_tup_read, s.idx_tup_fetch,
        pg_relation_size(s.indexrelid) AS size_bytes,
        i.indisunique AS is_unique, i.indisprimary AS is_primary, i.indisvalid AS is_valid
    FROM pg_stat_user_indexes s JOIN pg_index i ON i.indexrelid = s.indexrelid
    """

TABLE_USAGE = """
    CREATE VIEW monitoring.table_usage WITH (security_invoker = true) AS
    SELECT s.schemaname, s.relname, s.seq_scan, s.seq_tup_read, s.idx_scan, s.idx_tup_fetch,
        s.n_tup_ins, s.n_tup_upd, s.n_tup_hot_upd, s.n_tup_del, s.n_live_tup, s.n_dead_tup,
        round(s.n_dead_tup::numeric / NULLIF(s.n_live_tup, 0), 4) AS dead_ratio,
        s.last_vacuum, s.last_autovacuum, s.last_analyze, s.last_autoanalyze,
        pg_total_relation_size(s.relid) AS size_bytes
    FROM pg_stat_user_tables s
    """

VIEWS = ("database_performance", "index_usage", "table_usage")


def upgrade() -> None:
    """Make function, policies and views; the clean-up is for the role of background work."""
    for table, rows in POLICIES.items():
        for command in ("SELECT", "DELETE"):
            op.execute(
                f"CREATE POLICY cleanup_{command.lower()} ON {table} FOR {command} TO neo_owner"
                f" USING ({CLEANING} AND {rows})"
            )
    op.execute(CLEANUP)
    op.execute("REVOKE ALL ON FUNCTION public.cleanup_expired_data() FROM PUBLIC, neo_app")
    op.execute("GRANT USAGE ON SCHEMA public TO neo_relay")
    op.execute("GRANT EXECUTE ON FUNCTION public.cleanup_expired_data() TO neo_relay")
    for view in (PERFORMANCE, INDEX_USAGE, TABLE_USAGE):
        op.execute(view)
    op.execute("GRANT USAGE ON SCHEMA monitoring TO neo_relay")
    for name in VIEWS:
        op.execute(f"GRANT SELECT ON monitoring.{name} TO neo_app, neo_relay")


def downgrade() -> None:
    """Drop them."""
    for name in VIEWS:
        op.execute(f"DROP VIEW monitoring.{name}")
    op.execute("REVOKE USAGE ON SCHEMA monitoring FROM neo_relay")
    op.execute("REVOKE USAGE ON SCHEMA public FROM neo_relay")
    op.execute("DROP FUNCTION public.cleanup_expired_data()")
    for table in POLICIES:
        for command in ("select", "delete"):
            op.execute(f"DROP POLICY cleanup_{command} ON {table}")
