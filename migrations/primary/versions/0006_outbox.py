"""The outbox: messages written with the work they tell of, how far each topic is, dead letters.

Why its readers neither skip nor invert anything: see `stores/postgres/outbox.py`.
"""

from alembic import op

revision = "0006_outbox"
down_revision = "0005_grants"

# The key starts with the topic, because a topic is what a reader reads.
MESSAGES = """
    CREATE TABLE outbox.messages (
        -- the horizon needs every id to be drawn at the insert: no cache
        id bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME outbox.messages_id_seq CACHE 1),
        topic varchar(100) NOT NULL,
        key text NOT NULL,
        tenant_id uuid,
        service text,
        payload jsonb NOT NULL,
        bytes int NOT NULL,
        idempotency_key text NOT NULL,
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT messages_pkey PRIMARY KEY (topic, id),
        CONSTRAINT messages_topic_check CHECK (topic <> ''),
        CONSTRAINT messages_key_check CHECK (octet_length(key) <= 2000)
    ) PARTITION BY RANGE (id)
    """

CHECKPOINTS = """
    CREATE TABLE outbox.checkpoints (
        topic varchar(100) PRIMARY KEY,
        position bigint NOT NULL DEFAULT 0,
        token bigint NOT NULL DEFAULT 0,
        holder text,
        lease_until timestamptz,
        delivered bigint NOT NULL DEFAULT 0,
        dead bigint NOT NULL DEFAULT 0,
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
    ) WITH (fillfactor = 50)
    """

DEAD_LETTERS = """
    CREATE TABLE outbox.dead_letters (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        message_id bigint NOT NULL,
        topic varchar(100) NOT NULL,
        key text NOT NULL,
        tenant_id uuid,
        service text,
        payload jsonb NOT NULL,
        idempotency_key text NOT NULL,
        published_at timestamptz NOT NULL,
        reason text NOT NULL,
        attempts int NOT NULL,
        first_failed timestamptz NOT NULL,
        last_failed timestamptz NOT NULL,
        replayed_at timestamptz,
        replayed_as bigint,
        CONSTRAINT dead_letters_message_unique UNIQUE (message_id)
    )
    """

# Bit 61 keeps the horizon's lock keys apart from everybody else's; the id stands below it.
ANNOUNCED = "(1::bigint << 61)"

PUBLISH = f"""
    CREATE FUNCTION outbox.publish(
        topics text[], keys text[], payloads text[], idempotency_keys text[]
    ) RETURNS bigint[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        bucket int;
        id_drawn bigint;
        ids bigint[];
    BEGIN
        IF cardinality(topics) = 1 THEN  -- the common case: the same three steps, a third faster
            PERFORM pg_advisory_xact_lock(1869968248,
                (hashtextextended(topics[1] || chr(31) || keys[1], 0) & 1023)::int);
            PERFORM pg_advisory_xact_lock_shared(
                {ANNOUNCED} | coalesce(pg_sequence_last_value('outbox.messages_id_seq'), 0)
            );
            INSERT INTO outbox.messages
                (topic, key, tenant_id, service, payload, bytes, idempotency_key)
            VALUES (topics[1], keys[1],
                NULLIF(current_setting('app.current_tenant', true), '')::uuid,
                NULLIF(current_setting('app.current_service', true), ''),
                payloads[1]::jsonb, octet_length(payloads[1]), idempotency_keys[1])
            RETURNING id INTO id_drawn;
            RETURN ARRAY[id_drawn];
        END IF;
        -- first: who publishes under a key keeps it until his commit, so ids of one key are drawn
        -- in the order of commits. A thousand buckets bound the locks of a large batch, and going
        -- through them in one order keeps two batches from waiting for each other.
        FOR bucket IN
            SELECT DISTINCT hashtextextended(m.topic || chr(31) || m.key, 0) & 1023
            FROM unnest(topics, keys) AS m (topic, key) ORDER BY 1
        LOOP
            PERFORM pg_advisory_xact_lock(1869968248, bucket);
        END LOOP;
        -- second: what is drawn from here on is greater than this
        PERFORM pg_advisory_xact_lock_shared(
            {ANNOUNCED} | coalesce(pg_sequence_last_value('outbox.messages_id_seq'), 0)
        );
        -- third: draw
        WITH inserted AS (
            INSERT INTO outbox.messages
                (topic, key, tenant_id, service, payload, bytes, idempotency_key)
            SELECT m.topic, m.key,
                NULLIF(current_setting('app.current_tenant', true), '')::uuid,
                NULLIF(current_setting('app.current_service', true), ''),
                m.payload::jsonb, octet_length(m.payload), m.idempotency_key
            FROM unnest(topics, keys, payloads, idempotency_keys) WITH ORDINALITY
                AS m (topic, key, payload, idempotency_key, place)
            ORDER BY m.place
            RETURNING id
        )
        SELECT array_agg(id ORDER BY id) INTO ids FROM inserted;
        RETURN ids;
    END $$
    """

