"""The metrics engine's lifecycle: one engine, a hypertable or daily partitions underneath."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar

import asyncpg

from neo_polystore.activity import Activity
from neo_polystore.pgkit.backing import PgBacking
from neo_polystore.pgkit.clearing import clear
from neo_polystore.pgkit.database import Connection, Database, PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.pgkit.health import probe, with_facts
from neo_polystore.pgkit.sql_files import migrate_scripts, script_text
from neo_polystore.ports.retention import Ages
from neo_polystore.ports.store import (
    Cleared,
    Health,
    MigrationReport,
    Script,
    Store,
    Validation,
)
from neo_polystore.stores.timescale.ages import MetricAges
from neo_polystore.stores.timescale.config import TimescaleConfig
from neo_polystore.stores.timescale.ingest import Ingest
from neo_polystore.stores.timescale.metrics import MetricPoints, place_of
from neo_polystore.stores.timescale.upkeep import (
    MODE,
    TimescaleUpkeep,
    configure,
    empty_rollups,
    pending_hours,
)

FOLDER = "timescale"

_TABLES = (
    "services",
    "series",
    "metrics",
    "metrics_segments",
    "metrics_touched",
    "metrics_hours",
    "metrics_days",
)


class TimescaleStore:
    """Which of the two modes a database is in was decided when its tables were made.

    With the extension `timescaledb` in the database then, `metrics` is a hypertable; without it,
    a table partitioned by day. Names, columns and every statement of this engine are the same.
    """

    name: ClassVar[str] = "timescale"
    serves: ClassVar[frozenset[str]] = frozenset({"metrics"})
    features: ClassVar[frozenset[str]] = frozenset({"range", "bulk-copy", "rollups"})

    def __init__(self, config: PgConfig):
        self.config = TimescaleConfig.of(config)
        self.database = Database(config, store=self.name)
        self.ingest = Ingest(self.database)
        self.metric_upkeep = TimescaleUpkeep(self.config, self.database)

    async def connect(self) -> None:
        """Open the pool."""
        await self.database.connect()
        self.ingest.open()

    async def close(self) -> None:
        """Finish the writes that were taken, and close the pool."""
        await self.ingest.close()
        await self.metric_upkeep.close()
        await self.database.close()

    async def health(self) -> Health:
        """Version and latency, the mode (`timescaledb` or `plain`), and how far rollups lag."""
        return await probe(self.database, _mode)

    @property
    def backing(self) -> PgBacking:
        """How it is backed up; with TimescaleDB's hypertables always as a whole."""
        return PgBacking(self.config, store=self.name, phase="follows")

    @property
    def activity(self) -> Activity:
        """What its one database was asked."""
        return self.database.activity

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Run the files of `timescale/` as the owner, and set retention as it is configured."""
        report = await migrate_scripts(self.config, folder=FOLDER, store=self.name, dry_run=dry_run)
        if not dry_run:
            async with self._owner("migrate") as owner:
                await configure(owner, self.config)
        return report

    @asynccontextmanager
    async def _owner(self, operation: str) -> AsyncIterator[Connection]:
        async with translated(self.name, operation):
            connection = await asyncpg.connect(**self.config.connect_arguments(as_owner=True))
            try:
                yield connection
            finally:
                await connection.close()

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Not offered."""
        return MigrationReport(
            self.name, FOLDER, None, not_applicable="the files of timescale/ only go forward"
        )

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """The files of `timescale/` as a script for psql."""
        return Script(cls.name, script_text(FOLDER, after=after))

    async def validate(self) -> Validation:
        """Every file applied, and as it was then."""
        return Validation.of(await self.migrate(dry_run=True))

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Remove all points, their rollups, and the names of their services and series."""
        cleared = await clear(self.config, store=self.name, tables=_TABLES, dry_run=dry_run)
        if not dry_run:
            async with self._owner("clear") as owner:
                await empty_rollups(owner)
        self.ingest.forget()
        return cleared

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these keys a connection of its own finds."""
        if data_type not in self.serves:
            raise KeyError(data_type)
        places = [place_of(key) for key in keys]
        async with self.database.translated("witness"):
            connection = await asyncpg.connect(**self.config.connect_arguments())
            try:
                return int(
                    await connection.fetchval(
                        "SELECT count(*) FROM metrics_all JOIN"
                        " unnest($1::uuid[], $2::timestamptz[]) AS key (series_id, time)"
                        " USING (series_id, time) WHERE time BETWEEN $3 AND $4"
                        " AND last >= $3 AND first <= $4",
                        [series for series, _ in places],
                        [time for _, time in places],
                        min((time for _, time in places), default=None),
                        max((time for _, time in places), default=None),
                    )
                )
            finally:
                await connection.close()

    def port(self, data_type: str) -> Any:
        """The metrics port."""
        return {"metrics": MetricPoints}[data_type](self.database, self.ingest)

    def ages(self, data_type: str) -> Ages | None:
        """The retention of `metrics`."""
        return MetricAges(self.metric_upkeep)


async def _mode(connection: Connection, health: Health) -> Health:
    row = await connection.fetchrow(MODE)
    if row is None:
        return with_facts(health, "no schema yet: run `neo-polystore db migrate`")
    if not row["partitioned"]:
        return with_facts(
            health, f"TimescaleDB {row['extension']}", mode="timescaledb", chunks=row["parts"]
        )
    detail = "plain PostgreSQL, partitioned by day"
    if row["extension"]:
        detail += " (TimescaleDB was added after the tables were made)"
    hours, oldest = await pending_hours(connection, datetime.now(UTC))
    if hours:
        detail += f"; {hours} hours wait for a refresh of the rollups"
    return with_facts(
        health,
        detail,
        mode="plain",
        partitions=row["parts"],
        rollup_hours_pending=hours,
        rollup_oldest_pending=oldest,
    )


_: type[Store] = TimescaleStore
