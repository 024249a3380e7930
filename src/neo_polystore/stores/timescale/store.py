"""The metrics engine's lifecycle: one engine, a hypertable or daily partitions underneath."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import asyncpg

from neo_polystore.pgkit.clearing import clear
from neo_polystore.pgkit.database import Connection, Database, PgConfig
from neo_polystore.pgkit.health import probe, with_facts
from neo_polystore.pgkit.sql_files import migrate_scripts, script_text
from neo_polystore.ports.store import (
    Cleared,
    Health,
    MigrationReport,
    Script,
    Store,
    Validation,
)
from neo_polystore.stores.timescale.ingest import Ingest
from neo_polystore.stores.timescale.metrics import MetricPoints, place_of

FOLDER = "timescale"

_MODE = """
SELECT c.relkind = 'p' AS partitioned,
    (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS extension,
    (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid) AS parts
FROM pg_class c WHERE c.oid = to_regclass('metrics')
"""


class TimescaleStore:
    """Which of the two modes a database is in was decided when its tables were made.

    With the extension `timescaledb` in the database then, `metrics` is a hypertable; without it,
    a table partitioned by day. Names, columns and every statement of this engine are the same.
    """

    name: ClassVar[str] = "timescale"
    serves: ClassVar[frozenset[str]] = frozenset({"metrics"})
    features: ClassVar[frozenset[str]] = frozenset({"range", "bulk-copy"})

    def __init__(self, config: PgConfig):
        self.config = config
        self.database = Database(config, store=self.name)
        self._ingest = Ingest(self.database)

    async def connect(self) -> None:
        """Open the pool."""
        await self.database.connect()

    async def close(self) -> None:
        """Close the pool."""
        await self.database.close()

    async def health(self) -> Health:
        """Version and latency, and the mode: `timescaledb` or `plain`."""
        return await probe(self.database, _mode)

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Run the files of `timescale/` as the owner."""
        return await migrate_scripts(self.config, folder=FOLDER, store=self.name, dry_run=dry_run)

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
        """Remove all points and the names of their services."""
        return await clear(
            self.config, store=self.name, tables=("services", "metrics"), dry_run=dry_run
        )

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
                        "SELECT count(*) FROM metrics JOIN"
                        " unnest($1::uuid[], $2::timestamptz[]) AS key (series_id, time)"
                        " USING (series_id, time) WHERE time BETWEEN $3 AND $4",
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
        return {"metrics": MetricPoints}[data_type](self.database, self._ingest)


async def _mode(connection: Connection, health: Health) -> Health:
    row = await connection.fetchrow(_MODE)
    if row is None:
        return with_facts(health, "no schema yet: run `neo-polystore db migrate`")
    if not row["partitioned"]:
        return with_facts(
            health, f"TimescaleDB {row['extension']}", mode="timescaledb", chunks=row["parts"]
        )
    detail = "plain PostgreSQL, partitioned by day"
    if row["extension"]:
        detail += " (TimescaleDB was added after the tables were made)"
    return with_facts(health, detail, mode="plain", partitions=row["parts"])


_: type[Store] = TimescaleStore
