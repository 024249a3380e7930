"""Never an old value after the invalidation has returned, in whatever order things happen."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.wrappers.cached.near import NearTier
from tests.cache.interleaving import Run

SIDE_BY_SIDE = 16
"""Runs that share the server's round trips, each with a key, scheduler and processes of its own."""

EXPECTED = (
    "hits", "local", "fills", "prevented", "killed", "expired", "restarted", "cut", "relayed",
    "tracking lost", "deaf",
)  # fmt: skip
"""What must have happened for the proof to be worth anything."""


@asynccontextmanager
async def opened(config: RedisConfig) -> AsyncIterator[RedisStore]:
    changes = {"patience_seconds": 0.001, "ttls": {"network": 60}}
    store = RedisStore(config.model_copy(update=changes))
    await store.connect()
    yield store
    await store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(redis_config: RedisConfig) -> AsyncIterator[RedisStore]:
    async with opened(redis_config) as store:
        yield store


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
    await nothing_old(store, runs)


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(100, id="short"),
        pytest.param(10_000, id="long", marks=pytest.mark.long),
    ],
)
async def test_no_interleaving_on_a_cluster_does_either(
    cluster_config: RedisConfig, runs: int
) -> None:
    async with opened(cluster_config) as store:
        await nothing_old(store, runs)


async def nothing_old(store: RedisStore, runs: int) -> None:
    client: Any = store._client
    happened: Counter[str] = Counter()
    for first in range(0, runs, SIDE_BY_SIDE):
        seeds = range(first, min(first + SIDE_BY_SIDE, runs))
        group = [Run(seed, store.port("cache"), client) for seed in seeds]
        await asyncio.gather(*(run.play() for run in group))
        for seed, run in zip(seeds, group, strict=True):
            assert not run.stale, f"seed {seed}: {run.stale}"
            happened.update(run.events)
            for member in run.members:
                counts = member.port.counts
                happened.update(
                    hits=counts.hits,
                    local=counts.local,
                    fills=counts.filled,
                    prevented=counts.refused,
                    cuts=counts.failures,
                )
    assert all(happened[name] for name in EXPECTED), happened


@pytest.mark.parametrize(
    "fault",
    ["evict", *(pytest.param(name, marks=pytest.mark.long) for name in ("answered", "lost"))],
)
async def test_the_interleavings_find_copies_that_outlive_a_change(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    client: Any = store._client
    faulty = {
        "evict": lambda tier, keys: None,
        "answered": lambda tier, key: tier._asked.pop(key, None) is not None,
        "lost": lambda tier: tier.alive(-math.inf),
    }
    monkeypatch.setattr(NearTier, fault, faulty[fault])
    async with asyncio.timeout(600):
        for first in range(0, 20_000, SIDE_BY_SIDE):
            seeds = range(first, first + SIDE_BY_SIDE)
            group = [Run(seed, store.port("cache"), client) for seed in seeds]
            await asyncio.gather(*(run.play() for run in group))
            if any(run.stale for run in group):
                return
    pytest.fail("no interleaving has shown the fault")
