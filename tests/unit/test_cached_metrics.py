"""Cached answers of metric queries, on the real Redis, over a primary that can be held up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import numpy as np
import pytest
import pytest_asyncio

from neo_polystore.errors import UnavailableError, UsageError
from neo_polystore.ports.cache import Cache
from neo_polystore.records.metric_answer import Line, MetricAnswer
from neo_polystore.records.metric_columns import MetricColumns, Series
from neo_polystore.records.metric_query import MetricQuery, is_open
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.results import Written
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.wrappers.cached.data_types import cached
from neo_polystore.wrappers.cached.metrics import CachedMetrics
from tests.proxy import Proxy

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Primary:
    """Answers the number of points that it holds in the range."""

    record = MetricPoint

    def __init__(self) -> None:
        self.times: list[tuple[str, datetime]] = []
        self.calls = 0
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self.after_commit: Callable[[], Awaitable[None]] | None = None

    async def query(self, query: MetricQuery) -> MetricAnswer:
        self.calls += 1
        count = sum(
            service == query.service and query.since <= time < query.until
            for service, time in self.times
        )
        if self.before_answer is not None:
            await self.before_answer()
        line = Line("m", {"host": "a"}, [query.since], {"count": [count]})
        return MetricAnswer(
            lines=[line] if count else [],
            source="raw",
            reason="the only one",
            since=query.since,
            until=query.until,
            step=query.step,
            open=is_open(query.until, now=NOW),
        )

    async def write(self, records: Sequence[MetricPoint]) -> Written:
        self.times += [(record.service, record.time) for record in records]
        if self.after_commit is not None:
            await self.after_commit()
        return Written(new=len(records))

    async def write_columns(self, columns: MetricColumns) -> Written:
        self.times += [(columns.series[0].service, NOW - HOUR * 5)] * len(columns)
        return Written(new=len(columns))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(redis_config: RedisConfig) -> AsyncIterator[RedisStore]:
    """With patience for a busy machine."""
    store = RedisStore(redis_config.model_copy(update={"patience_seconds": 5.0}))
    await store.connect()
    yield store
    await store.close()


@pytest.fixture
def cache(store: RedisStore) -> Cache:
    return cast(Cache, store.port("cache"))


@pytest.fixture
def primary() -> Primary:
    return Primary()


@pytest.fixture
def filled(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[bytes, float]]:
    """The answers that are put into the cache, with their TTLs, by key."""
    found: dict[str, tuple[bytes, float]] = {}
    fill = cache.fill

    async def recording(key: str, value: bytes, *, ttl: float, **options: Any) -> bool:
        if len(key) == len("metrics:") + 64:
            found[key] = (value, ttl)
        return await fill(key, value, ttl=ttl, **options)

    monkeypatch.setattr(cache, "fill", recording)
    return found


def over(primary: Primary, cache: Cache) -> CachedMetrics:
    """A process's port, with time enough for a busy machine."""
    return CachedMetrics("metrics", cast(Any, primary), cache, budget=10, clock=lambda: NOW)


@pytest.fixture
def metrics(primary: Primary, cache: Cache) -> CachedMetrics:
    return over(primary, cache)


@pytest.fixture
def service() -> str:
    return f"service-{uuid4()}"


def point(service: str, time: datetime = NOW - timedelta(minutes=1)) -> MetricPoint:
    return MetricPoint(time=time, service=service, name="m", value=1)


def asked(service: str, *, until: datetime = NOW, step: timedelta = HOUR) -> MetricQuery:
    return MetricQuery(service, until - 24 * HOUR, until, step=step, aggregates=("count",))


async def counted(metrics: CachedMetrics, query: MetricQuery) -> Any:
    lines = (await metrics.query(query)).lines
    return lines[0].values["count"][0] if lines else 0


async def test_the_second_query_comes_from_the_cache(
    metrics: CachedMetrics, primary: Primary, service: str
) -> None:
    await metrics.write([point(service)])
    first = await metrics.query(asked(service))
    assert await metrics.query(asked(service)) == first
    assert (primary.calls, metrics.counts.hits, metrics.counts.misses) == (1, 1, 1)
    assert await metrics.query_json(asked(service)) == first.as_json()


