"""Proposals of a tenant, the votes on them, and what each vote weighs."""

from alembic import op

revision = "0012_voting"
down_revision = "0011_oracle"

UP = (
    "CREATE SCHEMA voting",
    """
    CREATE TABLE voting.proposals (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL REFERENCES core.tenants (id),
        title varchar(255) NOT NULL,
        description text,
        proposer_id uuid NOT NULL,
        proposal_type varchar(50) NOT NULL,
        status varchar(50) NOT NULL DEFAULT 'draft',
        starts_at timestamptz,
        ends_at timestamptz,
        quorum numeric(78, 0) NOT NULL DEFAULT 0,
        threshold numeric(5, 4) NOT NULL DEFAULT 0.5,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT proposals_tenant_id_unique UNIQUE (tenant_id, id),
        CONSTRAINT proposals_proposer_fkey FOREIGN KEY (tenant_id, proposer_id)
            REFERENCES auth.users (tenant_id, id),
        CONSTRAINT proposals_status_check
            CHECK (status IN ('draft', 'active', 'passed', 'rejected', 'executed', 'cancelled')),
        CONSTRAINT proposals_period_check CHECK (ends_at > starts_at),
        CONSTRAINT proposals_quorum_check CHECK (quorum >= 0),
        -- the share of the votes cast that has to be in favour
        CONSTRAINT proposals_threshold_check CHECK (threshold BETWEEN 0 AND 1)
    )
    """,
    "CREATE INDEX idx_proposals_status ON voting.proposals (tenant_id, status, ends_at)",
    "CREATE INDEX idx_proposals_proposer ON voting.proposals (tenant_id, proposer_id)",
    (
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON voting.proposals"
        " FOR EACH ROW EXECUTE FUNCTION core.set_updated_at()"
    ),
    """
    CREATE TABLE voting.votes (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL,
        proposal_id uuid NOT NULL,
        voter_id uuid NOT NULL,
        choice varchar(50) NOT NULL,
        voting_power numeric(78, 0) NOT NULL DEFAULT 0,
        signature text,
        transaction_hash varchar(255),
        cast_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT votes_voter_unique UNIQUE (proposal_id, voter_id),
        CONSTRAINT votes_proposal_fkey FOREIGN KEY (tenant_id, proposal_id)
            REFERENCES voting.proposals (tenant_id, id) ON DELETE CASCADE,
        CONSTRAINT votes_voter_fkey FOREIGN KEY (tenant_id, voter_id)
            REFERENCES auth.users (tenant_id, id),
        CONSTRAINT votes_choice_check CHECK (choice IN ('for', 'against', 'abstain')),
        CONSTRAINT votes_power_check CHECK (voting_power >= 0)
    )
    """,
    "CREATE INDEX idx_votes_proposal ON voting.votes (tenant_id, proposal_id)",
    "CREATE INDEX idx_votes_voter ON voting.votes (tenant_id, voter_id)",
    # without a proposal: the power that counts wherever none is given for the proposal itself
    """
    CREATE TABLE voting.voting_powers (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        tenant_id uuid NOT NULL,
        voter_id uuid NOT NULL,
        proposal_id uuid,
        snapshot_block bigint,
        power numeric(78, 0) NOT NULL DEFAULT 0,
        delegated_to uuid,
        created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
        CONSTRAINT voting_powers_voter_unique
            UNIQUE NULLS NOT DISTINCT (voter_id, proposal_id),
        CONSTRAINT voting_powers_voter_fkey FOREIGN KEY (tenant_id, voter_id)
            REFERENCES auth.users (tenant_id, id),
        CONSTRAINT voting_powers_proposal_fkey FOREIGN KEY (tenant_id, proposal_id)
            REFERENCES voting.proposals (tenant_id, id) ON DELETE CASCADE,
        CONSTRAINT voting_powers_delegate_fkey FOREIGN KEY (tenant_id, delegated_to)
            REFERENCES auth.users (tenant_id, id),
        CONSTRAINT voting_powers_power_check CHECK (power >= 0),
        CONSTRAINT voting_powers_delegate_check CHECK (delegated_to <> voter_id)
    )
    """,
    "CREATE INDEX idx_voting_powers_voter ON voting.voting_powers (tenant_id, voter_id)",
    "CREATE INDEX idx_voting_powers_proposal ON voting.voting_powers (tenant_id, proposal_id)",
    "CREATE INDEX idx_voting_powers_delegate ON voting.voting_powers (tenant_id, delegated_to)",
    "GRANT USAGE ON SCHEMA voting TO neo_app",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON voting.proposals, voting.voting_powers TO neo_app",
    # a vote that was cast stands
    "GRANT SELECT, INSERT ON voting.votes TO neo_app",
)


def upgrade() -> None:
    """Make the tables, closed to other tenants."""
    own = "tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"
    for statement in UP:
        op.execute(statement)
    for table in ("proposals", "votes", "voting_powers"):
        op.execute(f"ALTER TABLE voting.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE voting.{table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY tenant_isolation ON voting.{table} USING ({own}) WITH CHECK ({own})"
        )


def downgrade() -> None:
    """Drop the schema with its rows."""
    op.execute("DROP SCHEMA voting CASCADE")
