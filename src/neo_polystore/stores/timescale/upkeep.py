"""Refresh, compression, retention, and how they stand, whichever mode the database is in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.pgkit.errors import translated
from neo_polystore.ports.metric_upkeep import (
    Compressed,
    Dropped,
    Kept,
    MetricUpkeep,
    Refreshed,
    Retained,
    RollupStatus,
    Task,
)
from neo_polystore.stores.timescale import extension, plain
from neo_polystore.stores.timescale.config import INDEFINITE, TimescaleConfig
from neo_polystore.stores.timescale.policies import apply_policies

SETTINGS: Final = {
    "raw": "NEO_METRICS_RAW",
    "hourly": "NEO_METRICS_HOURLY",
    "daily": "NEO_METRICS_DAILY",
}

MODE: Final = """
SELECT c.relkind = 'p' AS partitioned,
    (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS extension,
    (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid) AS parts
FROM pg_class c WHERE c.oid = to_regclass('metrics')
"""

_LEVELS = """
SELECT level, coalesce(keep::text, 'indefinite') AS keep, nullif(gone_before, '-infinity') AS gone
FROM metrics_retention ORDER BY array_position(ARRAY['raw', 'hourly', 'daily'], level)
"""

_TASKS = """
SELECT j.proc_name::text AS name, coalesce(c.view_name, j.hypertable_name)::text AS relation,
    CASE WHEN isfinite(s.last_successful_finish) THEN s.last_successful_finish END AS last_success,
    CASE WHEN isfinite(s.next_start) THEN s.next_start END AS next_start,
    coalesce(s.total_failures, 0) AS failures
FROM timescaledb_information.jobs j
LEFT JOIN timescaledb_information.job_stats s USING (job_id)
LEFT JOIN timescaledb_information.continuous_aggregates c
    ON c.materialization_hypertable_name = j.hypertable_name
WHERE coalesce(c.view_name, j.hypertable_name) LIKE 'metrics%' ORDER BY 2, 1
"""

_PENDING = "SELECT count(*), min(hour) FROM metrics_touched_hours WHERE hour < $1"


class TimescaleUpkeep:
    """See `ports.metric_upkeep`. Reads over the store's pool; changes over a connection of its own
    as the role that may: with the extension the owner, without it that of background work.
    """

    def __init__(
        self,
        config: TimescaleConfig,
        database: Database,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._config = config
        self._database = database
        self._clock = clock
        self._own: Connection | None = None
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close the connection of its own, if it was needed."""
        async with self._turn:
            if self._own is not None:
                await self._own.close()
                self._own = None

    async def status(self) -> RollupStatus:
        """How rollups and retention stand."""
        async with self._reading("metrics.status") as (connection, partitioned):
            now = self._clock()
            mode: Any = await connection.fetchrow(MODE)
            levels = await connection.fetch(_LEVELS)
            past = await self._past(connection, now, partitioned=partitioned)
            kept = [
                Kept(
                    row["level"],
                    row["keep"],
                    row["gone"],
                    sum(item.rows for item in past if item.level == row["level"]),
                    SETTINGS[row["level"]],
                )
                for row in levels
            ]
            if not partitioned:
                tasks = [Task(**dict(row)) for row in await connection.fetch(_TASKS)]
                return RollupStatus("timescaledb", mode["extension"], 0, None, kept, tasks)
            pending, oldest = await pending_hours(connection, now)
            return RollupStatus("plain", None, pending, oldest, kept, [])

    async def refresh(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> Refreshed:
        """Bring the rollups of [since, until) up to date."""
        async with self._changing("metrics.refresh") as (connection, partitioned):
            work = plain.refresh if partitioned else extension.refresh
            return await work(connection, self._clock(), since, until)

    async def compress(self) -> Compressed:
        """Compress days that are old enough."""
        async with self._changing("metrics.compress") as (connection, partitioned):
            if not partitioned:
                return await extension.compress(connection)
            age = self._config.compress_after
            if age == INDEFINITE:
                return Compressed("plain", 0, 0)
            return await plain.compress(connection, self._clock(), age)

    async def retain(self, *, dry_run: bool = False) -> Retained:
        """Drop what is past its retention."""
        now = self._clock()
        if dry_run:
            async with self._reading("metrics.retain") as (connection, partitioned):
                return Retained(await self._past(connection, now, partitioned=partitioned))
        async with self._changing("metrics.retain") as (connection, partitioned):
            work = plain.retain if partitioned else extension.retain
            return await work(connection, now)

    async def rest(self, *, resting: bool) -> None:
        """Have TimescaleDB's retention rest, or go on; returns when none of it is under way."""
        if not await self.scheduled():
            async with self._changing("metrics.rest") as (connection, _):
                await extension.rest(connection, resting=resting)

    async def scheduled(self) -> bool:
        """True without the extension, whose policies do it by themselves."""
        async with self._reading("metrics.status") as (_, partitioned):
            return partitioned

    async def _past(
        self, connection: Connection, now: datetime, *, partitioned: bool
    ) -> list[Dropped]:
        work = plain.past if partitioned else extension.past
        return await work(connection, now)

    @asynccontextmanager
    async def _reading(self, operation: str) -> AsyncIterator[tuple[Connection, bool]]:
        """A connection as the application, and whether the points are in partitions."""
        async with self._database.acquire(operation) as connection:
            row = await connection.fetchrow(MODE)
            yield connection, bool(row and row["partitioned"])

    @asynccontextmanager
    async def _changing(self, operation: str) -> AsyncIterator[tuple[Connection, bool]]:
        """The connection as the role that may change rollups; one caller at a time has it."""
        partitioned = await self.scheduled()
        async with self._turn, translated(self._database.store, operation):
            if self._own is None or self._own.is_closed():
                self._own = await asyncpg.connect(
                    **(
                        self._config.as_relay().connect_arguments()
                        if partitioned
                        else self._config.connect_arguments(as_owner=True)
                    )
                )
            yield self._own, partitioned


async def pending_hours(connection: Connection, now: datetime) -> tuple[int, datetime | None]:
    """How many hours that are over wait for a refresh of the plain rollups, and the oldest."""
    over = now - timedelta(hours=1)
    row = await connection.fetchrow(_PENDING, over.replace(minute=0, second=0, microsecond=0))
    return (row["count"], row["min"]) if row else (0, None)


async def configure(owner: Connection, config: TimescaleConfig) -> None:
    """Have the database keep each resolution, and compress, as the settings say."""
    async with owner.transaction():
        await owner.execute("SELECT pg_advisory_xact_lock(hashtext('neo-polystore:timescale'))")
        for level, age in config.kept().items():
            await owner.execute(
                "UPDATE metrics_retention SET keep = $2::text::interval"
                " WHERE level = $1 AND keep IS DISTINCT FROM $2::text::interval",
                level,
                None if age == INDEFINITE else age,
            )
        mode = await owner.fetchrow(MODE)
        if mode is not None and not mode["partitioned"]:
            await apply_policies(owner, config)


async def empty_rollups(owner: Connection) -> None:
    """Remove what the extension has materialised; plain rollups are tables like others."""
    mode = await owner.fetchrow(MODE)
    if mode is not None and not mode["partitioned"]:
        await extension.empty_rollups(owner)


_: type[MetricUpkeep] = TimescaleUpkeep
