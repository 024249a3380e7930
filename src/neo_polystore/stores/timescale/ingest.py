"""The way in: small batches in one round trip, large ones by binary COPY, both counted exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Final
from uuid import UUID

import asyncpg

from neo_polystore.errors import PolystoreError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.pgkit.errors import SerializationError
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.results import Written
from neo_polystore.stores.timescale.batch import ROW_COLUMNS, Batch, batch_of

BULK: Final = 1000
"""From this many rows on, COPY into a staging table is faster than arrays as parameters."""

_DAYS_AT_ONCE: Final = 50  # each new partition holds some locks until its transaction ends
_ATTEMPTS: Final = 4

_STAGE = """
CREATE TEMPORARY TABLE IF NOT EXISTS metrics_stage (
    series integer, time timestamptz, value float8, unit text
) ON COMMIT DELETE ROWS
"""

_SERIES = """
WITH series AS MATERIALIZED (
    SELECT series_id, service_id, metric_name, tags::jsonb AS tags, number::integer AS number
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY
        AS s (series_id, service_id, metric_name, tags, number)
)
"""

_INSERT = f"""
{_SERIES}
INSERT INTO metrics (time, service_id, metric_name, value, tags, unit, series_id)
SELECT i.time, s.service_id, s.metric_name, i.value, s.tags, i.unit, s.series_id
FROM pg_temp.metrics_stage i JOIN series s ON s.number = i.series
ORDER BY s.series_id, i.time
ON CONFLICT (series_id, time) DO NOTHING
"""

_REPLACE = f"""
{_SERIES}
INSERT INTO metrics AS m (time, service_id, metric_name, value, tags, unit, series_id)
SELECT i.time, s.service_id, s.metric_name, i.value, s.tags, i.unit, s.series_id
FROM pg_temp.metrics_stage i JOIN series s ON s.number = i.series
JOIN metrics stored ON stored.series_id = s.series_id AND stored.time = i.time
WHERE (stored.value, stored.unit) IS DISTINCT FROM (i.value, i.unit)
    AND stored.time BETWEEN $5 AND $6
ORDER BY s.series_id, i.time
ON CONFLICT (series_id, time) DO UPDATE SET value = excluded.value, unit = excluded.unit
WHERE (m.value, m.unit) IS DISTINCT FROM (excluded.value, excluded.unit)
"""

_FEW = "SELECT added, replaced + overridden FROM write_metrics($1, $2, $3, $4, $5, $6, $7, $8, $9)"


class Ingest:
    """Writes batches; remembers which services and days the database has already."""

    def __init__(self, database: Database):
        self._database = database
        self._services: set[UUID] = set()
        self._days: set[date] = set()

    async def write(self, points: Sequence[MetricPoint]) -> Written:
        """Store the last value of every series and time, all in one transaction."""
        batch = batch_of(points)
        added = replaced = 0
        if batch.single or batch.last:
            added, replaced = await self._store(batch)
        good = len(points) - len(batch.rejected)
        return Written(
            new=added, replaced=replaced, existing=good - added - replaced, rejected=batch.rejected
        )

    async def _store(self, batch: Batch) -> tuple[int, int]:
        for attempt in range(_ATTEMPTS):
            try:
                return await self._attempt(batch)
            except (SerializationError, _PartitionGoneError):
                # a deadlock with another batch, or retention dropped a day that we remembered
                self._days.clear()
                if attempt + 1 == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def _attempt(self, batch: Batch) -> tuple[int, int]:
        await self._prepare(batch)
        store = _store_many if len(batch.single) >= BULK else _store_few
        async with self._database.acquire("metrics.write") as connection:
            try:
                return await store(connection, batch)
            except asyncpg.CheckViolationError as error:
                raise _PartitionGoneError(
                    str(error), store=self._database.store, operation="metrics.write"
                ) from error

    async def _prepare(self, batch: Batch) -> None:
        """Have services and partitions in place, each committed before the batch begins.

        So a long batch never keeps another writer from making a partition.
        """
        services = {key: name for key, name in batch.services.items() if key not in self._services}
        days = iter(sorted({time.date() for time in batch.times()} - self._days))
        if services:
            async with self._database.acquire("metrics.services") as connection:
                await connection.execute(
                    "INSERT INTO services (service_id, name)"
                    " SELECT * FROM unnest($1::uuid[], $2::text[]) ORDER BY 1"
                    " ON CONFLICT (service_id) DO NOTHING",
                    list(services),
                    list(services.values()),
                )
            self._services.update(services)
        for some in _chunks(days):
            async with self._database.acquire("metrics.days") as connection:
                # as text, because the driver takes the last day there is for infinity
                text = [day.isoformat() for day in some]
                await connection.execute("SELECT make_metric_days($1::text[]::date[])", text)
            self._days.update(some)


class _PartitionGoneError(PolystoreError):
    """A row found no partition."""


def _chunks(days: Iterator[date]) -> Iterator[list[date]]:
    while some := list(islice(days, _DAYS_AT_ONCE)):
        yield some


async def _store_few(connection: Connection, batch: Batch) -> tuple[int, int]:
    """New and replaced, in one call."""
    rows = [(*row, 0) for row in batch.single] + [(*row, earlier) for row, earlier in batch.last]
    columns = [list(column) for column in zip(*rows, strict=True)]
    [(added, replaced)] = await connection.fetch(_FEW, *_series_columns(batch), *columns)
    return added, replaced


async def _store_many(connection: Connection, batch: Batch) -> tuple[int, int]:
    """New and replaced; what came several times in the batch goes the way of few."""
    rows, series = batch.single, _series_columns(batch)
    async with connection.transaction():
        added = replaced = 0
        if batch.last:
            added, replaced = await _store_few(connection, dataclasses.replace(batch, single=[]))
        await connection.execute(_STAGE)
        await connection.copy_records_to_table("metrics_stage", records=rows, columns=ROW_COLUMNS)
        inserted = _count(await connection.execute(_INSERT, *series))
        if inserted < len(rows):
            times = batch.times()
            status = await connection.execute(_REPLACE, *series, min(times), max(times))
            replaced += _count(status)
        return added + inserted, replaced


def _series_columns(batch: Batch) -> list[list[object]]:
    return [list(column) for column in zip(*batch.series, strict=True)]


def _count(status: str) -> int:
    """The number of rows in a command's status, such as `INSERT 0 17`."""
    return int(status.rpartition(" ")[2])
