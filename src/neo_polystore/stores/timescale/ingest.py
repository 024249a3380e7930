"""The way in: few points gathered with others', many by binary COPY, all counted exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg

from neo_polystore.coalesce import Counts
from neo_polystore.pgkit.database import Database
from neo_polystore.records.metric_columns import MetricColumns
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.results import Written
from neo_polystore.stores.timescale.bulk import write_bulk, write_small
from neo_polystore.stores.timescale.gathered import FEW, Gathered
from neo_polystore.stores.timescale.places import Places
from neo_polystore.stores.timescale.prepared import Prepared, prepare
from neo_polystore.stores.timescale.rows import MOST

_IN_A_THREAD: Final = 20_000
"""From this many points on, sorting them would hold up the event loop."""


class Ingest:
    """Writes batches, each in one transaction."""

    def __init__(self, database: Database):
        self._database = database
        self._places = Places(database)
        self._gathered = Gathered(database, self._places)

    def open(self) -> None:
        """Take calls (again, after `close`)."""
        self._gathered.open()

    async def close(self) -> None:
        """Finish the calls that were taken."""
        await self._gathered.close()

    def forget(self) -> None:
        """All points were removed."""
        self._places.forget()

    @property
    def counts(self) -> Counts:
        """What was gathered since `open`."""
        return self._gathered.counts

    async def write(self, points: Sequence[MetricPoint]) -> Written:
        """Store the last value of every series and time."""
        if len(points) <= FEW:
            return await self._gathered.write(points) if points else Written()
        return await self.write_columns(MetricColumns.from_points(points))

    async def write_columns(self, columns: MetricColumns) -> Written:
        """Store the last value of every series and time."""
        if len(columns) < _IN_A_THREAD:
            prepared = prepare(columns)
        else:
            prepared = await asyncio.to_thread(prepare, columns)
        good = len(columns) - len(prepared.rejected)
        new = replaced = 0
        if good:

            async def attempt() -> tuple[int, int]:
                await self._places.have(prepared.used(), prepared.days())
                return await self._attempt(prepared)

            new, replaced = await self._places.with_days(lambda: self._database.retrying(attempt))
        return Written(new, good - new - replaced, replaced, prepared.rejected)

    async def _attempt(self, prepared: Prepared) -> tuple[int, int]:
        is_small = prepared.count() < MOST
        begin = self._database.acquire if is_small else self._database.transaction
        async with begin("metrics.write") as connection:
            try:
                return await (write_small if is_small else write_bulk)(connection, prepared)
            except asyncpg.CheckViolationError as error:
                raise self._places.gone(error) from error
