"""Refresh and retention without the extension: nothing touched is ever lost or waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.pgkit.database import Connection
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.stores.timescale.databases import make_metrics_database, opened

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = TODAY - timedelta(days=200)
REFRESH = "SELECT refreshed FROM refresh_metrics(now())"
INSERT = """
INSERT INTO metrics (time, service_id, metric_name, value, tags, series_id)
SELECT $1, service_id, metric_name, $2, tags, series_id FROM series LIMIT 1
"""


@pytest_asyncio.fixture(loop_scope="session")
async def store(embedded: Membership) -> AsyncIterator[TimescaleStore]:
    """A database of its own, with a hundred points in five hours, none of them refreshed."""
    async with opened(await make_metrics_database(embedded, "plain")) as store:
        await store.port("metrics").write(
            [
                MetricPoint(time=START + timedelta(minutes=3 * n), service="s", name="cpu", value=n)
                for n in range(100)
            ]
        )
        yield store


@asynccontextmanager
async def session(store: TimescaleStore, *, as_owner: bool = True) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(**store.config.connect_arguments(as_owner=as_owner))
    try:
        yield connection
    finally:
        if not connection.is_closed():
            await connection.close(timeout=5)


async def counts(connection: Connection) -> tuple[int, int, int]:
    """Points, and how many of them the materialised hours and days hold."""
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM metrics), (SELECT sum(count)::bigint FROM metrics_hours),"
        " (SELECT sum(count)::bigint FROM metrics_days)"
    )
    assert row is not None
    return tuple(row)


async def test_a_touch_that_is_committed_after_a_refresh_is_not_missed(
    store: TimescaleStore,
) -> None:
    async with session(store) as writer, session(store) as refresher:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute(INSERT, START + timedelta(seconds=1), 5.0)
        assert await refresher.fetchval(REFRESH) == 5
        assert await counts(refresher) == (100, 100, 100)
        await transaction.commit()
        assert await refresher.fetchval(REFRESH) == 1
        assert await counts(refresher) == (101, 101, 101)


async def test_writers_do_not_wait_for_a_refresh(store: TimescaleStore) -> None:
    async with session(store) as refresher, session(store) as reader:
        transaction = refresher.transaction()
        await transaction.start()
        await refresher.fetchval(REFRESH)
        late = MetricPoint(time=START + timedelta(seconds=1), service="s", name="cpu", value=1)
        async with asyncio.timeout(10):
            assert (await store.port("metrics").write([late])).new == 1
        await transaction.commit()
        assert await reader.fetchval(REFRESH) == 1
        assert await counts(reader) == (101, 101, 101)


async def test_a_refresh_that_is_killed_gives_back_what_it_took(store: TimescaleStore) -> None:
    async with session(store) as blocker, session(store) as refresher, session(store) as other:
        for table in ("metrics_hours", "metrics_days"):  # stops it in different places
            hold = blocker.transaction()
            await hold.start()
            await blocker.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            refreshing = asyncio.create_task(other.fetchval(REFRESH))
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $1"
            while not await blocker.fetchval(waits, other.get_server_pid()):
                await asyncio.sleep(0.01)
            await blocker.execute("SELECT pg_terminate_backend($1)", other.get_server_pid())
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await refreshing
            await hold.commit()
            assert await refresher.fetchval("SELECT count(*) FROM metrics_touched_hours") == 5
            other = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
        await other.close()
        assert await refresher.fetchval(REFRESH) == 5
        assert await counts(refresher) == (100, 100, 100)


async def test_hours_that_are_not_over_stay_in_the_log_once(store: TimescaleStore) -> None:
    port, now = store.port("metrics"), datetime.now(UTC)
    for n in range(5):
        await port.write([MetricPoint(time=now, service="s", name="cpu", value=n)])
    await store.metric_upkeep.refresh()
    async with session(store) as connection:
        rows = await connection.fetch("SELECT hour FROM metrics_touched")
    assert [row["hour"] for row in rows] == [now.replace(minute=0, second=0, microsecond=0)]


async def test_a_long_backfill_is_refreshed_in_portions(store: TimescaleStore) -> None:
    await store.port("metrics").write(
        [
            MetricPoint(time=START + timedelta(hours=n), service="s", name="cpu", value=n)
            for n in range(400)
        ]
    )
    async with session(store) as connection:
        assert await connection.fetchval(REFRESH) == 168
        assert (await store.metric_upkeep.refresh()).hours == 400 - 168
        points, hours, days = await counts(connection)
    assert points == hours == days


async def test_a_changed_time_touches_both_hours(store: TimescaleStore) -> None:
    async with session(store) as owner:
        await owner.fetchval(REFRESH)
        await owner.execute(
            "UPDATE metrics SET time = $1 WHERE time = $2", START + timedelta(hours=9), START
        )
        assert await owner.fetchval(REFRESH) == 2
        assert await counts(owner) == (100, 100, 100)


async def test_a_day_that_is_being_written_is_dropped_by_a_later_run(
    store: TimescaleStore,
) -> None:
    await TimescaleStore(store.config.model_copy(update={"keep_raw": "90 days"})).migrate()
    async with session(store) as writer:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute(INSERT, START + timedelta(seconds=1), 5.0)
        first = await store.metric_upkeep.retain()
        assert (first.busy, first.dropped) == (True, [])
        await transaction.commit()
        second = await store.metric_upkeep.retain()
        assert (second.busy, sum(item.rows for item in second.dropped)) == (False, 101)
        assert await counts(writer) == (0, 101, 101)


async def test_health_tells_how_far_rollups_lag(store: TimescaleStore) -> None:
    facts = (await store.health()).facts
    assert (facts["rollup_hours_pending"], facts["rollup_oldest_pending"]) == (5, START)
    await store.metric_upkeep.refresh()
    facts = (await store.health()).facts
    assert (facts["rollup_hours_pending"], facts["rollup_oldest_pending"]) == (0, None)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT refresh_metrics(now())",
        "SELECT drop_metric_day(now())",
        "SELECT drop_metric_rollups(now())",
        "DELETE FROM metrics_touched",
        "UPDATE metrics_hours SET count = 0",
        "UPDATE metrics_retention SET keep = NULL",
    ],
)
async def test_the_application_may_not(store: TimescaleStore, statement: str) -> None:
    async with session(store, as_owner=False) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
