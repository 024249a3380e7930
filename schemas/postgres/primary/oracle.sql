CREATE SCHEMA oracle;

CREATE TABLE oracle.data_feeds (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name character varying(255) NOT NULL,
    symbol character varying(50),
    source_url character varying(500),
    feed_type character varying(50) NOT NULL,
    decimals integer DEFAULT 8 NOT NULL,
    update_interval_s integer DEFAULT 60 NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    last_value numeric,
    last_updated_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT data_feeds_decimals_check CHECK (((decimals >= 0) AND (decimals <= 78))),
    CONSTRAINT data_feeds_interval_check CHECK ((update_interval_s > 0))
);

CREATE TABLE oracle.requests (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    data_feed_id uuid NOT NULL,
    requester character varying(255) NOT NULL,
    request_data jsonb DEFAULT '{}'::jsonb NOT NULL,
    callback_address character varying(255),
    network_id uuid,
    status character varying(50) DEFAULT 'pending'::character varying NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    fulfilled_at timestamp with time zone,
    CONSTRAINT requests_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'processing'::character varying, 'fulfilled'::character varying, 'failed'::character varying, 'expired'::character varying])::text[])))
);

CREATE TABLE oracle.responses (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    request_id uuid NOT NULL,
    value numeric,
    raw jsonb,
    signer character varying(255),
    signature text,
    confidence numeric(5,4),
    block_number bigint,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT responses_confidence_check CHECK (((confidence >= (0)::numeric) AND (confidence <= (1)::numeric))),
    CONSTRAINT responses_content_check CHECK (((value IS NOT NULL) OR (raw IS NOT NULL)))
);

ALTER TABLE ONLY oracle.data_feeds
    ADD CONSTRAINT data_feeds_name_key UNIQUE (name);

ALTER TABLE ONLY oracle.data_feeds
    ADD CONSTRAINT data_feeds_pkey PRIMARY KEY (id);

ALTER TABLE ONLY oracle.requests
    ADD CONSTRAINT requests_pkey PRIMARY KEY (id);

ALTER TABLE ONLY oracle.responses
    ADD CONSTRAINT responses_pkey PRIMARY KEY (id);

CREATE INDEX idx_data_feeds_symbol ON oracle.data_feeds USING btree (symbol) WHERE is_active;

CREATE INDEX idx_requests_feed ON oracle.requests USING btree (data_feed_id, created_at DESC);

CREATE INDEX idx_requests_network ON oracle.requests USING btree (network_id);

CREATE INDEX idx_requests_open ON oracle.requests USING btree (created_at) WHERE ((status)::text = ANY ((ARRAY['pending'::character varying, 'processing'::character varying])::text[]));

CREATE INDEX idx_responses_request ON oracle.responses USING btree (request_id);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE OF name, symbol, source_url, feed_type, decimals, update_interval_s, is_active ON oracle.data_feeds FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

ALTER TABLE ONLY oracle.requests
    ADD CONSTRAINT requests_data_feed_id_fkey FOREIGN KEY (data_feed_id) REFERENCES oracle.data_feeds(id);

ALTER TABLE ONLY oracle.requests
    ADD CONSTRAINT requests_network_id_fkey FOREIGN KEY (network_id) REFERENCES blockchain.networks(id);

ALTER TABLE ONLY oracle.responses
    ADD CONSTRAINT responses_request_id_fkey FOREIGN KEY (request_id) REFERENCES oracle.requests(id) ON DELETE CASCADE;

GRANT USAGE ON SCHEMA oracle TO neo_app;
GRANT USAGE ON SCHEMA oracle TO neo_backup;
GRANT USAGE ON SCHEMA oracle TO neo_readonly;
GRANT USAGE ON SCHEMA oracle TO neo_oracle_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE oracle.data_feeds TO neo_app;
GRANT SELECT ON TABLE oracle.data_feeds TO neo_backup;
GRANT SELECT ON TABLE oracle.data_feeds TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE oracle.data_feeds TO neo_oracle_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE oracle.requests TO neo_app;
GRANT SELECT ON TABLE oracle.requests TO neo_backup;
GRANT SELECT ON TABLE oracle.requests TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE oracle.requests TO neo_oracle_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE oracle.responses TO neo_app;
GRANT SELECT ON TABLE oracle.responses TO neo_backup;
GRANT SELECT ON TABLE oracle.responses TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE oracle.responses TO neo_oracle_user;
