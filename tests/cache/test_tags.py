"""Tags: of data types that are written once, and of sessions in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest_asyncio

from neo_polystore.cached_query import cached_query
from neo_polystore.records.results import Written
from neo_polystore.records.transactions import Transaction
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.wrappers.cached.data_types import Caching, cached, queries
from neo_polystore.wrappers.cached.query import QueryCache


class Primary:
    """Transactions that are only counted."""

    record = Transaction

    def __init__(self) -> None:
        self.written = 0

    async def write(self, records: Sequence[Transaction]) -> Written:
        self.written += len(records)
        return Written(new=len(records))


@pytest_asyncio.fixture(loop_scope="session")
async def store(redis_config: RedisConfig) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_config.model_copy(update={"namespace": f"{uuid4().hex}:"}))
    await store.connect()
    yield store
    await store.close()


def transaction() -> Transaction:
    return Transaction(chain_id=1, hash="0x" + uuid4().hex * 2, from_address="0x" + "1" * 40)


def changes_told(store: RedisStore) -> int:
    return sum(store.activity.recorder.statements["cache.change"].counts)


async def test_new_transactions_tell_the_cache_nothing_while_nobody_caches_queries_of_them(
    store: RedisStore,
) -> None:
    port = cached("transactions", Primary(), store.port("cache"), budget=10)
    await port.write([transaction()])
    told = changes_told(store)
    port._queries._clock = lambda: port._queries._unused_until - 0.001
    for _ in range(100):
        await port.write([transaction()])
    assert changes_told(store) == told


async def test_a_cached_query_of_transactions_sees_what_is_written_next(store: RedisStore) -> None:
    primary = Primary()
    port = cached("transactions", primary, store.port("cache"), budget=10)
    source = queries(Caching(store.port("cache"), budget=10))
    ran = 0

    @cached_query(ttl=60, tags=("transactions",))
    async def count(queries: QueryCache) -> int:
        nonlocal ran
        ran += 1
        return primary.written

    async def cached_now() -> None:
        async with asyncio.timeout(20):
            while True:
                before = ran
                await count(source)
                await source._reading.loads.settled()
                if ran == before:
                    return
                await asyncio.sleep(0.05)

    await port.write([transaction()])
    assert await count(source) == 1
    for _ in range(5):  # under a new tag nothing is cached yet
        await port.write([transaction()])
    assert await count(source) == 6
    await cached_now()
    for number in range(7, 10):
        await port.write([transaction()])
        assert await count(source) == number


async def test_writers_at_once_share_their_word_of_a_used_tag(store: RedisStore) -> None:
    port = cached("transactions", Primary(), store.port("cache"), budget=10)
    tag = store.port("cache").in_family("tag", "", "transactions").key
    await store.port("cache").set(tag, b"used", ttl=60)
    told = changes_told(store)
    await asyncio.gather(*(port.write([transaction()]) for _ in range(200)))
    assert changes_told(store) - told <= 3
    assert await store.port("cache").get(tag) is None
