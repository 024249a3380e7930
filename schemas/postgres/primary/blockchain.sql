CREATE SCHEMA blockchain;

CREATE FUNCTION blockchain.check_transaction_keys() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
    DECLARE
        orphan record;
    BEGIN
        SELECT a.network_id, a.transaction_hash INTO orphan
        FROM added a
        WHERE a.id IS DISTINCT FROM (
            SELECT k.transaction_id FROM blockchain.transaction_keys k
            WHERE k.network_id = a.network_id AND k.transaction_hash = a.transaction_hash
                AND k.created_at = a.created_at
        )
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'transaction % of network % has no row in blockchain.transaction_keys',
                orphan.transaction_hash, orphan.network_id
            USING ERRCODE = 'foreign_key_violation', SCHEMA = TG_TABLE_SCHEMA,
                TABLE = TG_TABLE_NAME, CONSTRAINT = 'transactions_key_check',
                HINT = 'Write the key row in the same statement or before.';
        END IF;
        RETURN NULL;
    END $$;

CREATE FUNCTION blockchain.detach_transaction_year(year integer) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '300ms'
    AS $$
    DECLARE
        partition text := 'transactions_' || year;
        attached boolean;
    BEGIN
        IF year IS NULL OR year NOT BETWEEN 1970 AND extract(year FROM now()) - 1 THEN
            RAISE EXCEPTION 'year must be a past one from 1970 on, got %', year
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('blockchain.ensure_transaction_partitions'));
        SELECT relispartition INTO attached FROM pg_class
        WHERE relnamespace = 'blockchain'::regnamespace AND relname = partition;
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
    END $$;

CREATE FUNCTION blockchain.ensure_transaction_partitions(years_ahead integer) RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
    DECLARE
        first int := extract(year FROM now());
        partition text;
        since timestamptz;
        until timestamptz;
    BEGIN
        IF years_ahead IS NULL OR years_ahead NOT BETWEEN 0 AND 20 THEN
            RAISE EXCEPTION 'years_ahead must be between 0 and 20, got %', years_ahead
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('blockchain.ensure_transaction_partitions'));
        FOR year IN first .. first + years_ahead LOOP
            partition := 'transactions_' || year;
            CONTINUE WHEN to_regclass('blockchain.' || partition) IS NOT NULL;
            since := make_timestamptz(year, 1, 1, 0, 0, 0);
            until := make_timestamptz(year + 1, 1, 1, 0, 0, 0);
            EXECUTE format(
                'CREATE TABLE blockchain.%I (LIKE blockchain.transactions INCLUDING ALL)',
                partition);
            EXECUTE format('REVOKE ALL ON blockchain.%I FROM PUBLIC, neo_app', partition);
            LOCK TABLE blockchain.transactions_default IN ACCESS EXCLUSIVE MODE;
            EXECUTE format(
                'WITH moved AS (DELETE FROM blockchain.transactions_default'
                ' WHERE created_at >= %L AND created_at < %L RETURNING *)'
                ' INSERT INTO blockchain.%I SELECT * FROM moved', since, until, partition);
            EXECUTE format(
                'ALTER TABLE blockchain.transactions ATTACH PARTITION blockchain.%I'
                ' FOR VALUES FROM (%L) TO (%L)', partition, since, until);
            RETURN NEXT partition;
        END LOOP;
    END
    $$;

CREATE FUNCTION blockchain.purge_transaction_year(year integer, first_block bigint, blocks integer, OUT keys bigint, OUT next_block bigint) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $_$
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
        SELECT relispartition INTO attached FROM pg_class
        WHERE relnamespace = 'blockchain'::regnamespace AND relname = partition;
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
    END $_$;

CREATE FUNCTION blockchain.refuse_transaction_move() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        RAISE EXCEPTION 'what identifies a transaction never changes'
        USING ERRCODE = 'integrity_constraint_violation', SCHEMA = TG_TABLE_SCHEMA,
            TABLE = TG_TABLE_NAME, CONSTRAINT = 'transactions_key_check',
            HINT = 'That is its id, created_at, network_id and transaction_hash.';
    END $$;

CREATE FUNCTION blockchain.transaction_year(year integer, OUT state text, OUT transactions bigint, OUT bytes bigint) RETURNS record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    DECLARE
        partition text := 'transactions_' || year;
        attached boolean;
    BEGIN
        SELECT relispartition INTO attached FROM pg_class
        WHERE relnamespace = 'blockchain'::regnamespace AND relname = partition;
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
    END $$;

