CREATE SCHEMA voting;

CREATE TABLE voting.proposals (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    title character varying(255) NOT NULL,
    description text,
    proposer_id uuid NOT NULL,
    proposal_type character varying(50) NOT NULL,
    status character varying(50) DEFAULT 'draft'::character varying NOT NULL,
    starts_at timestamp with time zone,
    ends_at timestamp with time zone,
    quorum numeric(78,0) DEFAULT 0 NOT NULL,
    threshold numeric(5,4) DEFAULT 0.5 NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT proposals_period_check CHECK ((ends_at > starts_at)),
    CONSTRAINT proposals_quorum_check CHECK ((quorum >= (0)::numeric)),
    CONSTRAINT proposals_status_check CHECK (((status)::text = ANY ((ARRAY['draft'::character varying, 'active'::character varying, 'passed'::character varying, 'rejected'::character varying, 'executed'::character varying, 'cancelled'::character varying])::text[]))),
    CONSTRAINT proposals_threshold_check CHECK (((threshold >= (0)::numeric) AND (threshold <= (1)::numeric)))
);

ALTER TABLE ONLY voting.proposals FORCE ROW LEVEL SECURITY;

CREATE TABLE voting.votes (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    proposal_id uuid NOT NULL,
    voter_id uuid NOT NULL,
    choice character varying(50) NOT NULL,
    voting_power numeric(78,0) DEFAULT 0 NOT NULL,
    signature text,
    transaction_hash character varying(255),
    cast_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT votes_choice_check CHECK (((choice)::text = ANY ((ARRAY['for'::character varying, 'against'::character varying, 'abstain'::character varying])::text[]))),
    CONSTRAINT votes_power_check CHECK ((voting_power >= (0)::numeric))
);

ALTER TABLE ONLY voting.votes FORCE ROW LEVEL SECURITY;

CREATE TABLE voting.voting_powers (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    tenant_id uuid NOT NULL,
    voter_id uuid NOT NULL,
    proposal_id uuid,
    snapshot_block bigint,
    power numeric(78,0) DEFAULT 0 NOT NULL,
    delegated_to uuid,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT voting_powers_delegate_check CHECK ((delegated_to <> voter_id)),
    CONSTRAINT voting_powers_power_check CHECK ((power >= (0)::numeric))
);

ALTER TABLE ONLY voting.voting_powers FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY voting.proposals
    ADD CONSTRAINT proposals_pkey PRIMARY KEY (id);

ALTER TABLE ONLY voting.proposals
    ADD CONSTRAINT proposals_tenant_id_unique UNIQUE (tenant_id, id);

ALTER TABLE ONLY voting.votes
    ADD CONSTRAINT votes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY voting.votes
    ADD CONSTRAINT votes_voter_unique UNIQUE (proposal_id, voter_id);

ALTER TABLE ONLY voting.voting_powers
    ADD CONSTRAINT voting_powers_pkey PRIMARY KEY (id);

ALTER TABLE ONLY voting.voting_powers
    ADD CONSTRAINT voting_powers_voter_unique UNIQUE NULLS NOT DISTINCT (voter_id, proposal_id);

CREATE INDEX idx_proposals_proposer ON voting.proposals USING btree (tenant_id, proposer_id);

CREATE INDEX idx_proposals_status ON voting.proposals USING btree (tenant_id, status, ends_at);

CREATE INDEX idx_votes_proposal ON voting.votes USING btree (tenant_id, proposal_id);

CREATE INDEX idx_votes_voter ON voting.votes USING btree (tenant_id, voter_id);

CREATE INDEX idx_voting_powers_delegate ON voting.voting_powers USING btree (tenant_id, delegated_to);

CREATE INDEX idx_voting_powers_proposal ON voting.voting_powers USING btree (tenant_id, proposal_id);

CREATE INDEX idx_voting_powers_voter ON voting.voting_powers USING btree (tenant_id, voter_id);

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON voting.proposals FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON voting.votes FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER audit_changes AFTER INSERT OR DELETE OR UPDATE ON voting.voting_powers FOR EACH ROW EXECUTE FUNCTION public.audit_changes();

CREATE TRIGGER set_updated_at BEFORE UPDATE ON voting.proposals FOR EACH ROW EXECUTE FUNCTION core.set_updated_at();

ALTER TABLE ONLY voting.proposals
    ADD CONSTRAINT proposals_proposer_fkey FOREIGN KEY (tenant_id, proposer_id) REFERENCES auth.users(tenant_id, id);

ALTER TABLE ONLY voting.proposals
    ADD CONSTRAINT proposals_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES core.tenants(id);

ALTER TABLE ONLY voting.votes
    ADD CONSTRAINT votes_proposal_fkey FOREIGN KEY (tenant_id, proposal_id) REFERENCES voting.proposals(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY voting.votes
    ADD CONSTRAINT votes_voter_fkey FOREIGN KEY (tenant_id, voter_id) REFERENCES auth.users(tenant_id, id);

ALTER TABLE ONLY voting.voting_powers
    ADD CONSTRAINT voting_powers_delegate_fkey FOREIGN KEY (tenant_id, delegated_to) REFERENCES auth.users(tenant_id, id);

ALTER TABLE ONLY voting.voting_powers
    ADD CONSTRAINT voting_powers_proposal_fkey FOREIGN KEY (tenant_id, proposal_id) REFERENCES voting.proposals(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY voting.voting_powers
    ADD CONSTRAINT voting_powers_voter_fkey FOREIGN KEY (tenant_id, voter_id) REFERENCES auth.users(tenant_id, id);

ALTER TABLE voting.proposals ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON voting.proposals USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON voting.votes USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

CREATE POLICY tenant_isolation ON voting.voting_powers USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif"))) WITH CHECK ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE voting.votes ENABLE ROW LEVEL SECURITY;

ALTER TABLE voting.voting_powers ENABLE ROW LEVEL SECURITY;

GRANT USAGE ON SCHEMA voting TO neo_app;
GRANT USAGE ON SCHEMA voting TO neo_backup;
GRANT USAGE ON SCHEMA voting TO neo_readonly;
GRANT USAGE ON SCHEMA voting TO neo_voting_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE voting.proposals TO neo_app;
GRANT SELECT ON TABLE voting.proposals TO neo_backup;
GRANT SELECT ON TABLE voting.proposals TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE voting.proposals TO neo_voting_user;

GRANT SELECT,INSERT ON TABLE voting.votes TO neo_app;
GRANT SELECT ON TABLE voting.votes TO neo_backup;
GRANT SELECT ON TABLE voting.votes TO neo_readonly;
GRANT SELECT,INSERT ON TABLE voting.votes TO neo_voting_user;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE voting.voting_powers TO neo_app;
GRANT SELECT ON TABLE voting.voting_powers TO neo_backup;
GRANT SELECT ON TABLE voting.voting_powers TO neo_readonly;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE voting.voting_powers TO neo_voting_user;
