"""The scheduler's books in PostgreSQL: a row per job, leased with a rising token, and its runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from neo_polystore.pgkit.database import Database
from neo_polystore.ports.scheduling import Firing, JobStatus, Ledger, Outcome, PastRun

# A rule that stays keeps its due time, so that what was missed while nobody ran is not forgotten.
REGISTER = """
INSERT INTO scheduler.jobs AS j (name, cron, next_run) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE
SET cron = excluded.cron, next_run = excluded.next_run, updated_at = clock_timestamp()
WHERE j.cron <> excluded.cron
"""

DUE = """
SELECT name FROM scheduler.jobs
WHERE next_run <= $1 AND (lease_until IS NULL OR lease_until <= $1) ORDER BY next_run, name
"""

TRIGGER = """
UPDATE scheduler.jobs SET next_run = least(next_run, $2), updated_at = clock_timestamp()
WHERE name = $1
"""

SKIP = """
UPDATE scheduler.jobs SET next_run = $3, updated_at = clock_timestamp()
WHERE name = $1 AND next_run < $2 AND lease_until IS NULL
"""

CLAIM = """
UPDATE scheduler.jobs
SET token = token + 1, holder = $2, lease_until = $4, updated_at = clock_timestamp()
WHERE name = $1 AND ($5 OR next_run <= $3) AND (lease_until IS NULL OR lease_until <= $3)
RETURNING token, next_run
"""

LOST = """
UPDATE scheduler.runs
SET outcome = 'lost', finished_at = $2, error = 'its process was not heard of any more'
WHERE job = $1 AND outcome = 'running'
"""

BEGIN = """
INSERT INTO scheduler.runs (job, token, holder, scheduled_for, forced, started_at)
VALUES ($1, $2, $3, $4, $5, $6)
"""

RENEW = """
UPDATE scheduler.jobs SET lease_until = $3, updated_at = clock_timestamp()
WHERE name = $1 AND token = $2 AND lease_until IS NOT NULL
"""

FINISH = """
UPDATE scheduler.jobs
SET next_run = CASE WHEN $3 THEN next_run ELSE $4 END, holder = NULL, lease_until = NULL,
    updated_at = clock_timestamp()
WHERE name = $1 AND token = $2 AND lease_until IS NOT NULL
"""

ENDED = """
UPDATE scheduler.runs
SET outcome = $3, finished_at = $4, seconds = $5, result = $6, error = $7
WHERE job = $1 AND token = $2
"""

STATUS = """
SELECT j.name, j.cron, j.next_run, CASE WHEN j.lease_until > clock_timestamp() THEN j.holder END
    AS holder, r.started_at AS last_run, r.outcome AS last_outcome, r.seconds AS last_seconds,
    r.error AS last_error, r.result AS last_result, e.seconds AS ended_seconds,
    d.finished_at AS last_success
FROM scheduler.jobs j LEFT JOIN LATERAL (
    SELECT * FROM scheduler.runs r WHERE r.job = j.name ORDER BY r.id DESC LIMIT 1
) AS r ON true LEFT JOIN LATERAL (
    SELECT seconds FROM scheduler.runs r WHERE r.job = j.name AND r.seconds IS NOT NULL
    ORDER BY r.id DESC LIMIT 1
) AS e ON true LEFT JOIN LATERAL (
    SELECT finished_at FROM scheduler.runs r WHERE r.job = j.name AND r.outcome = 'done'
    ORDER BY r.id DESC LIMIT 1
) AS d ON true
ORDER BY j.name
"""

HISTORY = """
SELECT id, job, holder, scheduled_for, forced, started_at, finished_at, seconds, outcome, result,
    error
FROM scheduler.runs
WHERE ($1::text IS NULL OR job = $1) AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""


class PgLedger:
    """See `ports.scheduling`. `database` acts as the relay's role."""

    def __init__(self, database: Database):
        self._database = database

    async def now(self) -> datetime:
        """The server's clock."""
        async with self._database.acquire("scheduler.now") as connection:
            found: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return found.astimezone(UTC)

    async def register(self, name: str, cron: str, next_run: datetime) -> None:
        """One upsert."""
        async with self._database.acquire("scheduler.register") as connection:
            await connection.execute(REGISTER, name, cron, next_run)

    async def due(self, *, now: datetime) -> list[str]:
        """One look."""
        async with self._database.acquire("scheduler.due") as connection:
            return [row["name"] for row in await connection.fetch(DUE, now)]

    async def trigger(self, name: str, *, now: datetime) -> bool:
        """One update."""
        async with self._database.acquire("scheduler.trigger") as connection:
            return not (await connection.execute(TRIGGER, name, now)).endswith(" 0")

    async def skip(self, name: str, *, before: datetime, next_run: datetime) -> bool:
        """One update; what somebody holds or has lost stays."""
        async with self._database.acquire("scheduler.skip") as connection:
            return not (await connection.execute(SKIP, name, before, next_run)).endswith(" 0")

    async def claim(
        self, name: str, *, holder: str, seconds: float, now: datetime, forced: bool = False
    ) -> Firing | None:
        """The row's lock decides between two who try at once."""
        until = now + timedelta(seconds=seconds)
        async with self._database.transaction("scheduler.claim") as connection:
            row = await connection.fetchrow(CLAIM, name, holder, now, until, forced)
            if row is None:
                return None
            # forced while it is not due: the run stands for this moment and not for the next one
            due = now if forced else row["next_run"].astimezone(UTC)
            await connection.execute(LOST, name, now)
            await connection.execute(BEGIN, name, row["token"], holder, due, forced, now)
        return Firing(name, row["token"], holder, due, forced, seconds)

    async def renew(self, firing: Firing, *, now: datetime) -> bool:
        """Fenced by the token."""
        until = now + timedelta(seconds=firing.seconds)
        async with self._database.acquire("scheduler.renew") as connection:
            status = await connection.execute(RENEW, firing.job, firing.token, until)
        return not status.endswith(" 0")

    async def finish(
        self,
        firing: Firing,
        *,
        now: datetime,
        next_run: datetime,
        seconds: float,
        outcome: Outcome,
        result: Any = None,
        error: str | None = None,
    ) -> bool:
        """Fenced by the token; job and run change together."""
        async with self._database.transaction("scheduler.finish") as connection:
            job = (firing.job, firing.token)
            if (await connection.execute(FINISH, *job, firing.forced, next_run)).endswith(" 0"):
                return False
            await connection.execute(ENDED, *job, outcome, now, seconds, result, error)
        return True

    async def status(self) -> Sequence[JobStatus]:
        """One statement."""
        async with self._database.acquire("scheduler.status") as connection:
            rows = await connection.fetch(STATUS)
        return [JobStatus(**dict(row)) for row in rows]

    async def history(
        self, job: str | None = None, *, before: int | None = None, limit: int = 100
    ) -> list[PastRun]:
        """By id: runs of a job begin in that order."""
        async with self._database.acquire("scheduler.history") as connection:
            rows = await connection.fetch(HISTORY, job, before, limit)
        return [PastRun(**dict(row)) for row in rows]


_: type[Ledger] = PgLedger