CREATE TABLE blockchain.networks (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name character varying(100) NOT NULL,
    chain_id bigint NOT NULL,
    network_type character varying(50) NOT NULL,
    rpc_endpoint character varying(500) NOT NULL,
    ws_endpoint character varying(500),
    explorer_url character varying(500),
    is_testnet boolean DEFAULT false NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);

CREATE TABLE blockchain.smart_contracts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    network_id uuid NOT NULL,
    address character varying(255) NOT NULL,
    name character varying(255),
    symbol character varying(50),
    contract_type character varying(50) NOT NULL,
    abi jsonb NOT NULL,
    bytecode text,
    source_code text,
    compiler_version character varying(50),
    optimization_enabled boolean,
    verified boolean DEFAULT false NOT NULL,
    deployed_by character varying(255),
    deployed_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);

CREATE TABLE blockchain.transaction_keys (
    network_id uuid NOT NULL,
    transaction_hash character varying(255) NOT NULL,
    transaction_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL
);

CREATE TABLE blockchain.transactions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    network_id uuid NOT NULL,
    transaction_hash character varying(255) NOT NULL,
    from_address character varying(255) NOT NULL,
    to_address character varying(255),
    value numeric(78,0) DEFAULT 0 NOT NULL,
    gas_price numeric(78,0),
    gas_limit bigint,
    gas_used bigint,
    nonce bigint,
    input_data text,
    status character varying(50) DEFAULT 'pending'::character varying NOT NULL,
    block_number bigint,
    block_timestamp timestamp with time zone,
    confirmation_count integer DEFAULT 0,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT transactions_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'confirmed'::character varying, 'failed'::character varying, 'dropped'::character varying])::text[])))
)
PARTITION BY RANGE (created_at);

CREATE TABLE blockchain.transactions_default (
    id uuid DEFAULT gen_random_uuid() CONSTRAINT transactions_id_not_null NOT NULL,
    network_id uuid CONSTRAINT transactions_network_id_not_null NOT NULL,
    transaction_hash character varying(255) CONSTRAINT transactions_transaction_hash_not_null NOT NULL,
    from_address character varying(255) CONSTRAINT transactions_from_address_not_null NOT NULL,
    to_address character varying(255),
    value numeric(78,0) DEFAULT 0 CONSTRAINT transactions_value_not_null NOT NULL,
    gas_price numeric(78,0),
    gas_limit bigint,
    gas_used bigint,
    nonce bigint,
    input_data text,
    status character varying(50) DEFAULT 'pending'::character varying CONSTRAINT transactions_status_not_null NOT NULL,
    block_number bigint,
    block_timestamp timestamp with time zone,
    confirmation_count integer DEFAULT 0,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP CONSTRAINT transactions_created_at_not_null NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP CONSTRAINT transactions_updated_at_not_null NOT NULL,
    CONSTRAINT transactions_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'confirmed'::character varying, 'failed'::character varying, 'dropped'::character varying])::text[])))
);

CREATE TABLE blockchain.wallets (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    network_id uuid NOT NULL,
    address character varying(255) NOT NULL,
    public_key character varying(500),
    encrypted_private_key text,
    wallet_type character varying(50) NOT NULL,
    is_hardware boolean DEFAULT false NOT NULL,
    initial_balance numeric(78,0),
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);

ALTER TABLE ONLY blockchain.wallets FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY blockchain.transactions ATTACH PARTITION blockchain.transactions_default DEFAULT;

ALTER TABLE ONLY blockchain.smart_contracts
    ADD CONSTRAINT contracts_address_unique UNIQUE (network_id, address);

ALTER TABLE ONLY blockchain.networks
    ADD CONSTRAINT networks_chain_id_key UNIQUE (chain_id);

ALTER TABLE ONLY blockchain.networks
    ADD CONSTRAINT networks_name_key UNIQUE (name);

ALTER TABLE ONLY blockchain.networks
    ADD CONSTRAINT networks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY blockchain.smart_contracts
    ADD CONSTRAINT smart_contracts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY blockchain.transactions
    ADD CONSTRAINT transactions_pkey PRIMARY KEY (id, created_at);

ALTER TABLE ONLY blockchain.transactions_default
    ADD CONSTRAINT transactions_default_pkey PRIMARY KEY (id, created_at);

ALTER TABLE ONLY blockchain.transaction_keys
    ADD CONSTRAINT transactions_hash_unique PRIMARY KEY (network_id, transaction_hash);

ALTER TABLE ONLY blockchain.wallets
    ADD CONSTRAINT wallets_address_unique UNIQUE (network_id, address);

ALTER TABLE ONLY blockchain.wallets
    ADD CONSTRAINT wallets_pkey PRIMARY KEY (id);

CREATE INDEX idx_transactions_block ON ONLY blockchain.transactions USING btree (block_number DESC);

