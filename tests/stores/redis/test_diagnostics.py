"""The admin's view: families, samples within a budget, and flushing one family."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.stores.redis import diagnostics
from neo_polystore.stores.redis.client import RedisClient
from neo_polystore.stores.redis.config import RedisConfig


@pytest_asyncio.fixture(loop_scope="session")
async def client(redis_config: RedisConfig) -> AsyncIterator[RedisClient]:
    """A database with 3,000 prices, 5 sessions and a key of somebody else."""
    namespace = f"a*b[{uuid4().hex}]:"
    client = RedisClient(redis_config.model_copy(update={"db": 9, "namespace": namespace}))
    await client.connect()
    await client.run("test", "FLUSHDB")
    pipeline = client.driver.pipeline()
    for number in range(3000):
        pipeline.set(client.keys.stored(f"price:{number}"), "1", ex=600)
    await pipeline.execute()
    for number in range(5):
        await client.run("test", "SET", client.keys.stored(f"session:{number}"), "1", "EX", 60)
    await client.run("test", "SET", "a_b:price:1", "theirs", "EX", 60)
    yield client
    await client.run("test", "FLUSHDB")
    await client.close()


async def test_families_are_counted_and_sampled(client: RedisClient) -> None:
    sample = await diagnostics.families(client, budget=10_000)
    found = {row.family: row for row in sample.families}
    assert (found["price"].keys, found["session"].keys, found["tag"].keys) == (3000, 5, 0)
    assert found["price"].mean_bytes > 10
    assert 0 < found["session"].mean_left <= 60
    assert (sample.complete, sample.seen) == (True, 3006)


async def test_a_budget_is_kept_and_the_answer_says_that_it_is_a_part(client: RedisClient) -> None:
    before = int((await client.run("test", "INFO", "stats"))["total_commands_processed"])
    sample = await diagnostics.families(client, budget=4)
    after = int((await client.run("test", "INFO", "stats"))["total_commands_processed"])
    assert after - before <= 4 + 1 + 20  # others use the server, and new connections greet it
    assert not sample.complete
    assert sample.seen < 3006


async def test_a_dry_run_counts_and_a_flush_removes_only_its_family(client: RedisClient) -> None:
    assert await diagnostics.flush(client, "price", dry_run=True) == 3000
    assert await client.run("test", "DBSIZE") == 3006
    assert await diagnostics.flush(client, "price", dry_run=False) == 3000
    assert await client.run("test", "DBSIZE") == 6


async def test_the_status_has_memory_and_evictions(client: RedisClient) -> None:
    servers, _ = await diagnostics.status(client)
    [figures] = servers.values()
    assert figures["used_memory"] > 0
    assert figures["keys"] == 3006
    assert {"evicted_keys", "maxmemory_policy"} <= figures.keys()


@pytest.mark.parametrize(
    ("figures", "warns"),
    [
        ({"maxmemory_policy": "noeviction", "maxmemory": 1}, False),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 100}, True),
        ({"maxmemory_policy": "volatile-ttl", "maxmemory": 0}, True),
    ],
)
def test_a_policy_that_evicts_sessions_is_warned_of(
    figures: dict[str, object], warns: bool
) -> None:
    assert any("sessions" in warning for warning in diagnostics.warnings_of(figures)) == warns
