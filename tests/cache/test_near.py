"""Copies in the process's memory: the same record, until somebody changes it or nobody can tell."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio

from neo_polystore.records.contracts import Contract
from neo_polystore.samples import samples
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.stores.redis.tracking import TRUST
from neo_polystore.wrappers.cached.data_types import NearSize, cached
from neo_polystore.wrappers.cached.near import NearTier
from tests.cache.primary import SharedPrimary, network
from tests.proxy import Proxy


@pytest.fixture
def config(redis_config: RedisConfig) -> RedisConfig:
    return redis_config.model_copy(update={"namespace": f"{uuid4().hex}:"})


@pytest.fixture
def key() -> int:
    return random.getrandbits(60)


@asynccontextmanager
async def opened(config: RedisConfig, *, near: NearSize | None = None) -> AsyncIterator[Any]:
    """A process's port of networks, by default with copies."""
    store = RedisStore(config)
    await store.connect()
    try:
        yield cached(
            "networks", SharedPrimary(store), store.port("cache"), budget=10,
            near=near or NearSize(),
        )  # fmt: skip
    finally:
        await store.close()


@pytest_asyncio.fixture(loop_scope="session")
async def port(config: RedisConfig) -> AsyncIterator[Any]:
    async with opened(config) as port:
        yield port


async def copied(port: Any, key: int) -> None:
    """Read until an answer comes from this process's memory."""
    before = port.counts.local
    async with asyncio.timeout(20):
        while port.counts.local == before:
            await port.get(str(key))
            await port.settled()
            await asyncio.sleep(0.002)


async def test_a_copy_is_the_same_record_and_asks_nobody(port: Any, key: int) -> None:
    await port.write([network(key, "a")])
    await copied(port, key)
    hits, calls = port.counts.hits, port.primary.calls
    first = await port.get(str(key))
    assert await port.get(str(key)) is first
    assert (port.counts.hits, port.primary.calls) == (hits, calls)


async def test_a_change_of_ones_own_is_read_at_once(port: Any, key: int) -> None:
    for name in ("a", "b", "c"):
        await port.write([network(key, name)])
        assert (await port.get(str(key))).name == name
        await copied(port, key)
        assert (await port.get(str(key))).name == name


async def test_a_change_by_another_process_ends_the_copy(
    port: Any, config: RedisConfig, key: int
) -> None:
    await port.write([network(key, "old")])
    await copied(port, key)
    text = config.model_dump(mode="json") | {"password": config.password.get_secret_value()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.cache.writing_process",
        orjson.dumps(text).decode(), str(key), "new",
    )  # fmt: skip
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    await asyncio.sleep(0)
    assert (await port.get(str(key))).name == "new"


async def test_what_another_process_wrote_is_read_within_a_second(
    port: Any, config: RedisConfig, key: int
) -> None:
    async with opened(config) as other:
        for number in range(20):
            await copied(port, key) if number else None
            await other.write([network(key, str(number))])
            written = time.monotonic()
            while int((await port.get(str(key))).name) < number:
                assert time.monotonic() - written < TRUST
                await asyncio.sleep(0)


async def test_a_killed_connection_empties_the_memory_at_once(
    port: Any, config: RedisConfig, key: int
) -> None:
    await port.write([network(key, "a")])
    await copied(port, key)
    client = port.primary._client
    assert await client.run("test", "CLIENT", "KILL", "TYPE", "pubsub") >= 1
    killed = time.monotonic()
    while len(port._near):
        assert time.monotonic() - killed < 1.0
        await asyncio.sleep(0)
    await copied(port, key)  # and it comes back by itself


async def test_a_lost_server_empties_the_memory_and_reads_go_to_the_primary(
    config: RedisConfig, key: int
) -> None:
    async with Proxy(config.host, config.port) as proxy:
        behind = config.model_copy(update={"port": proxy.port})
        async with opened(behind) as port, opened(config) as other:
            port.primary = other.primary  # which can be reached all the time
            await other.write([network(key, "old")])
            await copied(port, key)
            proxy.cut()
            lost = time.monotonic()
            while len(port._near):
                assert time.monotonic() - lost < 1.0
                await asyncio.sleep(0)
            local = port.counts.local
            await other.write([network(key, "new")])
            assert (await port.get(str(key))).name == "new"
            assert port.counts.local == local
            proxy.restore()
            await copied(port, key)


async def test_a_server_that_hangs_is_trusted_for_a_second_only(
    config: RedisConfig, key: int
) -> None:
    async with Proxy(config.host, config.port) as proxy:
        behind = config.model_copy(update={"port": proxy.port})
        async with opened(behind) as port:
            await port.write([network(key, "a")])
            await copied(port, key)
            proxy.stall()
            stalled = time.monotonic()
            place, owner = port._place(str(key)).key, port._owner
            while port._near.get(place, owner) is not None:
                assert time.monotonic() - stalled < TRUST + 0.5
                await asyncio.sleep(0.005)
            proxy.restore()


async def test_records_that_can_be_changed_are_not_shared(config: RedisConfig) -> None:
    [sample] = [record for record in samples("contracts") if record.abi][:1]  # type: ignore[attr-defined]

    class Primary:
        record = Contract

        async def get(self, key: str) -> Any:
            return sample

    store = RedisStore(config)
    await store.connect()
    contracts = cached("contracts", Primary(), store.port("cache"), budget=10, near=NearSize())
    while not contracts._near.asks("warm"):
        await asyncio.sleep(0.005)
    for _ in range(3):
        await contracts.get(sample.key)
        await contracts.settled()
    first, second = [await contracts.get(sample.key) for _ in range(2)]
    assert (first == second, first.abi is second.abi) == (True, False)
    assert len(contracts._near) == 0
    await store.close()


def test_the_least_recently_used_copy_makes_room() -> None:
    tier = NearTier(NearSize(records=2, size=100))
    tier.alive(float("inf"))
    for key in ("a", "b"):
        tier.keep(key, "-", key, size=10, seconds=60)
    assert tier.get("a", "-") == "a"
    tier.keep("c", "-", "c", size=10, seconds=60)
    assert [tier.get(key, "-") for key in "abc"] == ["a", None, "c"]
    tier.keep("d", "-", "d", size=95, seconds=60)
    assert [tier.get(key, "-") for key in "acd"] == [None, None, "d"]
    tier.keep("e", "-", "e", size=101, seconds=60)
    assert (tier.get("e", "-"), tier.get("d", "-")) == (None, "d")


def test_a_copy_is_its_owners_and_ends_with_its_entry() -> None:
    now = 0.0
    tier = NearTier(NearSize(), clock=lambda: now)
    tier.alive(100.0)
    tier.keep("a", "me", "mine", size=1, seconds=5)
    assert (tier.get("a", "you"), tier.get("a", "me")) == (None, "mine")
    now = 5.0
    assert tier.get("a", "me") is None