CREATE INDEX idx_transactions_from ON ONLY blockchain.transactions USING btree (from_address);

CREATE INDEX idx_transactions_pending ON ONLY blockchain.transactions USING btree (created_at) WHERE ((status)::text = 'pending'::text);

CREATE INDEX idx_transactions_status ON ONLY blockchain.transactions USING btree (status) WHERE ((status)::text = 'pending'::text);

CREATE INDEX idx_transactions_to ON ONLY blockchain.transactions USING btree (to_address);

CREATE INDEX idx_transactions_user_time ON ONLY blockchain.transactions USING btree (from_address, block_timestamp DESC);

CREATE INDEX idx_wallets_tenant ON blockchain.wallets USING btree (tenant_id, user_id);

CREATE INDEX idx_wallets_user ON blockchain.wallets USING btree (user_id);

CREATE INDEX transactions_default_block_number_idx ON blockchain.transactions_default USING btree (block_number DESC);

CREATE INDEX transactions_default_created_at_idx ON blockchain.transactions_default USING btree (created_at) WHERE ((status)::text = 'pending'::text);

CREATE INDEX transactions_default_from_address_block_timestamp_idx ON blockchain.transactions_default USING btree (from_address, block_timestamp DESC);

CREATE INDEX transactions_default_from_address_idx ON blockchain.transactions_default USING btree (from_address);

CREATE INDEX transactions_default_status_idx ON blockchain.transactions_default USING btree (status) WHERE ((status)::text = 'pending'::text);

CREATE INDEX transactions_default_to_address_idx ON blockchain.transactions_default USING btree (to_address);

ALTER INDEX blockchain.idx_transactions_block ATTACH PARTITION blockchain.transactions_default_block_number_idx;

ALTER INDEX blockchain.idx_transactions_pending ATTACH PARTITION blockchain.transactions_default_created_at_idx;

ALTER INDEX blockchain.idx_transactions_user_time ATTACH PARTITION blockchain.transactions_default_from_address_block_timestamp_idx;

ALTER INDEX blockchain.idx_transactions_from ATTACH PARTITION blockchain.transactions_default_from_address_idx;

ALTER INDEX blockchain.transactions_pkey ATTACH PARTITION blockchain.transactions_default_pkey;

ALTER INDEX blockchain.idx_transactions_status ATTACH PARTITION blockchain.transactions_default_status_idx;

ALTER INDEX blockchain.idx_transactions_to ATTACH PARTITION blockchain.transactions_default_to_address_idx;

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON blockchain.networks FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON blockchain.smart_contracts FOR EACH ROW EXECUTE FUNCTION public.audit_changes('abi', 'bytecode', 'source_code');

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON blockchain.wallets FOR EACH ROW EXECUTE FUNCTION public.audit_changes('encrypted_private_key');

CREATE TRIGGER set_updated_at BEFORE UPDATE ON blockchain.transactions FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

CREATE TRIGGER transactions_key_check AFTER INSERT ON blockchain.transactions REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION blockchain.check_transaction_keys();

CREATE TRIGGER transactions_key_fixed BEFORE UPDATE OF id, created_at, network_id, transaction_hash ON blockchain.transactions FOR EACH ROW WHEN (((((old.id IS DISTINCT FROM new.id) OR (old.created_at IS DISTINCT FROM new.created_at)) OR (old.network_id IS DISTINCT FROM new.network_id)) OR ((old.transaction_hash)::text IS DISTINCT FROM (new.transaction_hash)::text))) EXECUTE FUNCTION blockchain.refuse_transaction_move();

ALTER TABLE ONLY blockchain.smart_contracts
    ADD CONSTRAINT smart_contracts_network_id_fkey FOREIGN KEY (network_id) REFERENCES blockchain.networks(id);

ALTER TABLE blockchain.transactions
    ADD CONSTRAINT transactions_network_id_fkey FOREIGN KEY (network_id) REFERENCES blockchain.networks(id);

ALTER TABLE ONLY blockchain.wallets
    ADD CONSTRAINT wallets_network_id_fkey FOREIGN KEY (network_id) REFERENCES blockchain.networks(id);

ALTER TABLE ONLY blockchain.wallets
    ADD CONSTRAINT wallets_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES auth.users(tenant_id, id);

CREATE POLICY tenant_isolation ON blockchain.wallets USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE blockchain.wallets ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA blockchain TO neo_app;
GRANT USAGE ON SCHEMA blockchain TO neo_relay;
GRANT USAGE ON SCHEMA blockchain TO neo_backup;
GRANT USAGE ON SCHEMA blockchain TO neo_readonly;
GRANT USAGE ON SCHEMA blockchain TO neo_crosschain_user;
GRANT USAGE ON SCHEMA blockchain TO neo_oracle_user;
GRANT USAGE ON SCHEMA blockchain TO neo_smartcontracts_user;

