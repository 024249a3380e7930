"""The ClickHouse engine: its lifecycle, health and the port `analytics`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from neo_polystore.activity import Activity
from neo_polystore.errors import PolystoreError
from neo_polystore.ports.retention import Ages
from neo_polystore.ports.store import (
    Cleared,
    Health,
    MigrationReport,
    Script,
    Store,
    Validation,
)
from neo_polystore.stores.clickhouse.ages import ClickHouseAges
from neo_polystore.stores.clickhouse.analytics import ClickHouseAnalytics, ids_of, stored_ids
from neo_polystore.stores.clickhouse.backing import ClickHouseBacking
from neo_polystore.stores.clickhouse.client import Client, open_driver
from neo_polystore.stores.clickhouse.config import ClickHouseConfig
from neo_polystore.stores.clickhouse.errors import STORE, translated
from neo_polystore.stores.clickhouse.migrations import migrate, script_text

_PROBE = (
    "SELECT version(), sum(rows), sum(bytes_on_disk), count() FROM system.parts"
    " WHERE active AND database = {name:String} AND table = 'facts'"
)


class ClickHouseStore:
    """A ClickHouse server, or the embedded engine that speaks its HTTP interface."""

    name: ClassVar[str] = STORE
    serves: ClassVar[frozenset[str]] = frozenset({"analytics"})
    features: ClassVar[frozenset[str]] = frozenset({"aggregates"})

    def __init__(self, config: ClickHouseConfig):
        self.config = config
        self._client = Client(config)
        self._analytics = ClickHouseAnalytics(self._client)
        self._closed = False

    async def connect(self) -> None:
        """Connect to the database; ConfigError where it was never migrated."""
        self._closed = False
        if not self._client.is_open:
            await self._client.open()
            self._analytics.start()

    async def close(self) -> None:
        """Let running statements end and close."""
        self._closed = True
        await self._analytics.stop()
        await self._client.close()

    async def health(self) -> Health:
        """Ask for the version and for the size of the table; connects where that failed before."""
        started = time.perf_counter()
        try:
            if not self._client.is_open and not self._closed:
                await self.connect()
            [[version, rows, size, parts]] = await self._client.rows(
                "health", _PROBE, {"name": self.config.database}
            )
        except PolystoreError as error:
            return Health("unhealthy", detail=str(error))
        milliseconds = round((time.perf_counter() - started) * 1000, 3)
        return Health(
            "healthy",
            version,
            f"{rows} rows in {parts} parts",
            milliseconds,
            {"rows": rows, "bytes": size, "parts": parts},
        )

    @property
    def backing(self) -> ClickHouseBacking:
        """How it is backed up."""
        return ClickHouseBacking(self.config)

    @property
    def activity(self) -> Activity:
        """What the server was asked, and the inserts that were gathered."""
        return Activity(self._client.recorder, gathered=self._analytics.counts)

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Make database and tables where they are missing; needs no open connection."""

        def run() -> MigrationReport:
            with translated("migrate"):
                return migrate(self.config, dry_run=dry_run)

        return await asyncio.to_thread(run)

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Not offered."""
        reason = "the files of schemas/clickhouse only go forward"
        return MigrationReport(self.name, self.config.database, None, not_applicable=reason)

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """The files as a script for clickhouse-client."""
        return Script(cls.name, script_text(after=after))

    async def validate(self) -> Validation:
        """Every file applied, and as it was then."""
        return Validation.of(await self.migrate(dry_run=True))

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Remove all facts."""
        [[rows]] = await self._client.rows("clear", "SELECT count() FROM facts", {})
        if not dry_run:
            await self._client.run("clear", lambda driver: driver.command("TRUNCATE TABLE facts"))
        return Cleared(self.name, {"facts": rows})

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these ids a connection of its own finds in the table."""
        ids = ids_of(keys)
        if data_type not in self.serves or not ids:
            return 0

        def ask() -> int:
            with translated("witness"):
                driver = open_driver(self.config, database=self.config.database)
                try:
                    return len(stored_ids(driver, ids))
                finally:
                    driver.close()

        return await asyncio.to_thread(ask)

    def port(self, data_type: str) -> Any:
        """The port `analytics`."""
        return {"analytics": self._analytics}[data_type]

    def ages(self, data_type: str) -> Ages | None:
        """The retention of `analytics`."""
        return ClickHouseAges(self._client)


_: type[Store] = ClickHouseStore