async def test_queries_of_one_meaning_share_an_entry(
    metrics: CachedMetrics, primary: Primary, service: str
) -> None:
    await metrics.write([point(service)])
    query = replace(asked(service), names=("b", "a"), tags={"x": "1", "y": "2"})
    await metrics.query(query)
    same = replace(
        query,
        names=("a", "b", "a"),
        tags={"y": "2", "x": "1"},
        since=query.since + timedelta(minutes=59),
        until=query.until - timedelta(minutes=59),
    )
    await metrics.query(same)
    assert primary.calls == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ("b",)},
        {"tags": {"x": "1"}},
        {"step": 2 * HOUR},
        {"aggregates": ("max",)},
        {"group": "name"},
        {"fill": "null"},
        {"source": "raw"},
        {"limit": 7},
        {"since": NOW - 25 * HOUR},
        {"until": NOW + HOUR},
    ],
    ids=str,
)
async def test_queries_of_another_meaning_share_none(
    metrics: CachedMetrics, primary: Primary, service: str, changes: dict[str, Any]
) -> None:
    await metrics.write([point(service)])
    await metrics.query(asked(service))
    await metrics.query(replace(asked(service), **changes))
    assert primary.calls == 2


async def test_a_write_is_in_the_next_answer_of_every_process(
    metrics: CachedMetrics, primary: Primary, cache: Cache, service: str
) -> None:
    elsewhere = over(primary, cache)
    for count in range(1, 4):
        await metrics.write([point(service)])
        for process in (metrics, elsewhere, metrics, elsewhere):
            assert await counted(process, asked(service)) == count


async def test_late_points_are_in_the_next_answer_of_a_closed_range(
    metrics: CachedMetrics, primary: Primary, cache: Cache, service: str
) -> None:
    elsewhere, query = over(primary, cache), asked(service, until=NOW - 3 * HOUR)
    await metrics.write([point(service, NOW - 5 * HOUR)])
    assert await counted(elsewhere, query) == 1
    await metrics.write([point(service), point(service, NOW - 4 * HOUR)])
    assert await counted(elsewhere, query) == 2
    columns = MetricColumns.of(
        [Series(service, "m")],
        numbers=[0],
        times=np.array(["2026-06-01T07:00"], dtype="datetime64[us]"),
        values=[1.0],
    )
    await metrics.write_columns(columns)
    assert await counted(elsewhere, query) == 3


async def test_recent_points_leave_closed_ranges_cached(
    metrics: CachedMetrics, primary: Primary, service: str
) -> None:
    query = asked(service, until=NOW - HOUR)
    await metrics.write([point(service, NOW - 5 * HOUR)])
    await metrics.query(query)
    for _ in range(3):
        await metrics.write([point(service)])
        await metrics.query(query)
    assert primary.calls == 1


async def test_writes_of_one_service_leave_others_cached(
    metrics: CachedMetrics, primary: Primary, service: str
) -> None:
    await metrics.write([point(service)])
    await metrics.query(asked(service))
    await metrics.write([point(f"{service}-other", NOW - 30 * HOUR)])
    await metrics.query(asked(service))
    assert primary.calls == 1


async def test_a_load_that_a_write_overtakes_is_not_served_after_it(
    metrics: CachedMetrics, primary: Primary, service: str
) -> None:
    loading, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        loading.set()
        await go_on.wait()

    await metrics.write([point(service)])
    primary.before_answer = wait
    early = asyncio.create_task(counted(metrics, asked(service)))
    await loading.wait()
    primary.before_answer = None
    await metrics.write([point(service)])
    assert await counted(metrics, asked(service)) == 2
    go_on.set()
    assert await early == 1  # it asked before the write
    assert await counted(metrics, asked(service)) == 2


async def test_a_write_that_failed_after_its_commit_is_in_the_next_answer(
    metrics: CachedMetrics, primary: Primary, service: str
) -> None:
    async def lose_the_answer() -> None:
        raise UnavailableError("connection lost")

    await metrics.write([point(service)])
    await metrics.query(asked(service))
    primary.after_commit = lose_the_answer
    with pytest.raises(UnavailableError):
        await metrics.write([point(service)])
    assert await counted(metrics, asked(service)) == 2


async def test_nobody_ever_sees_less_than_was_written_before_he_asked(
    cache: Cache, service: str
) -> None:
    chance, primary = random.Random(4), Primary()

    async def dawdle() -> None:
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)

    primary.before_answer = primary.after_commit = dawdle
    processes = [over(primary, cache) for _ in range(3)]
    done, stale = [0], []
    queries = [asked(service), asked(service, until=NOW - 2 * HOUR)]

    async def write() -> None:
        for _ in range(60):
            # one that is in both ranges
            await chance.choice(processes).write([point(service, NOW - 4 * HOUR)])
            done[0] += 1
            await dawdle()

    async def read() -> None:
        for _ in range(100):
            least = done[0]
            seen = await counted(chance.choice(processes), chance.choice(queries))
            if seen < least:
                stale.append((seen, least))

    await asyncio.gather(write(), *(read() for _ in range(8)))
    assert not stale
    assert sum(process.counts.hits + process.counts.shared for process in processes) > 50


