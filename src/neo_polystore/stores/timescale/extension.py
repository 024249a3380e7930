"""Upkeep with the extension: TimescaleDB's policies do it; here it can be asked for at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import structlog

from neo_polystore.errors import UnavailableError
from neo_polystore.pgkit.database import Connection
from neo_polystore.ports.metric_upkeep import Compressed, Dropped, Level, Refreshed, Retained
from neo_polystore.stores.timescale.policies import NOTE_DROPPED, RELATIONS

_FLOORS = """
SELECT level, nullif(greatest(
    gone_before, date_trunc('day', $1::timestamptz - keep, 'UTC') + INTERVAL '1 day'
), '-infinity') AS floor
FROM metrics_retention
"""

_MADE_FROM: Final = {"hourly": "raw", "daily": "hourly"}
_WIDTHS: Final = {"hourly": timedelta(hours=1), "daily": timedelta(days=1)}
_TICK: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_ATTEMPTS: Final = 120
_PAUSE: Final = 0.25

_logger = structlog.get_logger(__name__)

_JOBS = """
SELECT j.job_id FROM timescaledb_information.jobs j
LEFT JOIN timescaledb_information.continuous_aggregates c
    ON c.materialization_hypertable_name = j.hypertable_name
WHERE j.proc_name = $2 AND coalesce(c.view_name, j.hypertable_name) = ANY($1)
ORDER BY 1
"""

_RUNNING = """
SELECT EXISTS (SELECT FROM timescaledb_information.job_stats
    WHERE job_id = ANY($1) AND job_status = 'Running')
"""

_CHUNKS = """
SELECT range_start, range_end FROM timescaledb_information.chunks k
LEFT JOIN timescaledb_information.continuous_aggregates c
    ON c.materialization_hypertable_name = k.hypertable_name
WHERE coalesce(c.view_name, k.hypertable_name) = $1
    AND range_end <= $2::timestamptz - (SELECT keep FROM metrics_retention WHERE level = $3)
ORDER BY range_start
"""


async def refresh(
    owner: Connection, now: datetime, since: datetime | None, until: datetime | None
) -> Refreshed:
    """Refresh what is over of [since, until), never from where points may be gone.

    The open hour and day are left to the views, which aggregate them at any time; materialised,
    they would hide what comes later.
    """
    await owner.execute(NOTE_DROPPED)
    rows = await owner.fetch(_FLOORS, now)
    floors = {row["level"]: row["floor"] for row in rows}
    reached: datetime | None = None
    for level, width in _WIDTHS.items():
        floor: datetime | None = floors[_MADE_FROM[level]]
        start = floor if since is None else max(filter(None, (floor, _floored(since, width))))
        end = _floored(now if until is None else min(now, until + width - _TICK), width)
        if start is not None and start >= end:
            continue
        await _refresh_alone(owner, RELATIONS[level], start, end)
        if level == "hourly":
            reached = start
    return Refreshed("timescaledb", reached, until, None)


async def _refresh_alone(
    owner: Connection, view: str, since: datetime | None, until: datetime
) -> None:
    """Refresh, once TimescaleDB's own refresh of the same times is through; it will not wait."""
    for attempt in range(_ATTEMPTS):
        try:
            await owner.execute(
                f"CALL refresh_continuous_aggregate('{view}', $1::timestamptz, $2::timestamptz)",
                since,
                until,
            )
        except asyncpg.LockNotAvailableError:
            if attempt + 1 == _ATTEMPTS:
                raise
            await asyncio.sleep(_PAUSE)
        else:
            return


async def empty_rollups(owner: Connection) -> None:
    """Remove what was materialised; the views' definitions and policies stay."""
    await owner.execute("TRUNCATE metrics_daily")
    await owner.execute("TRUNCATE metrics_hourly")


def _floored(moment: datetime, width: timedelta) -> datetime:
    return moment - (moment - _EPOCH) % width


async def rest(owner: Connection, *, resting: bool) -> None:
    """Schedule TimescaleDB's retention jobs or not, and wait for one that is running."""
    jobs = await _jobs(owner, "policy_retention")
    for job in jobs:
        await owner.execute("SELECT alter_job($1, scheduled => $2)", job, not resting)
    for _ in range(_ATTEMPTS if resting else 0):
        if not await owner.fetchval(_RUNNING, jobs):
            return
        await asyncio.sleep(_PAUSE)
    if resting:
        raise UnavailableError("TimescaleDB's retention is running: try again", store="timescale")


async def _jobs(owner: Connection, procedure: str) -> list[int]:
    rows = await owner.fetch(_JOBS, list(RELATIONS.values()), procedure)
    return [int(row["job_id"]) for row in rows]


async def compress(owner: Connection) -> Compressed:
    """Run TimescaleDB's compression job now. Before 2.29 it fails where somebody writes into one
    of the chunks, and its next run takes those that are left."""
    busy = False
    for job in await _jobs(owner, "policy_compression"):
        try:
            await owner.execute(f"CALL run_job({job})")
        except asyncpg.PostgresError as error:
            if not str(error).partition("\n")[0].endswith("policy failure"):
                raise
            _logger.warning("some days are not compressed yet", why=error.detail)
            busy = True
    return Compressed("timescaledb", None, None, busy)


async def past(reader: Connection, now: datetime) -> list[Dropped]:
    """The chunks that the next retention run drops."""
    found = []
    levels: tuple[Level, ...] = ("raw", "hourly", "daily")
    for level in levels:
        time = "time" if level == "raw" else "bucket"
        for row in await reader.fetch(_CHUNKS, RELATIONS[level], now, level):
            rows = await reader.fetchval(
                f"SELECT count(*) FROM {RELATIONS[level]} WHERE {time} >= $1 AND {time} < $2",
                row["range_start"],
                row["range_end"],
            )
            found.append(Dropped(level, row["range_start"], row["range_end"], rows))
    return found


async def retain(owner: Connection, now: datetime) -> Retained:
    """Run TimescaleDB's retention jobs now, as they would run by themselves."""
    dropped = await past(owner, now)
    for job in await _jobs(owner, "policy_retention"):
        await owner.execute(f"CALL run_job({job})")
    await owner.execute(NOTE_DROPPED)
    return Retained(dropped)
