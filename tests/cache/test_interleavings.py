"""Never an old value after the invalidation has returned, in whatever order things happen."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from tests.cache.interleaving import Run


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(redis_config: RedisConfig) -> AsyncIterator[RedisStore]:
    config = redis_config.model_copy(update={"patience_seconds": 0.001, "ttls": {"network": 60}})
    store = RedisStore(config)
    await store.connect()
    yield store
    await store.close()


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(400, id="short"),
        pytest.param(100_000, id="long", marks=pytest.mark.long),
    ],
)
async def test_no_interleaving_reads_an_old_value_after_an_invalidation(
    store: RedisStore, runs: int
) -> None:
    client: Any = store._client
    happened: Counter[str] = Counter()
    for seed in range(runs):
        run = Run(seed, store.port("cache"), client)
        await run.play()
        assert not run.stale, f"seed {seed}: {run.stale}"
        happened.update(run.events)
        for member in run._members:
            counts = member.port.counts
            happened.update(
                hits=counts.hits,
                fills=counts.filled,
                prevented=counts.refused,
                cuts=counts.failures,
            )
    assert all(
        happened[name]
        for name in (
            "hits",
            "fills",
            "prevented",
            "killed",
            "expired",
            "restarted",
            "cut",
            "relayed",
        )
    ), happened