async def test_concurrent_queries_load_once(
    metrics: CachedMetrics, primary: Primary, service: str
) -> None:
    await metrics.write([point(service)])
    primary.before_answer = lambda: asyncio.sleep(0.01)
    answers = await asyncio.gather(*(counted(metrics, asked(service)) for _ in range(50)))
    assert answers == [1] * 50
    assert primary.calls == 1


async def test_concurrent_writes_share_their_messages(
    metrics: CachedMetrics, cache: Cache, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    invalidate = cache.invalidate

    async def counting(keys: Sequence[str], **options: Any) -> bool:
        nonlocal calls
        calls += 1
        return await invalidate(keys, **options)

    monkeypatch.setattr(cache, "invalidate", counting)
    await asyncio.gather(*(metrics.write([point(service)]) for _ in range(500)))
    assert calls <= 3


async def test_a_caller_who_gives_up_does_not_end_the_load_of_others(
    metrics: CachedMetrics, primary: Primary, service: str
) -> None:
    await metrics.write([point(service)])
    primary.before_answer = lambda: asyncio.sleep(0.02)
    first = asyncio.create_task(counted(metrics, asked(service)))
    second = asyncio.create_task(counted(metrics, asked(service)))
    while not primary.calls:
        await asyncio.sleep(0)
    first.cancel()
    assert await second == 1
    assert primary.calls == 1


@pytest.mark.parametrize(
    ("until", "step", "ttl"),
    [
        (NOW, timedelta(minutes=2), 12),
        (NOW, timedelta(seconds=1), 1),
        (NOW, 24 * HOUR, 60),
        (NOW - 2 * HOUR, HOUR, 600),
    ],
    ids=str,
)
async def test_an_entry_lives_as_long_as_its_range_allows(
    metrics: CachedMetrics,
    filled: dict[str, tuple[bytes, float]],
    service: str,
    until: datetime,
    step: timedelta,
    ttl: float,
) -> None:
    await metrics.write([point(service, NOW - 20 * HOUR)])
    await metrics.query(replace(asked(service, until=until, step=step)))
    assert [entry[1] for entry in filled.values()] == [ttl]


async def test_an_answer_without_lines_is_not_cached(
    metrics: CachedMetrics, primary: Primary, service: str
) -> None:
    for _ in range(2):
        assert await counted(metrics, asked(service)) == 0
    assert primary.calls == 2


async def test_without_the_cache_everything_comes_from_the_primary(
    redis_config: RedisConfig, primary: Primary, unused_tcp_port: int, service: str
) -> None:
    down = RedisStore(redis_config.model_copy(update={"port": unused_tcp_port}))
    metrics = over(primary, cast(Cache, down.port("cache")))
    for count in (1, 2):
        await metrics.write([point(service)])
        assert await counted(metrics, asked(service)) == count
    assert metrics.counts.bypassed == 2


async def test_what_was_written_while_the_cache_was_down_is_in_the_answer(
    redis_config: RedisConfig, primary: Primary, service: str
) -> None:
    async with Proxy(redis_config.host, redis_config.port) as proxy:
        store = RedisStore(redis_config.model_copy(update={"port": proxy.port}))
        await store.connect()
        metrics = over(primary, cast(Cache, store.port("cache")))
        await metrics.write([point(service)])
        assert await counted(metrics, asked(service)) == 1
        proxy.cut()
        await metrics.write([point(service)])
        assert await counted(metrics, asked(service)) == 2
        proxy.restore()
        async with asyncio.timeout(10):
            while metrics.counts.uncertain:
                assert await counted(metrics, asked(service)) == 2
                await asyncio.sleep(0.02)
        assert await counted(metrics, asked(service)) == 2
        await store.close()


async def test_nonsense_in_the_cache_is_a_miss(
    metrics: CachedMetrics,
    primary: Primary,
    cache: Cache,
    filled: dict[str, tuple[bytes, float]],
    service: str,
) -> None:
    await metrics.write([point(service)])
    await metrics.query(asked(service))
    [(key, (whole, _))] = filled.items()
    for payload in (b"", b"nonsense", whole[:-3], whole.replace(b'"m"', b'"n"')):
        await cache.set(key, payload, ttl=60)
        assert await counted(metrics, asked(service)) == 1
    assert primary.calls == 5


async def test_a_query_that_makes_no_sense_asks_nobody(
    metrics: CachedMetrics, primary: Primary, service: str
) -> None:
    with pytest.raises(UsageError, match="step must be positive"):
        await metrics.query(asked(service, step=timedelta(0)))
    assert (primary.calls, metrics.counts.misses) == (0, 0)


def test_metrics_have_a_wrapper_of_their_own(primary: Primary, cache: Cache) -> None:
    assert isinstance(cached("metrics", primary, cache), CachedMetrics)
