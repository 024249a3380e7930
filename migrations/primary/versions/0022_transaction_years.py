"""Dropping a past year of transactions together with its rows in blockchain.transaction_keys.

Three steps, so that nobody who reads or writes waits for long: the year's partition is detached
(a moment's lock, and its transactions are gone for everybody), then its keys go a portion at a
time, and with the last of them the table. Each call is a transaction; whatever the last one was,
the next run goes on from there.
"""

from alembic import op

revision = "0022_transaction_years"
down_revision = "0021_pruning"

# Whether the table is there is asked of pg_class by a query: what to_regclass answers may be older
# than a wait for an advisory lock, in which another run has dropped it.
FIND = """SELECT relispartition INTO attached FROM pg_class
        WHERE relnamespace = 'blockchain'::regnamespace AND relname = partition;"""

YEAR = f"""
    CREATE FUNCTION blockchain.transaction_year(
        year int, OUT state text, OUT transactions bigint, OUT bytes bigint
    )
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        partition text := 'transactions_' || year;
        attached boolean;
    BEGIN
        {FIND}
        state := CASE WHEN attached THEN 'attached' WHEN NOT attached THEN 'detached'
            ELSE 'absent' END;
        transactions := 0;
        bytes := 0;
        IF FOUND THEN
            EXECUTE format('SELECT count(*), pg_total_relation_size(%L) FROM blockchain.%I',
                'blockchain.' || partition, partition) INTO transactions, bytes;
        END IF;
    EXCEPTION WHEN undefined_table THEN  -- dropped while this was looking
        state := 'absent';
        transactions := 0;
        bytes := 0;
    END $$
    """

# The years that are written to, this one and those ahead, are nobody's to drop.
DETACH = f"""
    CREATE FUNCTION blockchain.detach_transaction_year(year int) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '300ms' AS $$
    DECLARE
        partition text := 'transactions_' || year;
        attached boolean;
    BEGIN
        IF year IS NULL OR year NOT BETWEEN 1970 AND extract(year FROM now()) - 1 THEN
            RAISE EXCEPTION 'year must be a past one from 1970 on, got %', year
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('blockchain.ensure_transaction_partitions'));
        {FIND}
        IF NOT FOUND THEN
            RETURN 'absent';
        END IF;
        IF attached THEN
            EXECUTE format('ALTER TABLE blockchain.transactions DETACH PARTITION blockchain.%I',
                partition);
            PERFORM audit.record('DETACH', 'blockchain', partition);
        END IF;
        RETURN 'detached';
    EXCEPTION WHEN lock_not_available THEN
        RETURN 'busy';
    END $$
    """

# A key that has come anew since the year was detached belongs to another transaction and stays.
# The last portion looks at the whole table again: so nothing depends on where the caller began.
PURGE = f"""
    CREATE FUNCTION blockchain.purge_transaction_year(
        year int, first_block bigint, blocks int, OUT keys bigint, OUT next_block bigint
    )
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    DECLARE
        partition text := 'transactions_' || year;
        attached boolean;
        purge text := format('DELETE FROM blockchain.transaction_keys k USING blockchain.%I t'
            ' WHERE k.network_id = t.network_id AND k.transaction_hash = t.transaction_hash'
            ' AND k.transaction_id = t.id', partition);
    BEGIN
        IF first_block IS NULL OR first_block < 0 OR blocks IS NULL OR blocks < 1 THEN
            RAISE EXCEPTION 'first_block counts from 0 and blocks from 1'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('blockchain.purge_transaction_year'));
        {FIND}
        keys := 0;
        IF NOT FOUND THEN
            RETURN;  -- somebody else was faster
        END IF;
        IF attached THEN
            RAISE EXCEPTION '% is a partition still: detach it first', partition
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        IF (first_block + blocks) * current_setting('block_size')::bigint
            < pg_relation_size('blockchain.' || partition)
        THEN
            next_block := first_block + blocks;
            EXECUTE purge || ' AND t.ctid >= $1 AND t.ctid < $2'
                USING format('(%s,0)', first_block)::tid, format('(%s,0)', next_block)::tid;
            GET DIAGNOSTICS keys = ROW_COUNT;
        ELSE
            SET LOCAL enable_hashjoin = on;
            EXECUTE purge;
            GET DIAGNOSTICS keys = ROW_COUNT;
            EXECUTE format('DROP TABLE blockchain.%I', partition);
            PERFORM audit.record('DROP', 'blockchain', partition);
        END IF;
    END $$
    """

FUNCTIONS = (
    "blockchain.transaction_year(int), blockchain.detach_transaction_year(int),"
    " blockchain.purge_transaction_year(int, bigint, int)"
)


def upgrade() -> None:
    """Make the functions, for the role of background work alone."""
    for function in (YEAR, DETACH, PURGE):
        op.execute(function)
    op.execute(f"REVOKE ALL ON FUNCTION {FUNCTIONS} FROM PUBLIC, neo_app")
    op.execute(f"GRANT EXECUTE ON FUNCTION {FUNCTIONS} TO neo_relay")


def downgrade() -> None:
    """Drop them; a year that is detached stays so."""
    op.execute(f"DROP FUNCTION {FUNCTIONS}")
