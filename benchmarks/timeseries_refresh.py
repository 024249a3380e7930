"""`timeseries`, refresh: late points in one hour of 2,000,000 reach hourly and daily values.

Without the extension against TimescaleDB's own incremental refresh, where NEO_BENCH_TIMESCALE_BIN
names the bin folder of a PostgreSQL that has it, else against what one would write by hand:
aggregating that hour and its day into tables. With the extension, what our call costs beside its
own procedures. A point to be refreshed is written before each run and not measured.
NEO_BENCH_POINTS makes it smaller.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import cast

import asyncpg
import numpy as np

from benchmarks.platform import embedded_platform
from benchmarks.runner import Report, Side
from neo_polystore import Polystore
from neo_polystore.records.metric_columns import MetricColumns, Series
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.stores.timescale.store import TimescaleStore

POINTS = int(os.environ.get("NEO_BENCH_POINTS", "2000000"))
SERIES = 100
STEP = timedelta(minutes=1)
RUNS = 15

_BY_HAND = """
INSERT INTO {target} AS r (bucket, series_id, service_id, metric_name, low, high, total, points)
SELECT {bucket}, series_id, service_id, metric_name, {figures}
FROM {source} WHERE {time} >= $1 AND {time} < $2 GROUP BY 1, 2, 3, 4
ON CONFLICT (series_id, bucket) DO UPDATE
SET low = excluded.low, high = excluded.high, total = excluded.total, points = excluded.points
"""
_HOUR = _BY_HAND.format(
    target="hand_hours",
    bucket="date_bin('1 hour', time, 'epoch')",
    figures="min(value), max(value), sum(value), count(*)",
    source="metrics",
    time="time",
)
_DAY = _BY_HAND.format(
    target="hand_days",
    bucket="date_bin('1 day', bucket, 'epoch')",
    figures="min(low), max(high), sum(total), sum(points)",
    source="hand_hours",
    time="bucket",
)
_TABLE = """
CREATE TABLE {} (bucket timestamptz, series_id uuid, service_id uuid, metric_name text, low float8,
    high float8, total float8, points bigint, PRIMARY KEY (series_id, bucket))
"""


async def measure(report: Report) -> None:
    """Add the comparisons of refreshing to the report."""
    folder = os.environ.get("NEO_BENCH_TIMESCALE_BIN")
    async with embedded_platform(("metrics",), neo_metrics_raw="indefinite") as plain:
        late = await _loaded(plain)
        ours = _ours(plain, late)
        if folder is None:
            owner = await _owner(plain)
            try:
                await report.compare(
                    "refresh",
                    ours=ours,
                    reference=await _by_hand(plain, owner, late),
                    reference_is="the hour and its day aggregated by hand into tables",
                    unit="ms",
                    lower_is_better=True,
                    runs=RUNS,
                )
            finally:
                await owner.close()
            return
        async with embedded_platform(
            ("metrics",), neo_metrics_raw="indefinite", neo_embedded_pg_bin=Path(folder)
        ) as extended:
            late_there = await _loaded(extended)
            owner = await _owner(extended)
            try:
                version = await owner.fetchval(
                    "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
                )
                procedures = _procedures(extended, owner, late_there)
                await report.compare(
                    "refresh",
                    ours=ours,
                    reference=procedures,
                    reference_is=f"TimescaleDB {version}, its own refresh of hours and days",
                    unit="ms",
                    lower_is_better=True,
                    runs=RUNS,
                )
                await report.compare(
                    "refresh_extension",
                    ours=_ours(extended, late_there),
                    reference=procedures,
                    reference_is=f"TimescaleDB {version}, its own refresh of hours and days",
                    unit="ms",
                    lower_is_better=True,
                    runs=RUNS,
                )
            finally:
                await owner.close()


class _Late:
    """Writes points into one hour in the middle, each at a time that was never used."""

    def __init__(self, polystore: Polystore, hour: datetime):
        self._polystore = polystore
        self.hour = hour
        self._numbers = count(1)

    async def write(self) -> None:
        time_of = self.hour + timedelta(milliseconds=next(self._numbers))
        point = MetricPoint(time=time_of, service="bench", name="cpu", value=1.5, tags={"n": "0"})
        written = await self._polystore.metrics.write([point])
        if written.new != 1:
            raise RuntimeError("the late point was there already")


def _store(polystore: Polystore) -> TimescaleStore:
    return cast(TimescaleStore, polystore.stores["timescale"])


async def _owner(polystore: Polystore) -> asyncpg.Connection[asyncpg.Record]:
    arguments = _store(polystore).config.connect_arguments(as_owner=True)
    return await asyncpg.connect(**arguments)


async def _loaded(polystore: Polystore) -> _Late:
    """Load the points, up to two days ago, and bring rollups up to date."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    times = POINTS // SERIES
    start = today - timedelta(days=2) - times * STEP
    first = int(start.timestamp()) * 1_000_000
    step = int(STEP.total_seconds()) * 1_000_000
    values = np.random.default_rng(7)
    for part in np.array_split(np.arange(times, dtype=np.int64), max(1, POINTS // 200_000)):
        columns = MetricColumns(
            series=[Series("bench", "cpu", {"n": str(n)}) for n in range(SERIES)],
            numbers=np.tile(np.arange(SERIES, dtype=np.int64), len(part)),
            times=np.repeat(first + step * part, SERIES),
            values=values.random(len(part) * SERIES),
        )
        await polystore.metrics.write_columns(columns)
    await _store(polystore).metric_upkeep.refresh()
    middle = start + (times // 2) * STEP
    return _Late(polystore, middle.replace(minute=0, second=0, microsecond=0))


def _ours(polystore: Polystore, late: _Late) -> Side:
    async def run() -> float:
        await late.write()
        started = time.perf_counter()
        await _store(polystore).metric_upkeep.refresh()
        return (time.perf_counter() - started) * 1000

    return run


def _procedures(
    polystore: Polystore, owner: asyncpg.Connection[asyncpg.Record], late: _Late
) -> Side:
    async def run() -> float:
        await late.write()
        now = datetime.now(UTC)
        started = time.perf_counter()
        for view, width in (("metrics_hourly", 3600), ("metrics_daily", 86400)):
            until = datetime.fromtimestamp(now.timestamp() // width * width, UTC)
            await owner.execute(
                f"CALL refresh_continuous_aggregate('{view}', NULL, $1::timestamptz)", until
            )
        return (time.perf_counter() - started) * 1000

    return run


async def _by_hand(
    polystore: Polystore, owner: asyncpg.Connection[asyncpg.Record], late: _Late
) -> Side:
    for table in ("hand_hours", "hand_days"):
        await owner.execute(_TABLE.format(table))
    day = late.hour.replace(hour=0)
    await owner.execute(_HOUR, day, day + timedelta(days=1))

    async def run() -> float:
        await late.write()
        started = time.perf_counter()
        async with owner.transaction():
            await owner.execute(_HOUR, late.hour, late.hour + timedelta(hours=1))
            await owner.execute(_DAY, day, day + timedelta(days=1))
        return (time.perf_counter() - started) * 1000

    return run
