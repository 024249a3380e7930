"""The scheduler's memory: when each job is due, who runs it, and how every run ended."""

from alembic import op

revision = "0007_scheduler"
down_revision = "0006_outbox"

UP = (
    "CREATE SCHEMA scheduler",
    """
    CREATE TABLE scheduler.jobs (
        name varchar(100) PRIMARY KEY,
        cron varchar(100) NOT NULL,
        next_run timestamptz NOT NULL,
        token bigint NOT NULL DEFAULT 0,
        holder text,
        lease_until timestamptz,
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE scheduler.runs (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        job varchar(100) NOT NULL REFERENCES scheduler.jobs (name) ON DELETE CASCADE,
        token bigint NOT NULL,
        holder text NOT NULL,
        scheduled_for timestamptz NOT NULL,
        forced boolean NOT NULL,
        started_at timestamptz NOT NULL,
        finished_at timestamptz,
        seconds double precision,
        outcome varchar(20) NOT NULL DEFAULT 'running',
        result jsonb,
        error text,
        CONSTRAINT runs_token_unique UNIQUE (job, token),
        CONSTRAINT runs_outcome_check CHECK (outcome IN ('running', 'done', 'failed', 'lost'))
    )
    """,
    # the last line of defence: one firing cannot be recorded as done by two
    (
        "CREATE UNIQUE INDEX idx_runs_done_once ON scheduler.runs (job, scheduled_for)"
        " WHERE outcome = 'done' AND NOT forced"
    ),
    "CREATE INDEX idx_runs_job ON scheduler.runs (job, id DESC)",
    "GRANT USAGE ON SCHEMA scheduler TO neo_relay",
    "GRANT SELECT, INSERT, UPDATE ON scheduler.jobs, scheduler.runs TO neo_relay",
)


def upgrade() -> None:
    """Make both tables, for the relay's role: no application has business here."""
    for statement in UP:
        op.execute(statement)


def downgrade() -> None:
    """Drop them with their history."""
    op.execute("DROP SCHEMA scheduler CASCADE")
