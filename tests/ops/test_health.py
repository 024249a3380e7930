"""What a probe makes of a store's answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from redis.asyncio import Redis

from neo_polystore.ops.health import SLOW_MILLISECONDS, probe
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore


@pytest_asyncio.fixture(loop_scope="session")
async def store(redis_config: RedisConfig) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_config)
    await store.connect()
    yield store
    await store.close()


async def test_a_store_that_takes_long_to_answer_is_degraded(
    store: RedisStore, redis_config: RedisConfig
) -> None:
    assert (await probe(store)).status == "healthy"
    async with Redis(
        host=redis_config.host,
        port=redis_config.port,
        password=redis_config.password.get_secret_value(),
    ) as other:
        seconds = str(SLOW_MILLISECONDS / 1000 + 0.5)
        sleep = other.execute_command("DEBUG", "SLEEP", seconds)  # type: ignore[no-untyped-call]
        busy = asyncio.create_task(sleep)
        await asyncio.sleep(0.1)
        slow = await probe(store)
        await busy
        assert slow.status == "degraded", slow
        assert slow.detail.startswith("answered after 1")
        assert (again := await probe(store)).status == "healthy", again
