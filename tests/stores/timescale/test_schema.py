"""The metrics engine's SQL files, roles, and its two modes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.assets import asset
from neo_polystore.embedded import Membership
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.query import Query
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.stores.timescale.databases import MODES, make_metrics_database, opened

START = datetime(2013, 10, 9, 16, 25, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=MODES)
async def store(
    request: pytest.FixtureRequest, embedded: Membership
) -> AsyncIterator[TimescaleStore]:
    async with opened(await make_metrics_database(embedded, request.param)) as store:
        yield store


def points(service: str, days: int) -> list[MetricPoint]:
    return [
        MetricPoint(time=START + timedelta(days=n), service=service, name="cpu", value=n)
        for n in range(days)
    ]


async def test_columns_are_those_of_the_specification_and_the_series(
    store: TimescaleStore,
) -> None:
    async with store.database.acquire("test") as connection:
        rows = await connection.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'metrics'::regclass AND attnum > 0 ORDER BY attnum"
        )
    assert [tuple(row) for row in rows] == [
        ("time", "timestamp with time zone"),
        ("service_id", "uuid"),
        ("metric_name", "character varying(255)"),
        ("value", "double precision"),
        ("tags", "jsonb"),
        ("unit", "character varying(50)"),
        ("series_id", "uuid"),
    ]


async def test_health_names_the_mode(store: TimescaleStore) -> None:
    async with store.database.acquire("test") as connection:
        extension = await connection.fetchval(
            "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
        )
    health = await store.health()
    assert health.status == "healthy"
    assert health.facts["mode"] == ("timescaledb" if extension else "plain")


async def test_chunks_are_one_day_long(store: TimescaleStore) -> None:
    if (await store.health()).facts["mode"] != "timescaledb":
        pytest.skip("only a hypertable has chunks")
    async with store.database.acquire("test") as connection:
        interval = await connection.fetchval(
            "SELECT time_interval FROM timescaledb_information.dimensions"
            " WHERE hypertable_name = 'metrics'"
        )
    assert interval == timedelta(days=1)


async def test_a_day_of_points_is_a_part_of_its_own(store: TimescaleStore) -> None:
    async with store.database.acquire("test") as connection:
        parts = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'metrics'::regclass"
        before = await connection.fetchval(parts)
        await store.port("metrics").write(points("days", 5))
        assert await connection.fetchval(parts) == before + 5


async def test_plain_days_have_a_brin_index_on_time(store: TimescaleStore) -> None:
    await store.port("metrics").write(points("brin", 2))
    async with store.database.acquire("test") as connection:
        rows = await connection.fetch(
            "SELECT i.indrelid::regclass::text FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
            " WHERE a.amname = 'brin'"
        )
    found = {row[0] for row in rows}
    if (await store.health()).facts["mode"] == "plain":
        assert {"metrics", "metrics_p20131009", "metrics_p20131010"} <= found
    else:
        assert not found


async def test_concurrent_batches_make_the_same_days_once(store: TimescaleStore) -> None:
    port = store.port("metrics")
    start = [
        point.model_copy(update={"time": point.time.replace(year=2019)})
        for point in points("together", 20)
    ]
    counts = await asyncio.gather(
        *(
            port.write([p.model_copy(update={"service": f"together-{n}"}) for p in start])
            for n in range(6)
        )
    )
    assert sum(written.new for written in counts) == 120


async def test_a_day_that_was_dropped_is_made_again(store: TimescaleStore) -> None:
    port = store.port("metrics")
    late = points("dropped", 1)
    await port.write(late)
    owner = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    if (await store.health()).facts["mode"] == "plain":
        await owner.execute("DROP TABLE metrics_p20131009")
    else:
        await owner.execute("SELECT drop_chunks('metrics', '2013-10-10 00:00+00'::timestamptz)")
    await owner.close()
    assert (await port.write(late)).new == 1


@pytest.mark.parametrize("packed", [False, True], ids=["as written", "packed"])
async def test_points_are_seen_under_the_name_of_monitoring_too(
    store: TimescaleStore, packed: bool
) -> None:
    written = points(f"monitored-{packed}", 3)
    await store.port("metrics").write(written)
    if packed:
        await store.metric_upkeep.compress()
    async with store.database.pool.acquire() as connection:
        rows = await connection.fetch(
            "SELECT service_name, metric_name, time, value FROM monitoring.metrics"
            " WHERE service_name = $1 ORDER BY time",
            written[0].service,
        )
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute("DELETE FROM monitoring.metrics")
    assert [tuple(row) for row in rows] == [(p.service, p.name, p.time, p.value) for p in written]


async def test_every_file_can_be_run_twice(store: TimescaleStore) -> None:
    await store.port("metrics").write(points("twice", 2))
    before = await store.port("metrics").count(Query())
    owner = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    for path in sorted(asset("timescale").glob("*.sql")):
        await owner.execute(path.read_text())
    await owner.close()
    assert await store.port("metrics").count(Query()) == before


async def test_migrating_again_does_nothing(store: TimescaleStore) -> None:
    report = await store.migrate()
    assert (report.applied, report.pending, report.problems) == ([], [], [])
    assert report.current == max(path.stem for path in asset("timescale").glob("*.sql"))


async def test_a_dry_run_names_what_is_pending(embedded: Membership) -> None:
    store = TimescaleStore(await make_metrics_database(embedded, "plain"))
    report = await store.migrate(dry_run=True)
    assert report.pending == sorted(path.stem for path in asset("timescale").glob("*.sql"))
    assert report.applied == []


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM metrics", "TRUNCATE metrics", "CREATE TABLE mine ()", "DROP TABLE metrics"],
)
async def test_the_application_may_not(store: TimescaleStore, statement: str) -> None:
    async with store.database.pool.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_the_witness_finds_what_is_stored_and_nothing_else(store: TimescaleStore) -> None:
    stored, missing = points("seen", 3), points("unseen", 1)
    await store.port("metrics").write(stored)
    assert await store.witness("metrics", [p.key for p in (*stored, *missing)]) == 3
    assert await store.witness("metrics", []) == 0
