"""`timeseries`, cold: what a past day of 2,000,000 points takes when it is compressed.

Without the extension packed into segments, against TimescaleDB's columnstore, where
NEO_BENCH_TIMESCALE_BIN names the bin folder of a PostgreSQL that has it, else against the rows that
they were. And a query of all of these points, in steps that no rollup answers.
NEO_BENCH_POINTS makes it smaller.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.platform import embedded_platform
from benchmarks.runner import Report, Side
from benchmarks.timeseries_query import SERVICE, fill
from neo_polystore import Polystore
from neo_polystore.records.metric_query import MetricQuery

POINTS = int(os.environ.get("NEO_BENCH_POINTS", "2000000"))
DAYS_AGO = 10
STEP = timedelta(minutes=10)

_ROWS = """
SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits
WHERE inhparent = 'metrics'::regclass
"""
# hypertable_compression_stats tells what the first pass over a chunk wrote, which was half of it
_COLUMNSTORE = """
SELECT sum(pg_total_relation_size(c.oid))::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = '_timescaledb_internal' AND c.relkind = 'r'
    AND c.relname ~ '^(_hyper_.*_compressed|compress_hyper_.*)$'
"""
_SEGMENTS = "SELECT pg_total_relation_size('metrics_segments')"


async def measure(report: Report) -> None:
    """Add bytes and a query to the report."""
    folder = os.environ.get("NEO_BENCH_TIMESCALE_BIN")
    async with embedded_platform(("metrics",), neo_cache=False) as plain:
        query = await _loaded(plain)
        rows = await _bytes(plain, _ROWS)
        started = time.perf_counter()
        await _compressed(plain)
        report.figures["pack_points_per_second"] = POINTS / (time.perf_counter() - started)
        packed = await _bytes(plain, _SEGMENTS)
        if folder is None:
            _record(report, packed, rows, "the same points as rows with their indexes")
            return
        async with embedded_platform(
            ("metrics",), neo_cache=False, neo_embedded_pg_bin=Path(folder)
        ) as extended:
            await _loaded(extended)
            await _compressed(extended)
            report.figures["cold_rows_bytes"] = rows
            _record(report, packed, await _bytes(extended, _COLUMNSTORE), "TimescaleDB columnstore")
            await report.compare(
                "cold_query",
                ours=_asked(plain, query),
                reference=_asked(extended, query),
                reference_is="the same query of TimescaleDB's columnstore",
                unit="ms",
                lower_is_better=True,
            )


def _record(report: Report, ours: float, reference: float, reference_is: str) -> None:
    report.record(
        "cold_bytes",
        [ours],
        [reference],
        reference_is=reference_is,
        unit="bytes",
        lower_is_better=True,
    )


async def _loaded(polystore: Polystore) -> MetricQuery:
    since = await fill(polystore, POINTS, days_ago=DAYS_AGO)
    return MetricQuery(service=SERVICE, since=since, until=since + timedelta(days=1), step=STEP)


async def _compressed(polystore: Polystore) -> None:
    store: Any = polystore.stores["timescale"]
    await store.metric_upkeep.compress()


async def _bytes(polystore: Polystore, sql: str) -> float:
    store: Any = polystore.stores["timescale"]
    owner = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    try:
        return float(await owner.fetchval(sql))
    finally:
        await owner.close()


def _asked(polystore: Polystore, query: MetricQuery) -> Side:
    async def side() -> float:
        started = time.perf_counter()
        answer = await polystore.metrics.query(query)
        elapsed = 1000 * (time.perf_counter() - started)
        if answer.source != "raw" or not answer.lines:
            raise RuntimeError(f"answered from {answer.source}")
        return elapsed

    return side
