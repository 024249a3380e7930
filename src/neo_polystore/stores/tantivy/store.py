"""The tantivy engine: its lifecycle, health and the port `logs`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, ClassVar

from tantivy import Query

from neo_polystore.activity import Activity
from neo_polystore.errors import PolystoreError, UnavailableError
from neo_polystore.ports.retention import Ages
from neo_polystore.ports.store import (
    Cleared,
    Health,
    MigrationReport,
    Script,
    Store,
    Validation,
)
from neo_polystore.stores.tantivy.ages import TantivyAges
from neo_polystore.stores.tantivy.backing import TantivyBacking
from neo_polystore.stores.tantivy.config import TantivyConfig
from neo_polystore.stores.tantivy.days import Day, Days, count_matching
from neo_polystore.stores.tantivy.errors import STORE, translated
from neo_polystore.stores.tantivy.logs import TantivyLogs
from neo_polystore.stores.tantivy.writer import Writer

_NO_SCHEMA = "every day's index is made with its schema inside it"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class TantivyStore:
    """Full-text indexes in a directory that any number of processes may use at once.

    Nobody owns the engine: readers open the indexes freely, writers take turns.
    """

    name: ClassVar[str] = STORE
    serves: ClassVar[frozenset[str]] = frozenset({"logs"})
    features: ClassVar[frozenset[str]] = frozenset({"full-text"})

    def __init__(self, config: TantivyConfig, *, now: Callable[[], datetime] = _utc_now):
        self.config = config
        self._closed = False
        self._days = Days(config.directory)
        self._writer = Writer(config, self._days, now)
        self._logs = TantivyLogs(self._days, self._writer)

    async def connect(self) -> None:
        """Make the directory and open its indexes; UnavailableError where it cannot be used."""
        self._closed = False
        if not self._logs.is_open:
            await asyncio.to_thread(self._prepare)
            await self._logs.start()

    def _prepare(self) -> None:
        with translated("connect"):
            self.config.directory.mkdir(parents=True, exist_ok=True)
            if not os.access(self.config.directory, os.R_OK | os.W_OK | os.X_OK):
                raise UnavailableError(
                    f"no permission to read and write {self.config.directory}",
                    store=STORE,
                    operation="connect",
                )

    async def close(self) -> None:
        """Finish accepted writes and close the indexes."""
        self._closed = True
        await self._logs.stop()

    async def health(self) -> Health:
        """Open every day at its newest commit and count; connects where that has failed."""
        started = time.perf_counter()
        try:
            if not self._logs.is_open and not self._closed:
                await self.connect()
            facts = await asyncio.to_thread(self._probe)
        except PolystoreError as error:
            return Health("unhealthy", version("tantivy"), str(error))
        milliseconds = round((time.perf_counter() - started) * 1000, 3)
        detail = f"{facts['documents']} documents in {facts['days']} days"
        return Health("healthy", version("tantivy"), detail, milliseconds, facts)

    def _probe(self) -> dict[str, Any]:
        with translated("health"):
            days = self._days.load()
            searchers = [day.searcher for day in days]
            return {
                "days": len(days),
                "documents": sum(searcher.num_docs for searcher in searchers),
                "segments": sum(searcher.num_segments for searcher in searchers),
                "bytes": sum(_size(day) for day in days),
            }

    @property
    def backing(self) -> TantivyBacking:
        """How it is backed up."""
        return TantivyBacking(self.config)

    @property
    def activity(self) -> Activity:
        """What the indexes were asked, and the writes that were gathered."""
        return Activity(self._logs.recorder, gathered=self._logs.counts)

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Nothing to do: every index is made with its schema inside."""
        return MigrationReport(
            store=STORE,
            target="logs",
            current=None,
            not_applicable=_NO_SCHEMA,
        )

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Nothing to take back."""
        return await self.migrate(dry_run=True)

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """Nothing to write down."""
        return Script(cls.name, not_applicable=_NO_SCHEMA)

    async def validate(self) -> Validation:
        """Nothing to compare."""
        return Validation.of(await self.migrate(dry_run=True))

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Remove every day's index."""
        return Cleared(STORE, await asyncio.to_thread(self._clear, dry_run))

    def _clear(self, dry_run: bool) -> dict[str, int]:
        with translated("clear"):
            rows = {day.path.name: day.searcher.num_docs for day in self._days.load()}
            return rows if dry_run else self._writer.remove(rows)

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these ids tantivy finds in indexes opened anew."""
        if data_type not in self.serves or not keys:
            return 0
        return await asyncio.to_thread(self._testify, list(keys))

    def _testify(self, keys: list[str]) -> int:
        with translated("witness"):
            # other Days than ours: nothing that this process has open is asked
            days = Days(self.config.directory).load()
            return sum(
                count_matching(day.searcher, Query.term_set_query(day.index.schema, "id", keys))
                for day in days
            )

    def port(self, data_type: str) -> Any:
        """The port `logs`."""
        return {"logs": self._logs}[data_type]

    def ages(self, data_type: str) -> Ages | None:
        """The retention of `logs`."""
        return TantivyAges(self.config, self._days, self._writer, self._logs.recorder)


def _size(day: Day) -> int:
    total = 0
    with os.scandir(day.path) as entries:
        for entry in entries:
            try:
                total += entry.stat().st_size
            except FileNotFoundError:
                continue  # merged away at this moment
    return total


_: type[Store] = TantivyStore