HORIZON = f"""
    CREATE FUNCTION outbox.horizon() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        drawn bigint;
        announced bigint;
    BEGIN
        IF pg_is_in_recovery() THEN
            RAISE 'a standby does not know who is publishing: read the outbox on the primary'
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        -- whoever reads up to here needs a newer snapshot than this: one per statement
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE EXCEPTION 'the outbox is read in READ COMMITTED transactions'
                USING ERRCODE = 'invalid_transaction_state';
        END IF;
        -- the order of these two statements is part of the proof
        drawn := coalesce(pg_sequence_last_value('outbox.messages_id_seq'), 0);
        SELECT min((classid::bigint << 32 | objid::bigint) & ~{ANNOUNCED}) INTO announced
        FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 29 = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
        RETURN least(drawn, announced);
    END $$
    """

WAITING = """
    CREATE FUNCTION outbox.waiting(wanted_topic text, wanted_keys text[]) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        -- who has more than a thousand before him need not be found to know that he waits
        SELECT coalesce(bool_or(m.key = ANY (wanted_keys)), false) OR count(*) = 1000
        FROM (
            SELECT key FROM outbox.messages
            WHERE topic = wanted_topic AND id > coalesce(
                (SELECT position FROM outbox.checkpoints WHERE topic = wanted_topic), 0)
            ORDER BY id LIMIT 1000
        ) AS m
    $$
    """

WIDTH = 250_000
"""Ids per partition: the most delivered messages that a quiet platform keeps."""

# Attaching waits for nobody but readers of the default partition; dropping needs the parent for a
# moment, and rather gives up than let those who publish queue behind it.
MAINTAIN = f"""
    CREATE FUNCTION outbox.maintain(ahead int) RETURNS TABLE (partition text, outcome text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
    DECLARE
        width constant bigint := {WIDTH};
        settled bigint;
        number bigint;
        found record;
    BEGIN
        IF ahead IS NULL OR ahead NOT BETWEEN 1 AND 200 THEN
            RAISE EXCEPTION 'ahead must be between 1 and 200, got %', ahead
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF NOT pg_try_advisory_xact_lock(hashtext('outbox.maintain')) THEN
            RETURN;
        END IF;
        number := coalesce(pg_sequence_last_value('outbox.messages_id_seq'), 0) / width;
        FOR number IN number .. number + ahead LOOP
            partition := 'messages_' || lpad(number::text, 9, '0');
            CONTINUE WHEN to_regclass('outbox.' || partition) IS NOT NULL;
            BEGIN
                EXECUTE format('CREATE TABLE outbox.%I (LIKE outbox.messages INCLUDING ALL'
                    ' EXCLUDING IDENTITY)', partition);
                EXECUTE format('REVOKE ALL ON outbox.%I FROM PUBLIC, neo_app', partition);
                -- nobody has business with a partition but through its parent
                EXECUTE format('ALTER TABLE outbox.%I ENABLE ROW LEVEL SECURITY', partition);
                EXECUTE format('ALTER TABLE outbox.%I FORCE ROW LEVEL SECURITY', partition);
                EXECUTE format('ALTER TABLE outbox.messages ATTACH PARTITION outbox.%I'
                    ' FOR VALUES FROM (%s) TO (%s)', partition, number * width,
                    (number + 1) * width);
                outcome := 'made';
                RETURN NEXT;
            EXCEPTION
                -- such ids lie in the default partition already: they stay there
                WHEN check_violation THEN CONTINUE;
                WHEN lock_not_available THEN outcome := 'busy'; RETURN NEXT;
            END;
        END LOOP;
        settled := outbox.horizon();
        FOR found IN
            SELECT c.relname AS name, substring(c.relname FROM '[0-9]+$')::bigint * width AS first
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'outbox.messages'::regclass AND c.relname <> 'messages_default'
            ORDER BY 2
        LOOP
            CONTINUE WHEN found.first + width > settled;
            CONTINUE WHEN EXISTS (
                SELECT FROM outbox.messages m LEFT JOIN outbox.checkpoints c USING (topic)
                WHERE m.id >= found.first AND m.id < found.first + width
                    AND m.id > coalesce(c.position, 0)
            );
            partition := found.name;
            BEGIN
                EXECUTE format('DROP TABLE outbox.%I', found.name);
                outcome := 'dropped';
            EXCEPTION WHEN lock_not_available THEN outcome := 'busy';
            END;
            RETURN NEXT;
        END LOOP;
        -- What fell between the partitions. Nobody is writing there while the lock is held, so
        -- this snapshot shows everything.
        IF EXISTS (SELECT FROM outbox.messages_default) THEN
            partition := 'messages_default';
            BEGIN
                LOCK TABLE outbox.messages_default IN ACCESS EXCLUSIVE MODE;
                IF NOT EXISTS (
                    SELECT FROM outbox.messages_default m
                    LEFT JOIN outbox.checkpoints c USING (topic)
                    WHERE m.id > coalesce(c.position, 0)
                ) THEN
                    TRUNCATE outbox.messages_default;
                    outcome := 'emptied';
                    RETURN NEXT;
                END IF;
            EXCEPTION WHEN lock_not_available THEN outcome := 'busy'; RETURN NEXT;
            END;
        END IF;
    END $$
    """

