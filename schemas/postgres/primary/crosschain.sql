CREATE SCHEMA crosschain;

CREATE TABLE crosschain.bridge_operations (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    transaction_id uuid NOT NULL,
    operation_type character varying(50) NOT NULL,
    status character varying(50) DEFAULT 'pending'::character varying NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    proof bytea,
    error_message text,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    completed_at timestamp with time zone,
    CONSTRAINT bridge_operations_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT bridge_operations_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'submitted'::character varying, 'completed'::character varying, 'failed'::character varying])::text[]))),
    CONSTRAINT bridge_operations_type_check CHECK (((operation_type)::text = ANY ((ARRAY['lock'::character varying, 'mint'::character varying, 'burn'::character varying, 'release'::character varying])::text[])))
);

CREATE TABLE crosschain.transactions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    source_network_id uuid NOT NULL,
    target_network_id uuid NOT NULL,
    source_tx_hash character varying(255) NOT NULL,
    target_tx_hash character varying(255),
    sender character varying(255) NOT NULL,
    recipient character varying(255) NOT NULL,
    asset character varying(255) NOT NULL,
    amount numeric(78,0) NOT NULL,
    status character varying(50) DEFAULT 'pending'::character varying NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT crosschain_transactions_amount_check CHECK ((amount >= (0)::numeric)),
    CONSTRAINT crosschain_transactions_networks_check CHECK ((source_network_id <> target_network_id)),
    CONSTRAINT crosschain_transactions_status_check CHECK (((status)::text = ANY ((ARRAY['pending'::character varying, 'locked'::character varying, 'relayed'::character varying, 'completed'::character varying, 'failed'::character varying, 'refunded'::character varying])::text[])))
);

ALTER TABLE ONLY crosschain.bridge_operations
    ADD CONSTRAINT bridge_operations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY crosschain.transactions
    ADD CONSTRAINT crosschain_transactions_source_unique UNIQUE (source_network_id, source_tx_hash);

ALTER TABLE ONLY crosschain.transactions
    ADD CONSTRAINT transactions_pkey PRIMARY KEY (id);

CREATE INDEX idx_bridge_operations_open ON crosschain.bridge_operations USING btree (created_at) WHERE ((status)::text = ANY ((ARRAY['pending'::character varying, 'submitted'::character varying])::text[]));

CREATE INDEX idx_bridge_operations_transaction ON crosschain.bridge_operations USING btree (transaction_id);

CREATE INDEX idx_crosschain_open ON crosschain.transactions USING btree (created_at) WHERE ((status)::text = ANY ((ARRAY['pending'::character varying, 'locked'::character varying, 'relayed'::character varying])::text[]));

CREATE INDEX idx_crosschain_recipient ON crosschain.transactions USING btree (recipient, created_at DESC);

CREATE INDEX idx_crosschain_sender ON crosschain.transactions USING btree (sender, created_at DESC);

CREATE INDEX idx_crosschain_target ON crosschain.transactions USING btree (target_network_id, target_tx_hash);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON crosschain.bridge_operations FOR EACH ROW EXECUTE FUNCTION public.audit_changes('proof');

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON crosschain.transactions FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON crosschain.transactions FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY crosschain.bridge_operations
    ADD CONSTRAINT bridge_operations_transaction_id_fkey FOREIGN KEY (transaction_id) REFERENCES crosschain.transactions(id);

ALTER TABLE ONLY crosschain.transactions
    ADD CONSTRAINT transactions_source_network_id_fkey FOREIGN KEY (source_network_id) REFERENCES blockchain.networks(id);

ALTER TABLE ONLY crosschain.transactions
    ADD CONSTRAINT transactions_target_network_id_fkey FOREIGN KEY (target_network_id) REFERENCES blockchain.networks(id);

GRANT USAGE ON SCHEMA crosschain TO neo_app;
GRANT USAGE ON SCHEMA crosschain TO neo_backup;
GRANT USAGE ON SCHEMA crosschain TO neo_readonly;
GRANT USAGE ON SCHEMA crosschain TO neo_crosschain_user;

GRANT SELECT,INSERT,UPDATE ON TABLE crosschain.bridge_operations TO neo_app;
GRANT SELECT ON TABLE crosschain.bridge_operations TO neo_backup;
GRANT SELECT ON TABLE crosschain.bridge_operations TO neo_readonly;
GRANT SELECT,INSERT,UPDATE ON TABLE crosschain.bridge_operations TO neo_crosschain_user;

GRANT SELECT,INSERT,UPDATE ON TABLE crosschain.transactions TO neo_app;
GRANT SELECT ON TABLE crosschain.transactions TO neo_backup;
GRANT SELECT ON TABLE crosschain.transactions TO neo_readonly;
GRANT SELECT,INSERT,UPDATE ON TABLE crosschain.transactions TO neo_crosschain_user;
