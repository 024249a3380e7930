"""Metric queries over HTTP against the same aggregate over raw rows, on the bare driver."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import httpx
import numpy as np

from benchmarks.platform import embedded_platform
from benchmarks.runner import Report, Side
from neo_polystore import Polystore
from neo_polystore.api.app import create_app
from neo_polystore.records.metric_columns import MetricColumns, Series
from neo_polystore.records.metrics import service_id
from neo_polystore.settings import Settings

POINTS: Final = 2_000_000
NAMES: Final = 10
HOSTS: Final = 50
SERVICE: Final = "bench"
HOURS: Final = 24
RUNS: Final = 7

_RAW = """
SELECT {line}, date_bin('1 hour', time, 'epoch') AS start, avg(value), min(value), max(value)
FROM metrics WHERE service_id = $1 AND time >= $2 AND time < $3 GROUP BY {line}, start
"""


async def hourly_query(report: Report, *, points: int = POINTS, runs: int = RUNS) -> None:
    """24 hours of hourly values of all series: per name and per series, uncached and cached."""
    async with embedded_platform({"metrics"}) as polystore:
        since = await fill(polystore, points)
        until = since + timedelta(hours=HOURS)
        async with clients(polystore) as (connection, api, uncached):
            for what, group, line in (
                ("hourly_query", "name", "metric_name"),
                ("hourly_query_series", "series", "series_id"),
            ):
                parameters: dict[str, Any] = {
                    "service": SERVICE,
                    "since": since.isoformat(),
                    "until": until.isoformat(),
                    "step": "1h",
                    "aggregate": ["avg", "min", "max"],
                    "group": group,
                }
                raw = _raw(connection, _RAW.format(line=line), since, until)
                for name, client in ((what, uncached), (f"{what}_cached", api)):
                    await report.compare(
                        name,
                        ours=_asked(client, parameters, buckets=_buckets(group)),
                        reference=raw,
                        reference_is="the same aggregate over raw rows, bare asyncpg",
                        unit="ms",
                        lower_is_better=True,
                        runs=runs,
                    )


async def fill(polystore: Polystore, points: int, *, days_ago: int = 2) -> datetime:
    """Points of one past day, evenly over all series, taken into the rollups; its beginning."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=days_ago)
    series = [
        Series(SERVICE, f"metric_{name}", {"host": f"host-{host}"})
        for name in range(NAMES)
        for host in range(HOSTS)
    ]
    numbers = np.arange(points) % len(series)
    rounds = np.arange(points) // len(series)
    gap = HOURS * 3_600_000_000 // (points // len(series))
    times = int(since.timestamp()) * 1_000_000 + rounds * gap
    values = np.random.default_rng(7).normal(50, 10, points)
    for start in range(0, points, 100_000):
        part = slice(start, start + 100_000)
        columns = MetricColumns.of(
            series, numbers=numbers[part], times=times[part], values=values[part]
        )
        written = await polystore.metrics.write_columns(columns)
        if written.new != len(columns):
            raise RuntimeError(f"{written} of {len(columns)} points")
    store: Any = polystore.stores["timescale"]
    await store.metric_upkeep.refresh()
    owner = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    await owner.execute("VACUUM ANALYZE", timeout=600)
    await owner.close()
    return since


@asynccontextmanager
async def clients(
    polystore: Polystore,
) -> AsyncIterator[tuple[Any, httpx.AsyncClient, httpx.AsyncClient]]:
    """The bare driver, the API as it is served, and the API over the store without the cache."""
    store: Any = polystore.stores["timescale"]
    connection = await asyncpg.connect(**store.config.connect_arguments())
    ports = {"metrics": store.port("metrics")}
    bare = Polystore(routing=polystore.routing, stores=polystore.stores, ports=ports)
    async with _client(polystore) as api, _client(bare) as uncached:
        yield connection, api, uncached
    await connection.close()


@asynccontextmanager
async def _client(polystore: Polystore) -> AsyncIterator[httpx.AsyncClient]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Polystore]:
        yield polystore

    app = create_app(Settings(_env_file=None), opened=opened())  # type: ignore[call-arg]
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client,
    ):
        yield client


def _buckets(group: str) -> int:
    return HOURS * NAMES * (HOSTS if group == "series" else 1)


def _asked(client: httpx.AsyncClient, parameters: dict[str, Any], *, buckets: int) -> Side:
    async def side() -> float:
        started = time.perf_counter()
        response = await client.get("/api/metrics/query", params=parameters)
        elapsed = 1000 * (time.perf_counter() - started)
        body = response.json()
        found = sum(len(line["times"]) for line in body["series"])
        if (body["source"], found) != ("hourly", buckets):
            raise RuntimeError(f"{found} buckets from {body['source']}, expected {buckets}")
        return elapsed

    return side


def _raw(connection: Any, sql: str, since: datetime, until: datetime) -> Side:
    async def side() -> float:
        started = time.perf_counter()
        await connection.fetch(sql, service_id(SERVICE), since, until)
        return 1000 * (time.perf_counter() - started)

    return side
