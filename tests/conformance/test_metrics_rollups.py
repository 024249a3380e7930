"""Hourly and daily rollups of the metrics engine: the same answers in both of its modes."""

from __future__ import annotations

import asyncio
import math
import random
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.pgkit.database import Connection
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.stores.timescale.databases import MODES, make_metrics_database, opened

NOW = datetime.now(UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
MONTH_AGO = TODAY - timedelta(days=30)
LONG_AGO = TODAY - timedelta(days=200)
COLUMNS = "bucket, series_id, service_id, metric_name, tags, min_value, max_value, count"

Row = tuple[object, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=MODES)
async def store(
    request: pytest.FixtureRequest, embedded: Membership
) -> AsyncIterator[TimescaleStore]:
    async with opened(await make_metrics_database(embedded, request.param)) as store:
        yield store


@pytest_asyncio.fixture(loop_scope="session", params=MODES)
async def alone(
    request: pytest.FixtureRequest, embedded: Membership
) -> AsyncIterator[TimescaleStore]:
    """A database that no other test has: for what concerns all of its points."""
    async with opened(await make_metrics_database(embedded, request.param)) as store:
        yield store


@pytest.fixture
def service() -> str:
    return f"service-{uuid4()}"


def point(service: str, time: datetime, value: float, **tags: str) -> MetricPoint:
    return MetricPoint(time=time, service=service, name="cpu", value=value, tags=tags)


def points(service: str, start: datetime, count: int, step: int = 600) -> list[MetricPoint]:
    """Every ten minutes by default, of two series; values that no binary fraction is."""
    return [
        point(service, start + timedelta(seconds=step * n), n / 7, host=f"node-{n % 2}")
        for n in range(count)
    ]


async def write(store: TimescaleStore, records: Sequence[MetricPoint]) -> None:
    written = await store.port("metrics").write(records)
    assert not written.rejected


async def read(store: TimescaleStore, sql: str, *arguments: object) -> list[Row]:
    async with store.database.acquire("test") as connection:
        return [tuple(row) for row in await connection.fetch(sql, *arguments)]


async def rollup(store: TimescaleStore, view: str, service: str) -> list[Row]:
    """Every column of the view's rows of a service, in order."""
    return await read(
        store,
        f"SELECT {COLUMNS}, sum_value, avg_value FROM {view} JOIN services USING (service_id)"
        " WHERE name = $1 ORDER BY bucket, series_id",
        service,
    )


async def by_hand(store: TimescaleStore, unit: str, service: str) -> list[Row]:
    """What a rollup should hold: one plain aggregate over the points."""
    return await read(
        store,
        f"SELECT date_trunc('{unit}', time, 'UTC') AS bucket, series_id, service_id, metric_name,"
        " tags, min(value), max(value), count(*), sum(value), sum(value) / count(*)"
        " FROM metrics JOIN services USING (service_id)"
        " WHERE name = $1 AND value <> 'NaN' GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2",
        service,
    )


async def matches(store: TimescaleStore, service: str) -> None:
    """Both rollups are what the points say; sums may differ by the order of adding."""
    for view, unit in (("metrics_hourly", "hour"), ("metrics_daily", "day")):
        found, expected = await rollup(store, view, service), await by_hand(store, unit, service)
        assert [row[:-2] for row in found] == [row[:-2] for row in expected]
        for mine, right in zip(found, expected, strict=True):
            assert mine[-2:] == pytest.approx(right[-2:], rel=1e-12, nan_ok=True)


async def configure(store: TimescaleStore, **rules: str) -> None:
    """Have the store's database follow other rules."""
    await TimescaleStore(store.config.model_copy(update=rules)).migrate()


async def owner_of(store: TimescaleStore) -> Connection:
    return await asyncpg.connect(**store.config.connect_arguments(as_owner=True))


async def mode_of(store: TimescaleStore) -> str:
    return str((await store.health()).facts["mode"])


async def test_both_modes_have_the_same_columns(store: TimescaleStore) -> None:
    for view in ("metrics_hourly", "metrics_daily"):
        rows = await read(
            store,
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum",
            view,
        )
        assert rows == [
            ("bucket", "timestamp with time zone"),
            ("series_id", "uuid"),
            ("service_id", "uuid"),
            ("metric_name", "character varying(255)"),
            ("tags", "jsonb"),
            ("avg_value", "double precision"),
            ("min_value", "double precision"),
            ("max_value", "double precision"),
            ("sum_value", "double precision"),
            ("count", "bigint"),
        ]


async def test_rollups_are_right_before_any_refresh(store: TimescaleStore, service: str) -> None:
    await write(store, points(service, NOW - timedelta(hours=3), 30))
    await matches(store, service)


async def test_rollups_are_right_after_a_refresh(store: TimescaleStore, service: str) -> None:
    await write(store, points(service, MONTH_AGO + timedelta(minutes=17), 500))
    await store.metric_upkeep.refresh()
    await matches(store, service)


async def test_a_late_point_reaches_the_rollups(store: TimescaleStore, service: str) -> None:
    await write(store, points(service, MONTH_AGO, 300))
    await store.metric_upkeep.refresh()
    await write(store, points(service, MONTH_AGO + timedelta(minutes=5), 40))
    await store.metric_upkeep.refresh()
    await matches(store, service)


async def test_a_replaced_value_reaches_the_rollups(store: TimescaleStore, service: str) -> None:
    await write(store, points(service, MONTH_AGO, 30))
    await store.metric_upkeep.refresh()
    await write(store, [point(service, MONTH_AGO, 1000.0, host="node-0")])
    await store.metric_upkeep.refresh()
    await matches(store, service)
    assert (await rollup(store, "metrics_hourly", service))[0][6] in (1000.0, 5 / 7)


async def test_a_removed_point_leaves_the_rollups(store: TimescaleStore, service: str) -> None:
    await write(store, points(service, MONTH_AGO, 30))
    await store.metric_upkeep.refresh()
    owner = await owner_of(store)
    await owner.execute(
        "DELETE FROM metrics USING services s WHERE s.service_id = metrics.service_id"
        " AND s.name = $1 AND time < $2",
        service,
        MONTH_AGO + timedelta(hours=2),
    )
    await owner.close()
    await store.metric_upkeep.refresh()
    await matches(store, service)
    assert (await rollup(store, "metrics_hourly", service))[0][0] == MONTH_AGO + timedelta(hours=2)


async def test_a_backfill_of_a_range_is_refreshed_by_that_range(
    store: TimescaleStore, service: str
) -> None:
    await write(store, points(service, LONG_AGO, 300))
    await store.metric_upkeep.refresh(LONG_AGO, LONG_AGO + timedelta(days=3))
    await matches(store, service)


async def test_refreshing_again_changes_nothing(store: TimescaleStore, service: str) -> None:
    await write(store, points(service, MONTH_AGO, 100))
    await store.metric_upkeep.refresh()
    before = await rollup(store, "metrics_hourly", service)
    await store.metric_upkeep.refresh()
    assert await rollup(store, "metrics_hourly", service) == before


async def test_nan_is_in_no_statistic(store: TimescaleStore, service: str) -> None:
    await write(
        store,
        [
            point(service, MONTH_AGO, math.nan),
            point(service, MONTH_AGO + timedelta(minutes=1), 2.0),
            point(service, MONTH_AGO + timedelta(hours=1), math.nan),
        ],
    )
    await store.metric_upkeep.refresh()
    [row] = await rollup(store, "metrics_hourly", service)
    assert row[5:] == (2.0, 2.0, 1, 2.0, 2.0)


async def test_infinities_are_values(store: TimescaleStore, service: str) -> None:
    await write(store, [point(service, MONTH_AGO, math.inf), point(service, MONTH_AGO, 1, a="b")])
    await store.metric_upkeep.refresh()
    rows = await rollup(store, "metrics_hourly", service)
    assert sorted(row[-2] for row in rows) == [1.0, math.inf]  # type: ignore[type-var]


async def test_values_that_add_up_to_too_much_make_an_infinite_sum(
    store: TimescaleStore, service: str
) -> None:
    largest = sys.float_info.max
    await write(
        store, [point(service, MONTH_AGO + timedelta(minutes=n), largest) for n in range(3)]
    )
    await store.metric_upkeep.refresh()
    [row] = await rollup(store, "metrics_hourly", service)
    assert row[5:] == (largest, largest, 3, math.inf, math.inf)


async def test_times_before_the_epoch_have_buckets_too(store: TimescaleStore, service: str) -> None:
    start = datetime(1969, 12, 31, 21, 30, tzinfo=UTC)
    await write(store, points(service, start, 40))
    await store.metric_upkeep.refresh()
    await matches(store, service)


async def test_concurrent_writes_and_refreshes_end_in_right_rollups(
    store: TimescaleStore, service: str
) -> None:
    dice = random.Random(7)
    batches = [
        [
            point(service, MONTH_AGO + timedelta(minutes=dice.randrange(3000)), dice.random())
            for _ in range(dice.randrange(1, 50))
        ]
        for _ in range(60)
    ]
    writing = asyncio.gather(*(store.port("metrics").write(batch) for batch in batches))
    while not writing.done():
        if await mode_of(store) == "plain":
            await store.metric_upkeep.refresh()
        await asyncio.sleep(0)
    await writing
    await store.metric_upkeep.refresh()
    await matches(store, service)


async def test_dropped_points_leave_the_rollups_to_the_last_digit(alone: TimescaleStore) -> None:
    await write(alone, points("old", LONG_AGO, 600))
    await write(alone, points("new", MONTH_AGO, 600))
    await alone.metric_upkeep.refresh()
    before = [
        await rollup(alone, view, name)
        for view in ("metrics_hourly", "metrics_daily")
        for name in ("old", "new")
    ]
    await configure(alone, keep_raw="90 days")
    await alone.metric_upkeep.retain()
    assert await by_hand(alone, "hour", "old") == []

    async def unchanged() -> None:
        after = [
            await rollup(alone, view, name)
            for view in ("metrics_hourly", "metrics_daily")
            for name in ("old", "new")
        ]
        assert after == before

    await unchanged()
    await alone.metric_upkeep.refresh(LONG_AGO - timedelta(days=9), NOW)
    await unchanged()
    # a late point for an hour whose other points are gone: stored, but too late for the rollups
    await write(alone, [point("old", LONG_AGO + timedelta(minutes=1), 1e6, host="node-0")])
    await alone.metric_upkeep.refresh(LONG_AGO - timedelta(days=9), NOW)
    await unchanged()
    # nor does keeping points longer from now on bring the past back into reach
    await configure(alone, keep_raw="indefinite")
    await alone.metric_upkeep.refresh(LONG_AGO - timedelta(days=9), NOW)
    await unchanged()


async def test_retention_tells_before_it_drops(alone: TimescaleStore) -> None:
    await write(alone, points("old", LONG_AGO, 300))
    await write(alone, points("new", MONTH_AGO, 300))
    await configure(alone, keep_raw="90 days")
    if await mode_of(alone) == "plain":
        told = await alone.metric_upkeep.retain(dry_run=True)
        assert len(await by_hand(alone, "day", "old")) == 6
        assert sum(item.rows for item in told.dropped if item.level == "raw") == 300
        [raw, *_] = (await alone.metric_upkeep.status()).levels
        assert (raw.past, raw.setting) == (300, "NEO_METRICS_RAW")
    await alone.metric_upkeep.retain()
    assert (await alone.metric_upkeep.retain(dry_run=True)).dropped == []
    assert await by_hand(alone, "day", "old") == []
    assert len(await by_hand(alone, "day", "new")) > 0


async def test_rollups_are_dropped_in_their_own_time(alone: TimescaleStore) -> None:
    await write(alone, points("old", LONG_AGO, 300))
    await alone.metric_upkeep.refresh()
    days = await rollup(alone, "metrics_daily", "old")
    await configure(alone, keep_raw="90 days", keep_hourly="100 days")
    await alone.metric_upkeep.retain()
    assert await rollup(alone, "metrics_hourly", "old") == []
    assert await rollup(alone, "metrics_daily", "old") == days
    rules = {"keep_hourly": "100 days", "keep_daily": "100 days"}
    await configure(alone, keep_raw="90 days", **rules)
    await alone.metric_upkeep.retain()
    assert await rollup(alone, "metrics_daily", "old") == []


async def test_clearing_empties_the_rollups(alone: TimescaleStore) -> None:
    await write(alone, points("any", MONTH_AGO, 100))
    await alone.metric_upkeep.refresh()
    await alone.clear()
    assert await read(alone, "SELECT count(*) FROM metrics_hourly") == [(0,)]
    assert await read(alone, "SELECT count(*) FROM metrics_daily") == [(0,)]
    await write(alone, points("any", MONTH_AGO, 100))
    await alone.metric_upkeep.refresh()
    await matches(alone, "any")


async def test_stale_is_what_waits_for_a_refresh(alone: TimescaleStore) -> None:
    async def stale(since: datetime) -> bool:
        [(answer,)] = await read(
            alone,
            "SELECT metric_rollups_stale('hourly', $1, $2)",
            since,
            since + timedelta(days=1),
        )
        return bool(answer)

    await write(alone, points("any", MONTH_AGO, 1000))
    await alone.metric_upkeep.refresh()
    assert not await stale(MONTH_AGO)
    await write(alone, points("any", MONTH_AGO + timedelta(minutes=1), 5))
    assert await stale(MONTH_AGO) is (await mode_of(alone) == "timescaledb")
    assert not await stale(MONTH_AGO + timedelta(days=3))
    await alone.metric_upkeep.refresh()
    assert not await stale(MONTH_AGO)
