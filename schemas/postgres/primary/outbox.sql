CREATE SCHEMA outbox;

CREATE FUNCTION outbox.horizon() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
        SELECT min((classid::bigint << 32 | objid::bigint) & ~(1::bigint << 61)) INTO announced
        FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 29 = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
        RETURN least(drawn, announced);
    END $$;

CREATE FUNCTION outbox.maintain(ahead integer) RETURNS TABLE(partition text, outcome text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '300ms'
    AS $_$
    DECLARE
        width constant bigint := 250000;
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
    END $_$;

CREATE FUNCTION outbox.publish(topics text[], keys text[], payloads text[], idempotency_keys text[]) RETURNS bigint[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    DECLARE
        bucket int;
        id_drawn bigint;
        ids bigint[];
    BEGIN
        IF cardinality(topics) = 1 THEN  -- the common case: the same three steps, a third faster
            PERFORM pg_advisory_xact_lock(1869968248,
                (hashtextextended(topics[1] || chr(31) || keys[1], 0) & 1023)::int);
            PERFORM pg_advisory_xact_lock_shared(
                (1::bigint << 61) | coalesce(pg_sequence_last_value('outbox.messages_id_seq'), 0)
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
            (1::bigint << 61) | coalesce(pg_sequence_last_value('outbox.messages_id_seq'), 0)
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
    END $$;

CREATE FUNCTION outbox.waiting(wanted_topic text, wanted_keys text[]) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
        -- who has more than a thousand before him need not be found to know that he waits
        SELECT coalesce(bool_or(m.key = ANY (wanted_keys)), false) OR count(*) = 1000
        FROM (
            SELECT key FROM outbox.messages
            WHERE topic = wanted_topic AND id > coalesce(
                (SELECT position FROM outbox.checkpoints WHERE topic = wanted_topic), 0)
            ORDER BY id LIMIT 1000
        ) AS m
    $$;

CREATE TABLE outbox.checkpoints (
    topic character varying(100) NOT NULL,
    "position" bigint DEFAULT 0 NOT NULL,
    token bigint DEFAULT 0 NOT NULL,
    holder text,
    lease_until timestamp with time zone,
    delivered bigint DEFAULT 0 NOT NULL,
    dead bigint DEFAULT 0 NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE outbox.dead_letters (
    id bigint NOT NULL,
    message_id bigint NOT NULL,
    topic character varying(100) NOT NULL,
    key text NOT NULL,
    tenant_id uuid,
    service text,
    payload jsonb NOT NULL,
    idempotency_key text NOT NULL,
    published_at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    attempts integer NOT NULL,
    first_failed timestamp with time zone NOT NULL,
    last_failed timestamp with time zone NOT NULL,
    replayed_at timestamp with time zone,
    replayed_as bigint,
    discarded_at timestamp with time zone,
    discard_reason text,
    CONSTRAINT dead_letters_discard_check CHECK (((discarded_at IS NULL) = (discard_reason IS NULL))),
    CONSTRAINT dead_letters_settled_check CHECK (((replayed_at IS NULL) OR (discarded_at IS NULL)))
);

ALTER TABLE ONLY outbox.dead_letters FORCE ROW LEVEL SECURITY;

ALTER TABLE outbox.dead_letters ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME outbox.dead_letters_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE outbox.messages (
    id bigint NOT NULL,
    topic character varying(100) NOT NULL,
    key text NOT NULL,
    tenant_id uuid,
    service text,
    payload jsonb NOT NULL,
    bytes integer NOT NULL,
    idempotency_key text NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT messages_key_check CHECK ((octet_length(key) <= 2000)),
    CONSTRAINT messages_topic_check CHECK (((topic)::text <> ''::text))
)
PARTITION BY RANGE (id);

ALTER TABLE ONLY outbox.messages FORCE ROW LEVEL SECURITY;

CREATE TABLE outbox.messages_default (
    id bigint CONSTRAINT messages_id_not_null NOT NULL,
    topic character varying(100) CONSTRAINT messages_topic_not_null NOT NULL,
    key text CONSTRAINT messages_key_not_null NOT NULL,
    tenant_id uuid,
    service text,
    payload jsonb CONSTRAINT messages_payload_not_null NOT NULL,
    bytes integer CONSTRAINT messages_bytes_not_null NOT NULL,
    idempotency_key text CONSTRAINT messages_idempotency_key_not_null NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() CONSTRAINT messages_xid_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() CONSTRAINT messages_created_at_not_null NOT NULL,
    CONSTRAINT messages_key_check CHECK ((octet_length(key) <= 2000)),
    CONSTRAINT messages_topic_check CHECK (((topic)::text <> ''::text))
);

ALTER TABLE ONLY outbox.messages_default FORCE ROW LEVEL SECURITY;

ALTER TABLE outbox.messages ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME outbox.messages_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY outbox.messages ATTACH PARTITION outbox.messages_default DEFAULT;

ALTER TABLE ONLY outbox.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (topic);

ALTER TABLE ONLY outbox.dead_letters
    ADD CONSTRAINT dead_letters_message_unique UNIQUE (message_id);

ALTER TABLE ONLY outbox.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (id);

ALTER TABLE ONLY outbox.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (topic, id);

ALTER TABLE ONLY outbox.messages_default
    ADD CONSTRAINT messages_default_pkey PRIMARY KEY (topic, id);

CREATE INDEX idx_dead_letters_open ON outbox.dead_letters USING btree (topic, id) WHERE ((replayed_at IS NULL) AND (discarded_at IS NULL));

ALTER INDEX outbox.messages_pkey ATTACH PARTITION outbox.messages_default_pkey;

ALTER TABLE outbox.dead_letters ENABLE ROW LEVEL SECURITY;

CREATE POLICY maintenance ON outbox.messages_default FOR SELECT TO neo_owner USING (true);

ALTER TABLE outbox.messages ENABLE ROW LEVEL SECURITY;

ALTER TABLE outbox.messages_default ENABLE ROW LEVEL SECURITY;

CREATE POLICY relay ON outbox.dead_letters TO neo_relay USING (true) WITH CHECK (true);

CREATE POLICY relay ON outbox.messages FOR SELECT TO neo_owner, neo_relay USING (true);

CREATE POLICY settled ON outbox.dead_letters AS RESTRICTIVE FOR DELETE TO neo_owner, neo_relay USING (((replayed_at IS NOT NULL) OR (discarded_at IS NOT NULL)));

CREATE POLICY tenant_isolation ON outbox.dead_letters USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON outbox.messages USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((NOT (tenant_id IS DISTINCT FROM ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))));

GRANT USAGE ON SCHEMA outbox TO neo_app;
GRANT USAGE ON SCHEMA outbox TO neo_relay;
GRANT USAGE ON SCHEMA outbox TO neo_backup;

REVOKE ALL ON FUNCTION outbox.horizon() FROM PUBLIC;
GRANT ALL ON FUNCTION outbox.horizon() TO neo_relay;

REVOKE ALL ON FUNCTION outbox.maintain(ahead integer) FROM PUBLIC;
GRANT ALL ON FUNCTION outbox.maintain(ahead integer) TO neo_relay;

REVOKE ALL ON FUNCTION outbox.publish(topics text[], keys text[], payloads text[], idempotency_keys text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION outbox.publish(topics text[], keys text[], payloads text[], idempotency_keys text[]) TO neo_app;
GRANT ALL ON FUNCTION outbox.publish(topics text[], keys text[], payloads text[], idempotency_keys text[]) TO neo_relay;

REVOKE ALL ON FUNCTION outbox.waiting(wanted_topic text, wanted_keys text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION outbox.waiting(wanted_topic text, wanted_keys text[]) TO neo_app;

GRANT SELECT,INSERT,UPDATE ON TABLE outbox.checkpoints TO neo_relay;
GRANT SELECT ON TABLE outbox.checkpoints TO neo_backup;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE outbox.dead_letters TO neo_relay;
GRANT SELECT ON TABLE outbox.dead_letters TO neo_backup;

GRANT SELECT ON SEQUENCE outbox.dead_letters_id_seq TO neo_backup;

GRANT SELECT ON TABLE outbox.messages TO neo_relay;
GRANT SELECT ON TABLE outbox.messages TO neo_backup;

GRANT SELECT ON TABLE outbox.messages_default TO neo_backup;

GRANT SELECT ON SEQUENCE outbox.messages_id_seq TO neo_relay;
GRANT SELECT ON SEQUENCE outbox.messages_id_seq TO neo_backup;
