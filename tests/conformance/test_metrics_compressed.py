"""Points that are compressed are read and written like others, in both modes of the engine."""

from __future__ import annotations

import asyncio
import math
import random
import struct
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.records.metric_query import MetricQuery, PointsQuery
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.query import Query
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.stores.timescale.databases import MODES, make_metrics_database, opened

NOW = datetime.now(UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
OLD = TODAY - timedelta(days=30)
SECOND = timedelta(seconds=1)
NAN = struct.unpack(">d", bytes.fromhex("7ff0000000000002"))[0]
"""Prometheus's stale marker."""


@pytest_asyncio.fixture(loop_scope="session", params=MODES)
async def store(
    request: pytest.FixtureRequest, embedded: Membership
) -> AsyncIterator[TimescaleStore]:
    async with opened(await make_metrics_database(embedded, request.param)) as store:
        yield store


def point(time: datetime, value: float, *, name: str = "cpu", **tags: str) -> MetricPoint:
    return MetricPoint(time=time, service="web", name=name, value=value, tags=tags, unit="s")


def many() -> list[MetricPoint]:
    """Two days: a series with more than a thousand points a day, one at irregular times, and what
    is easily lost. Values are dyadic, so that sums do not depend on the order of adding."""
    chance = random.Random(7)
    regular = [point(OLD + 40 * SECOND * n, n / 8, host="a") for n in range(4320)]
    micros = sorted(chance.sample(range(86_400_000_000), 300))
    irregular = [
        point(OLD + timedelta(microseconds=at), chance.randrange(64) / 16, host="b")
        for at in micros
    ]
    odd = [
        point(OLD + n * SECOND, value, name="odd")
        for n, value in enumerate([NAN, math.inf, -0.0, 5e-324, 1.7e308, 0.1])
    ]
    odd.append(odd[0].model_copy(update={"time": OLD + 7 * SECOND, "unit": None}))
    return [*regular, *irregular, *odd]


QUERIES: dict[str, dict[str, Any]] = {
    "ten minutes": {"step": timedelta(minutes=10), "aggregates": ("avg", "min", "max", "count")},
    "one value": {"aggregates": ("sum", "last", "p95")},
    "tags": {"step": timedelta(hours=1), "tags": {"host": "b"}, "source": "raw"},
    "names": {"step": timedelta(hours=2), "group": "name", "source": "raw"},
    "hourly": {"step": timedelta(hours=1)},
    "daily": {"step": timedelta(days=1), "aggregates": ("avg", "count")},
}


async def answers(store: TimescaleStore) -> dict[str, Any]:
    """What every way of reading says."""
    port = store.port("metrics")
    found: dict[str, Any] = {}
    since, until = OLD + timedelta(hours=5), OLD + timedelta(hours=31, minutes=7)
    for name, changes in QUERIES.items():
        query = MetricQuery(service="web", names=("cpu",), since=since, until=until, **changes)
        found[name] = await port.query(query)
    page = await port.points(PointsQuery("web", "cpu", since=since, until=until, limit=700))
    pages = [page.records]
    while page.next:
        page = await port.points(
            PointsQuery("web", "cpu", since=since, until=until, limit=700, after=page.next)
        )
        pages.append(page.records)
    found["points"] = pages
    every = Query(limit=1000).where("name", "cpu")
    found["some"] = await port.find(every.where("value", 2.0))
    found["count"] = await port.count(Query(since=since, until=until))
    found["at"] = (await port.find(Query().where("time", OLD + 40 * SECOND))).records
    key = point(OLD + 40 * SECOND, 0, host="a").key
    found["key"] = await port.get(key)
    found["witness"] = await store.witness("metrics", [key, point(OLD + SECOND, 0).key])
    odd = (await port.find(Query().where("name", "odd"))).records
    found["odd"] = sorted((p.time, struct.pack(">d", p.value), p.unit) for p in odd)
    return found


async def packed(store: TimescaleStore) -> int:
    """How many points are in compressed parts, by the engine's own tables."""
    if await is_plain(store):
        sql = "SELECT coalesce(sum(points), 0) FROM metrics_segments"
    else:
        sql = (
            "SELECT coalesce(sum(s.numrows_pre_compression), 0)"
            " FROM _timescaledb_catalog.compression_chunk_size s"
        )
    owner = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    try:
        return int(await owner.fetchval(sql))
    finally:
        await owner.close()


async def is_plain(store: TimescaleStore) -> bool:
    return bool((await store.health()).facts["mode"] == "plain")


async def write(store: TimescaleStore, points: Sequence[MetricPoint]) -> tuple[int, int, int]:
    written = await store.port("metrics").write(points)
    return written.new, written.existing, written.replaced


async def test_compressed_points_give_the_same_answers(store: TimescaleStore) -> None:
    points = many()
    assert await write(store, points) == (len(points), 0, 0)
    await store.metric_upkeep.refresh()
    before = await answers(store)
    done = await store.metric_upkeep.compress()
    assert done.days == (2 if await is_plain(store) else None)
    assert await packed(store) == len(points)
    assert await answers(store) == before
    assert await write(store, points) == (0, len(points), 0)
    assert await answers(store) == before


async def test_what_is_not_old_enough_stays_as_it_is(store: TimescaleStore) -> None:
    await write(store, [point(TODAY - timedelta(days=days), 1) for days in range(9)])
    await store.metric_upkeep.compress()
    assert await packed(store) == 1
    assert await store.port("metrics").count(Query()) == 9


async def test_late_points_of_compressed_days_are_counted_and_aggregated(
    store: TimescaleStore,
) -> None:
    await write(store, many())
    await store.metric_upkeep.compress()
    late = [
        point(OLD + timedelta(minutes=7, seconds=1), 4096, host="a"),
        point(OLD + 40 * SECOND, 1 / 8, host="a"),
        point(OLD + 80 * SECOND, 1024, host="a"),
    ]
    assert await write(store, late) == (1, 1, 1)
    for _ in range(2):
        await store.metric_upkeep.refresh()
        hour = MetricQuery(
            service="web",
            names=("cpu",),
            since=OLD,
            until=OLD + timedelta(hours=1),
            tags={"host": "a"},
            step=timedelta(hours=1),
            aggregates=("sum", "count", "max"),
        )
        answer = await store.port("metrics").query(hour)
        assert answer.source == "hourly"
        expected = sum(n / 8 for n in range(90)) + 4096 + 1024 - 2 / 8
        assert answer.lines[0].values == {"sum": [expected], "count": [91], "max": [4096.0]}
        await store.metric_upkeep.compress()


async def test_compressed_days_are_dropped_in_their_time(store: TimescaleStore) -> None:
    await write(store, many())
    await write(store, [point(TODAY - timedelta(days=9), 1)])
    await store.metric_upkeep.refresh()
    await store.metric_upkeep.compress()
    await TimescaleStore(store.config.model_copy(update={"keep_raw": "20 days"})).migrate()
    told = (await store.metric_upkeep.retain(dry_run=True)).dropped
    done = await store.metric_upkeep.retain()
    assert sum(part.rows for part in told if part.level == "raw") == len(many())
    assert (told, done.busy) == (done.dropped, False)
    assert await store.port("metrics").count(Query()) == 1
    hours = MetricQuery(
        service="web",
        names=("cpu",),
        since=OLD,
        until=OLD + timedelta(days=2),
        aggregates=("count",),
    )
    [line, *_] = (await store.port("metrics").query(hours)).lines
    assert sum(line.values["count"]) > 0, "rollups know what was dropped"


async def test_writers_and_compression_at_the_same_time_lose_nothing(
    store: TimescaleStore,
) -> None:
    chance = random.Random(11)
    wanted: dict[tuple[str, datetime], float] = {}

    async def writer(host: str) -> None:
        for _ in range(15):
            points = [
                point(
                    OLD + timedelta(days=chance.randrange(3)) + chance.randrange(60) * SECOND,
                    chance.randrange(100),
                    host=host,
                )
                for _ in range(chance.choice([1, 20, 1500]))
            ]
            await store.port("metrics").write(points)
            wanted.update(((host, p.time), p.value) for p in points)

    async def compressing() -> None:
        for _ in range(4):  # a writer tries once more than this
            await asyncio.sleep(0.1)
            await store.metric_upkeep.compress()

    await asyncio.gather(compressing(), *(writer(f"h{n}") for n in range(4)))
    await store.metric_upkeep.refresh()
    found = (await store.port("metrics").find(Query(limit=1000))).records
    assert len(found) == len(wanted)
    assert {(p.tags["host"], p.time): p.value for p in found} == wanted
    counted = MetricQuery(
        service="web", since=OLD, until=OLD + timedelta(days=3), aggregates=("count",)
    )
    lines = (await store.port("metrics").query(counted)).lines
    assert sum(line.values["count"][0] for line in lines) == len(wanted)


async def test_a_day_that_is_being_read_is_compressed_by_a_later_run(
    store: TimescaleStore,
) -> None:
    if not await is_plain(store):
        pytest.skip("TimescaleDB's own job waits in its own way")
    await write(store, many())
    async with store.database.transaction("test") as connection:
        await connection.fetch("SELECT count(*) FROM metrics")
        done = await store.metric_upkeep.compress()
    assert (done.days, done.busy) == (0, True)
    assert await packed(store) == 0
    done = await store.metric_upkeep.compress()
    assert (done.days, done.busy) == (2, False)


async def test_compression_can_be_turned_off(store: TimescaleStore) -> None:
    rules = {"compress_after": "indefinite"}
    other = TimescaleStore(store.config.model_copy(update=rules))
    await other.migrate()
    await other.connect()
    try:
        await write(other, many())
        await other.metric_upkeep.compress()
        assert await packed(other) == 0
    finally:
        await other.close()