REVOKE ALL ON FUNCTION blockchain.check_transaction_keys() FROM PUBLIC;
GRANT ALL ON FUNCTION blockchain.check_transaction_keys() TO neo_app;

REVOKE ALL ON FUNCTION blockchain.detach_transaction_year(year integer) FROM PUBLIC;
GRANT ALL ON FUNCTION blockchain.detach_transaction_year(year integer) TO neo_relay;

REVOKE ALL ON FUNCTION blockchain.ensure_transaction_partitions(years_ahead integer) FROM PUBLIC;
GRANT ALL ON FUNCTION blockchain.ensure_transaction_partitions(years_ahead integer) TO neo_app;
GRANT ALL ON FUNCTION blockchain.ensure_transaction_partitions(years_ahead integer) TO neo_relay;

REVOKE ALL ON FUNCTION blockchain.purge_transaction_year(year integer, first_block bigint, blocks integer, OUT keys bigint, OUT next_block bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION blockchain.purge_transaction_year(year integer, first_block bigint, blocks integer, OUT keys bigint, OUT next_block bigint) TO neo_relay;

REVOKE ALL ON FUNCTION blockchain.refuse_transaction_move() FROM PUBLIC;
GRANT ALL ON FUNCTION blockchain.refuse_transaction_move() TO neo_app;

REVOKE ALL ON FUNCTION blockchain.transaction_year(year integer, OUT state text, OUT transactions bigint, OUT bytes bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION blockchain.transaction_year(year integer, OUT state text, OUT transactions bigint, OUT bytes bigint) TO neo_relay;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE blockchain.networks TO neo_app;
GRANT SELECT ON TABLE blockchain.networks TO neo_backup;
GRANT SELECT ON TABLE blockchain.networks TO neo_readonly;
GRANT SELECT ON TABLE blockchain.networks TO neo_crosschain_user;
GRANT SELECT ON TABLE blockchain.networks TO neo_oracle_user;
GRANT SELECT ON TABLE blockchain.networks TO neo_smartcontracts_user;
GRANT SELECT ON TABLE blockchain.networks TO neo_relay;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE blockchain.smart_contracts TO neo_app;
GRANT SELECT ON TABLE blockchain.smart_contracts TO neo_backup;
GRANT SELECT ON TABLE blockchain.smart_contracts TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE blockchain.smart_contracts TO neo_smartcontracts_user;

GRANT SELECT,INSERT ON TABLE blockchain.transaction_keys TO neo_app;
GRANT SELECT ON TABLE blockchain.transaction_keys TO neo_backup;
GRANT SELECT ON TABLE blockchain.transaction_keys TO neo_readonly;

GRANT SELECT,INSERT,UPDATE ON TABLE blockchain.transactions TO neo_app;
GRANT SELECT ON TABLE blockchain.transactions TO neo_backup;
GRANT SELECT ON TABLE blockchain.transactions TO neo_readonly;
GRANT SELECT ON TABLE blockchain.transactions TO neo_relay;

GRANT SELECT ON TABLE blockchain.transactions_default TO neo_app;
GRANT SELECT ON TABLE blockchain.transactions_default TO neo_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE blockchain.wallets TO neo_app;
GRANT SELECT ON TABLE blockchain.wallets TO neo_backup;

GRANT SELECT(id) ON TABLE blockchain.wallets TO neo_readonly;

GRANT SELECT(tenant_id) ON TABLE blockchain.wallets TO neo_readonly;

GRANT SELECT(user_id) ON TABLE blockchain.wallets TO neo_readonly;

GRANT SELECT(network_id) ON TABLE blockchain.wallets TO neo_readonly;

GRANT SELECT(address) ON TABLE blockchain.wallets TO neo_readonly;

GRANT SELECT(public_key) ON TABLE blockchain.wallets TO neo_readonly;

GRANT SELECT(wallet_type) ON TABLE blockchain.wallets TO neo_readonly;

GRANT SELECT(is_hardware) ON TABLE blockchain.wallets TO neo_readonly;

GRANT SELECT(initial_balance) ON TABLE blockchain.wallets TO neo_readonly;

GRANT SELECT(created_at) ON TABLE blockchain.wallets TO neo_readonly;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA blockchain GRANT USAGE ON SEQUENCES TO neo_app;

ALTER DEFAULT PRIVILEGES FOR ROLE neo_owner IN SCHEMA blockchain GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO neo_app;
