"""Forgets what is old and settled: runs of the scheduler, dead letters that were dealt with."""

from __future__ import annotations

from collections import Counter
from typing import Final

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import Database

PATIENCE: Final = 600.0
"""Seconds that a maintenance statement may take: more than one that somebody waits for."""

PORTION: Final = 10_000
"""Dead letters, which carry their messages, that go in one transaction."""

MOST_DAYS: Final = 36_500

_OLD_RUNS = """
WITH numbered AS (
    SELECT id, job, outcome, coalesce(finished_at, started_at) AS ended,
        row_number() OVER (PARTITION BY job ORDER BY id DESC) AS place,
        max(id) FILTER (WHERE outcome = 'done') OVER (PARTITION BY job) AS last_success
    FROM scheduler.runs
), old AS (
    SELECT id, job FROM numbered
    WHERE place > $2 AND outcome <> 'running' AND id IS DISTINCT FROM last_success
        AND ended < clock_timestamp() - make_interval(days => $1)
)
"""
_COUNT_RUNS = f"{_OLD_RUNS} SELECT job, count(*) AS runs FROM old GROUP BY job ORDER BY job"
_PRUNE_RUNS = f"""{_OLD_RUNS}, gone AS (
    DELETE FROM scheduler.runs r USING old WHERE r.id = old.id RETURNING r.job
)
SELECT job, count(*) AS runs FROM gone GROUP BY job ORDER BY job
"""

_SETTLED = """
coalesce(replayed_at, discarded_at) < clock_timestamp() - make_interval(days => $1)
"""
_COUNT_LETTERS = f"""
SELECT topic, count(*) AS letters FROM outbox.dead_letters WHERE {_SETTLED} GROUP BY topic
ORDER BY topic
"""
_PRUNE_LETTERS = f"""
DELETE FROM outbox.dead_letters WHERE id IN (
    SELECT id FROM outbox.dead_letters WHERE {_SETTLED} AND id > $2
    ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
)
RETURNING id, topic
"""


async def prune_runs(database: Database, *, days: int, keep: int, dry_run: bool) -> dict[str, int]:
    """Runs of over `days` ago but for the last `keep`; see `ports.scheduling.Upkeep`."""
    _check("keep", keep, least=1, most=1_000_000)
    _check("days", days)
    async with database.acquire("scheduler.prune") as connection:
        sql = _COUNT_RUNS if dry_run else _PRUNE_RUNS
        rows = await connection.fetch(sql, days, keep, timeout=PATIENCE)
    return {row["job"]: row["runs"] for row in rows}


async def prune_dead_letters(database: Database, *, days: int, dry_run: bool) -> dict[str, int]:
    """Dead letters that were settled over `days` ago; see `ports.scheduling.Upkeep`."""
    _check("days", days)
    if dry_run:
        async with database.acquire("outbox.prune") as connection:
            rows = await connection.fetch(_COUNT_LETTERS, days, timeout=PATIENCE)
        return {row["topic"]: row["letters"] for row in rows}
    counts: Counter[str] = Counter()
    last = 0
    while True:
        async with database.acquire("outbox.prune") as connection:
            rows = await connection.fetch(_PRUNE_LETTERS, days, last, PORTION, timeout=PATIENCE)
        counts.update(row["topic"] for row in rows)
        if len(rows) < PORTION:
            return dict(sorted(counts.items()))
        last = max(row["id"] for row in rows)


def _check(name: str, value: int, *, least: int = 0, most: int = MOST_DAYS) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name}: expected {least} to {most:,}, got {value}")
