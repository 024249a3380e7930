"""Corrupt bytes, large values and hostile keys: each by rule, none a crash."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.records.networks import Network
from neo_polystore.records.results import Written
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.wrappers.cached.data_types import cached
from neo_polystore.wrappers.cached.entry import Entry, encode


class Primary:
    """Answers the same network to every key; `calls` counts."""

    record = Network

    def __init__(self) -> None:
        self.calls = 0

    async def get(self, key: str) -> Network:
        self.calls += 1
        return Network(chain_id=77, name="n" * 90, rpc_endpoint="http://localhost")

    async def write(self, records: Sequence[Network]) -> Written:
        return Written(replaced=len(records))


@pytest_asyncio.fixture(loop_scope="session")
async def store(redis_config: RedisConfig) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_config.model_copy(update={"namespace": f"{uuid4().hex}:"}))
    await store.connect()
    yield store
    await store.close()


def damaged(payload: bytes) -> list[bytes]:
    """The entry with its end lost, a bit turned, its header lost, and no entry at all."""
    turned = bytearray(payload)
    turned[-3] ^= 1
    return [payload[:-5], bytes(turned), payload.partition(b"\n")[2], b"\xff\x00", b"\n", b"{}"]


@pytest.mark.parametrize("number", range(6))
async def test_corrupt_bytes_are_counted_and_replaced(store: RedisStore, number: int) -> None:
    primary, cache = Primary(), store.port("cache")
    port = cached("networks", primary, cache, budget=10)
    epoch = cache.epoch("network:77")
    good = encode(Entry(await primary.get("77")), model=Network, owner="-", epoch=epoch)
    assert good is not None
    await cache.set("network:77", damaged(good)[number], ttl=60)
    for _ in range(3):
        assert (await port.get("77")).name == "n" * 90
        await port.settled()
    assert (port.counts.corrupt, port.counts.hits, primary.calls) == (1, 2, 2)


async def test_what_is_larger_than_the_maximum_is_read_from_the_primary(store: RedisStore) -> None:
    primary = Primary()
    port = cached("networks", primary, store.port("cache"), budget=10, largest=100)
    for _ in range(2):
        assert (await port.get("77")).chain_id == 77
        await port.settled()
    assert (primary.calls, port.counts.uncacheable) == (2, 2)
    assert await store.port("cache").get("network:77") is None


@pytest.mark.parametrize("key", ["a b", "line\nbreak", "x" * 10_240, "\ud800", "{77}", ""])
async def test_hostile_keys_are_read_and_never_cached_as_another_record(
    store: RedisStore, key: str
) -> None:
    primary = Primary()
    port: Any = cached("networks", primary, store.port("cache"), budget=10)
    for _ in range(2):
        assert (await port.get(key)).chain_id == 77
        await port.settled()
    assert (primary.calls, port.counts.failures) == (2, 0)
    async with port.changing([key]):
        pass
