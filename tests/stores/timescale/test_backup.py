"""A database with hypertables comes back: chunks, compressed ones, aggregates, policies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.addresses import client_programs
from neo_polystore.embedded import Membership
from neo_polystore.errors import ConfigError, UnsupportedError
from neo_polystore.pgkit.backing import PgBacking
from neo_polystore.pgkit.hypertables import CONTENT, DUMP
from neo_polystore.ports.backup import BackupScope
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.settings import Settings
from neo_polystore.stores.timescale.config import TimescaleConfig
from tests.stores.timescale.databases import make_metrics_database, opened

EVERYTHING = BackupScope()
JOBS = """
SELECT proc_name::text, schedule_interval, config - 'mat_hypertable_id' - 'hypertable_id'
FROM timescaledb_information.jobs WHERE job_id >= 1000 ORDER BY 1, 3
"""
COMPRESSED = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"


class Kept:
    """The streams of a snapshot, as a restore gets them."""

    def __init__(self) -> None:
        self.before: Mapping[str, Any] = {}
        self.positions: Mapping[str, Any] = {}
        self.content: dict[str, bytes] = {}

    @property
    def names(self) -> Sequence[str]:
        return list(self.content)

    def rows(self, name: str) -> int | None:
        return None

    async def read(self, name: str) -> AsyncIterator[bytes]:
        yield self.content[name]


async def kept(backing: PgBacking) -> Kept:
    found = Kept()
    async with backing.snapshot(EVERYTHING) as snapshot:
        for stream in snapshot.streams():
            pieces = [piece async for piece in snapshot.read(stream.name)]
            found.content[stream.name] = b"".join(pieces)
        found.positions = snapshot.positions
    return found


async def ask(config: TimescaleConfig, statement: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def points() -> list[MetricPoint]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        MetricPoint(time=start + timedelta(hours=n), service="s", name=f"m{n % 3}", value=n / 7)
        for n in range(24 * 20)
    ]


@pytest_asyncio.fixture
async def filled(embedded: Membership, settings: Settings) -> TimescaleConfig:
    """Twenty days of points, rolled up, and some chunks of them compressed."""
    config = await make_metrics_database(embedded, "timescale")
    config = config.model_copy(update={"programs": client_programs(settings)})
    async with opened(config) as store:
        await store.port("metrics").write(points())
        await store.metric_upkeep.refresh()
    await ask(config, "SELECT compress_chunk(c) FROM show_chunks('metrics') AS c LIMIT 5")
    return config


async def test_it_comes_back_as_it_was(filled: TimescaleConfig, embedded: Membership) -> None:
    saved = await kept(PgBacking(filled, store="timescale", phase="follows"))
    assert list(saved.content) == [DUMP, CONTENT]
    fresh = await make_metrics_database(embedded, "timescale")
    other = filled.model_copy(update={"database": fresh.database})
    backing = PgBacking(other, store="timescale", phase="follows")
    rows = await backing.restore(saved, EVERYTHING)
    assert rows["public.metrics"] == 24 * 20
    assert (await kept(backing)).content[CONTENT] == saved.content[CONTENT]
    for statement in (JOBS, COMPRESSED, "SELECT * FROM metrics_daily ORDER BY bucket, 2, 3"):
        assert await ask(other, statement) == await ask(filled, statement)
    async with opened(other) as store:  # which still takes points, and rolls them up
        later = MetricPoint(
            time=datetime(2026, 3, 1, tzinfo=UTC), service="s", name="m0", value=1.0
        )
        await store.port("metrics").write([later])
        await store.metric_upkeep.refresh()
    [(count,)] = await ask(
        other, "SELECT count(*) FROM metrics_hourly WHERE bucket >= '2026-03-01'"
    )
    assert count == 1
    assert "tables" in str(await backing.occupied(EVERYTHING))
    await backing.clear(EVERYTHING)
    assert await backing.occupied(EVERYTHING) is None
    await backing.restore(saved, EVERYTHING)
    assert (await kept(backing)).content[CONTENT] == saved.content[CONTENT]


async def test_without_an_administrator_nothing_is_touched(filled: TimescaleConfig) -> None:
    config = filled.model_copy(update={"admin": None})
    backing = PgBacking(config, store="timescale", phase="follows")
    saved = await kept(backing)
    for refused in (backing.check, backing.restore):
        with pytest.raises(ConfigError, match="NEO_ADMIN_URL"):
            await refused(saved, EVERYTHING)
    assert (await kept(backing)).content[CONTENT] == saved.content[CONTENT]


async def test_another_version_is_refused_before_anything_is_touched(
    filled: TimescaleConfig,
) -> None:
    backing = PgBacking(filled, store="timescale", phase="follows")
    saved = await kept(backing)
    saved.positions = {**saved.positions, "timescaledb": "0.1.0"}
    for refused in (backing.check, backing.restore):
        with pytest.raises(ConfigError, match=r"TimescaleDB 0\.1\.0"):
            await refused(saved, EVERYTHING)
    assert (await kept(backing)).content[CONTENT] == saved.content[CONTENT]


async def test_one_schema_of_it_is_refused(filled: TimescaleConfig) -> None:
    backing = PgBacking(filled, store="timescale", phase="follows")
    with pytest.raises(UnsupportedError, match="all schemas"):
        async with backing.snapshot(BackupScope("public")):
            pass