TENANT = "(SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"

# The functions run as the owner: publishing for the tenant in force (or for nobody), and looking
# at everything where partitions are dropped. The relay sees all; nobody else is granted anything.
POLICIES = (
    *(
        f"ALTER TABLE outbox.{table} {what} ROW LEVEL SECURITY"
        for table in ("messages", "messages_default", "dead_letters")
        for what in ("ENABLE", "FORCE")
    ),
    (
        f"CREATE POLICY tenant_isolation ON outbox.messages USING (tenant_id = {TENANT})"
        f" WITH CHECK (tenant_id IS NOT DISTINCT FROM {TENANT})"
    ),
    "CREATE POLICY relay ON outbox.messages FOR SELECT TO neo_relay, neo_owner USING (true)",
    "CREATE POLICY maintenance ON outbox.messages_default FOR SELECT TO neo_owner USING (true)",
    (
        f"CREATE POLICY tenant_isolation ON outbox.dead_letters USING (tenant_id = {TENANT})"
        f" WITH CHECK (tenant_id = {TENANT})"
    ),
    "CREATE POLICY relay ON outbox.dead_letters TO neo_relay USING (true) WITH CHECK (true)",
)

FUNCTIONS = "outbox.horizon(), outbox.maintain(int), outbox.waiting(text, text[])"

GRANTS = (
    (
        f"REVOKE ALL ON FUNCTION outbox.publish(text[], text[], text[], text[]), {FUNCTIONS}"
        " FROM PUBLIC, neo_app"
    ),
    "GRANT USAGE ON SCHEMA outbox TO neo_app, neo_relay",
    (
        "GRANT EXECUTE ON FUNCTION outbox.publish(text[], text[], text[], text[])"
        " TO neo_app, neo_relay"
    ),
    "GRANT EXECUTE ON FUNCTION outbox.waiting(text, text[]) TO neo_app",
    "GRANT EXECUTE ON FUNCTION outbox.horizon(), outbox.maintain(int) TO neo_relay",
    "GRANT SELECT ON outbox.messages TO neo_relay",
    "GRANT SELECT ON SEQUENCE outbox.messages_id_seq TO neo_relay",
    "GRANT SELECT, INSERT, UPDATE ON outbox.checkpoints, outbox.dead_letters TO neo_relay",
    "GRANT USAGE ON SCHEMA blockchain TO neo_relay",
    "GRANT EXECUTE ON FUNCTION blockchain.ensure_transaction_partitions(int) TO neo_relay",
)


def _connecting(command: str, direction: str) -> str:
    return (
        "DO $$ BEGIN EXECUTE format("
        f"'{command} CONNECT ON DATABASE %I {direction} neo_relay', current_database()); END $$"
    )


def upgrade() -> None:
    """Make the schema, its functions and the first partitions."""
    op.execute("CREATE SCHEMA outbox")
    for statement in (MESSAGES, CHECKPOINTS, DEAD_LETTERS):
        op.execute(statement)
    op.execute(
        "CREATE INDEX idx_dead_letters_open ON outbox.dead_letters (topic, id)"
        " WHERE replayed_at IS NULL"
    )
    op.execute("CREATE TABLE outbox.messages_default PARTITION OF outbox.messages DEFAULT")
    for statement in (HORIZON, PUBLISH, WAITING, MAINTAIN, *POLICIES, *GRANTS):
        op.execute(statement)
    op.execute(_connecting("GRANT", "TO"))
    op.execute("SELECT outbox.maintain(16)")


def downgrade() -> None:
    """Drop it all, delivered or not."""
    op.execute(
        "REVOKE ALL ON FUNCTION blockchain.ensure_transaction_partitions(int) FROM neo_relay"
    )
    op.execute("REVOKE USAGE ON SCHEMA blockchain FROM neo_relay")
    op.execute(_connecting("REVOKE", "FROM"))
    op.execute("DROP SCHEMA outbox CASCADE")
