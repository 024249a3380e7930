"""Metrics in: bulk, 500 callers with a point each, and remote write over HTTP, against asyncpg."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import cramjam
import httpx
import numpy as np
import orjson

from benchmarks.platform import embedded_platform
from benchmarks.relational_bench import timed
from benchmarks.runner import Report, Side
from neo_polystore import Polystore, Settings, open_polystore
from neo_polystore.protocols.remote_write_messages import Label, Sample, TimeSeries, WriteRequest
from neo_polystore.records.metric_columns import EPOCH, MetricColumns, Series
from neo_polystore.records.metrics import MetricPoint, series_id, service_id

POINTS: Final = 1_000_000
SERIES: Final = 1_000
CALLERS: Final = 500
RUNS: Final = 5
SERVICE: Final = "bench"
SECOND: Final = 1_000_000
REQUEST: Final = 10_000
"""Samples of one remote write request."""

_COLUMNS: Final = (
    "time",
    "service_id",
    "metric_name",
    "value",
    "tags",
    "unit",
    "series_id",
)
_INSERT: Final = f"""
INSERT INTO metrics ({", ".join(_COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (series_id, time) DO NOTHING
"""

Row = tuple[Any, ...]


async def measure(report: Report) -> None:
    """All three comparisons."""
    await ingest(report)
    await ingest_concurrent(report)
    await remote_write(report)


@dataclass
class Bench:
    """The facade, and the bare driver as the application and as the owner."""

    report: Report
    polystore: Polystore
    connection: Any
    owner: Any
    pool: Any

    async def empty(self) -> None:
        """Remove all points, and what the database noted of them."""
        await self.owner.execute("TRUNCATE metrics")
        if await self.owner.fetchval("SELECT to_regclass('metrics_touched')"):
            await self.owner.execute("TRUNCATE metrics_touched")


@asynccontextmanager
async def open_bench(report: Report, polystore: Polystore) -> AsyncIterator[Bench]:
    """Connections of the bare driver to the database of the metrics."""
    config: Any = polystore.stores["timescale"].config  # type: ignore[attr-defined]
    connection = await asyncpg.connect(**config.connect_arguments())
    owner = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    pool = await asyncpg.create_pool(**config.connect_arguments(), min_size=20, max_size=20)
    try:
        yield Bench(report, polystore, connection, owner, pool)
    finally:
        await pool.close()
        await owner.close()
        await connection.close()


def columns_of(points: int) -> MetricColumns:
    """As collectors send them: every ten seconds one point of each of `SERIES` series."""
    series = [
        Series(SERVICE, f"metric_{n % 20}", {"instance": f"10.0.0.{n}:9100", "zone": "eu-west-1"})
        for n in range(SERIES)
    ]
    places = np.arange(points)
    start = (int(time.time()) - 86_400) * SECOND
    return MetricColumns.of(
        series,
        numbers=places % SERIES,
        times=start + places // SERIES * 10 * SECOND,
        values=np.random.default_rng(4).normal(50, 10, points),
    )


def rows_of(columns: MetricColumns) -> list[Row]:
    """The same as rows, with nothing left to be computed."""
    service = service_id(SERVICE)
    known = [
        (one.name, orjson.dumps(one.tags).decode(), series_id(SERVICE, one.name, dict(one.tags)))
        for one in columns.series
    ]
    rows: list[Row] = []
    for number, at, value in zip(
        columns.numbers.tolist(), columns.times.tolist(), columns.values.tolist(), strict=True
    ):
        name, tags, series = known[number]
        rows.append((EPOCH + timedelta(microseconds=at), service, name, value, tags, None, series))
    return rows


def copying(bench: Bench, rows: Sequence[Row]) -> Side:
    """Raw COPY of the rows into the same table."""

    async def side() -> float:
        await bench.empty()
        started = time.perf_counter()
        await bench.connection.copy_records_to_table("metrics", records=rows, columns=_COLUMNS)
        return len(rows) / (time.perf_counter() - started)

    return side


async def ingest(report: Report, *, points: int = POINTS, runs: int = RUNS) -> None:
    """The facade's bulk ingest of columns against raw COPY of the same rows."""
    columns = columns_of(points)
    async with (
        embedded_platform({"metrics"}, neo_cache=False) as polystore,
        open_bench(report, polystore) as bench,
    ):

        async def ours() -> float:
            await bench.empty()
            started = time.perf_counter()
            written = await polystore.metrics.write_columns(columns)
            if written.new != points:
                raise RuntimeError(f"not stored: {written}")
            return points / (time.perf_counter() - started)

        mode = (await polystore.stores["timescale"].health()).facts["mode"]
        await report.compare(
            f"ingest_{mode}",
            ours=ours,
            reference=copying(bench, rows_of(columns)),
            reference_is="asyncpg copy_records_to_table",
            unit="points/s",
            runs=runs,
        )


async def ingest_concurrent(
    report: Report, *, points: int = 20_000, reference: int = 4_000, runs: int = RUNS
) -> None:
    """500 callers with one durable point each, against a pool of 20 with an INSERT per point."""
    async with (
        embedded_platform({"metrics"}, neo_cache=False) as polystore,
        open_bench(report, polystore) as bench,
    ):

        async def write(point: MetricPoint) -> None:
            written = await polystore.metrics.write([point])
            if written.new != 1:
                raise RuntimeError(f"not stored: {written}")

        async def insert(row: Row) -> None:
            async with bench.pool.acquire() as connection:
                await connection.execute(_INSERT, *row)

        records = [_record(row) for row in rows_of(columns_of(points))]
        rows = rows_of(columns_of(reference))

        async def ours() -> float:
            await bench.empty()
            return (await timed(write, records, callers=CALLERS)).rate

        async def single() -> float:
            await bench.empty()
            return (await timed(insert, rows, callers=CALLERS)).rate

        await report.compare(
            "ingest_concurrent",
            ours=ours,
            reference=single,
            reference_is="asyncpg pool of 20, one INSERT per point",
            unit="points/s",
            runs=runs,
        )


def _record(row: Row) -> MetricPoint:
    at, _, name, value, tags, _, _ = row
    return MetricPoint(time=at, service=SERVICE, name=name, value=value, tags=orjson.loads(tags))


async def remote_write(report: Report, *, points: int = 200_000, runs: int = RUNS) -> None:
    """Requests of 10,000 samples to `serve`, two at a time, against raw COPY of the same rows."""
    columns = columns_of(points)
    bodies = [_request(columns, start) for start in range(0, points, REQUEST)]
    with tempfile.TemporaryDirectory(prefix="neo-polystore-bench-") as folder:
        settings = Settings(_env_file=None, neo_data_dir=Path(folder), neo_cache=False)  # type: ignore[call-arg]
        async with (
            open_polystore(settings, data_types={"metrics"}) as polystore,
            open_bench(report, polystore) as bench,
            _served(Path(folder)) as client,
        ):

            async def ours() -> float:
                await bench.empty()
                left = iter(bodies)

                async def sender() -> None:
                    for body in left:
                        response = await client.post("/api/v1/write", content=body)
                        if response.status_code != 204:
                            raise RuntimeError(response.text)

                started = time.perf_counter()
                await asyncio.gather(sender(), sender())
                elapsed = time.perf_counter() - started
                stored = await bench.owner.fetchval("SELECT count(*) FROM metrics")
                if stored != points:
                    raise RuntimeError(f"{stored} of {points} samples are stored")
                return points / elapsed

            await report.compare(
                "remote_write",
                ours=ours,
                reference=copying(bench, rows_of(columns)),
                reference_is="asyncpg copy_records_to_table",
                unit="samples/s",
                runs=runs,
            )


def _request(columns: MetricColumns, start: int) -> bytes:
    """One scrape after the other, a series' message per sample, as Prometheus sends them."""
    messages = []
    for place in range(start, min(start + REQUEST, len(columns))):
        one = columns.series[int(columns.numbers[place])]
        labels = sorted({"__name__": one.name, "job": SERVICE, **one.tags}.items())
        sample = Sample(
            value=float(columns.values[place]), timestamp=int(columns.times[place]) // 1000
        )
        messages.append(
            TimeSeries(
                labels=[
                    Label(name=name.encode(), value=value.encode()).SerializeToString()
                    for name, value in labels
                ],
                samples=[sample.SerializeToString()],
            ).SerializeToString()
        )
    body: bytes = WriteRequest(timeseries=messages).SerializeToString()
    return bytes(cramjam.snappy.compress_raw(body))


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """`serve` in a process of its own over this data directory, and a client of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "NEO_DATA_DIR": str(folder), "NEO_CACHE": "false"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "neo_polystore", "serve", "--port", str(port), env=environment
    )
    headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120
        ) as client:
            await _answers(client, process)
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(client: httpx.AsyncClient, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.returncode is not None:
            raise RuntimeError(f"serve ended with {process.returncode}")
        try:
            await client.get("/health")
        except httpx.TransportError:
            await asyncio.sleep(0.1)
        else:
            return
    raise RuntimeError("serve does not answer")
