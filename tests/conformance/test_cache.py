"""What every cache does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.errors import UnsupportedError
from neo_polystore.ids import uuid7
from neo_polystore.ports.cache import Cache
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["redis", "redis cluster"])
async def cache(
    request: pytest.FixtureRequest, redis_config: RedisConfig, cluster_config: RedisConfig
) -> AsyncIterator[Cache]:
    store = RedisStore(redis_config if request.param == "redis" else cluster_config)
    await store.connect()
    yield store.port("cache")
    await store.close()


@pytest.fixture
def key() -> str:
    return f"test:{uuid4().hex}"


async def leased(cache: Cache, key: str) -> str:
    value, lease = await cache.lease(key)
    assert value is None
    assert lease
    return lease


async def test_an_unknown_key_is_a_miss(cache: Cache, key: str) -> None:
    assert await cache.get(key) is None


@pytest.mark.parametrize("value", [b"", b"\x00\xff", b"x" * 1_000_000])
async def test_a_value_is_read_back_byte_for_byte(cache: Cache, key: str, value: bytes) -> None:
    await cache.set(key, value, ttl=60)
    assert await cache.get(key) == value
    assert await cache.lease(key) == (value, "")


async def test_a_lease_alone_is_still_a_miss(cache: Cache, key: str) -> None:
    await leased(cache, key)
    assert await cache.get(key) is None


async def test_a_fill_under_its_lease_counts(cache: Cache, key: str) -> None:
    assert await cache.fill(key, b"new", lease=await leased(cache, key), ttl=60)
    assert await cache.get(key) == b"new"


async def test_a_lease_is_good_for_one_fill(cache: Cache, key: str) -> None:
    lease = await leased(cache, key)
    assert await cache.fill(key, b"one", lease=lease, ttl=60)
    assert not await cache.fill(key, b"two", lease=lease, ttl=60)
    assert await cache.get(key) == b"one"


@pytest.mark.parametrize("lease", ["", "nonsense"])
async def test_a_fill_without_a_lease_is_refused(cache: Cache, key: str, lease: str) -> None:
    await leased(cache, key)
    assert not await cache.fill(key, b"never", lease=lease, ttl=60)
    assert await cache.get(key) is None


async def test_a_fill_after_an_invalidation_is_refused(cache: Cache, key: str) -> None:
    lease = await leased(cache, key)
    await cache.invalidate([key])
    assert not await cache.fill(key, b"old", lease=lease, ttl=60)
    assert await cache.get(key) is None


async def test_a_fill_after_a_newer_lease_is_refused(cache: Cache, key: str) -> None:
    older, newer = await leased(cache, key), await leased(cache, key)
    assert not await cache.fill(key, b"older", lease=older, ttl=60)
    assert await cache.fill(key, b"newer", lease=newer, ttl=60)
    assert await cache.get(key) == b"newer"


async def test_a_lease_of_before_an_invalidation_is_worth_nothing_after_a_new_one(
    cache: Cache, key: str
) -> None:
    before = await leased(cache, key)
    await cache.invalidate([key])
    after = await leased(cache, key)
    assert not await cache.fill(key, b"old", lease=before, ttl=60)
    assert await cache.fill(key, b"new", lease=after, ttl=60)


async def test_loads_that_never_end_before_the_next_begins_still_fill(
    cache: Cache, key: str
) -> None:
    filled = []
    running = [await leased(cache, key)]
    for _ in range(10):  # two processes whose loads overlap without a gap
        value, lease = await cache.lease(key)
        if value is not None:
            break
        running.append(lease)
        filled.append(await cache.fill(key, b"value", lease=running.pop(0), ttl=60))
    assert any(filled)


async def test_leases_that_are_shared_end_with_an_invalidation(cache: Cache, key: str) -> None:
    leases = [await leased(cache, key) for _ in range(10)]
    await cache.invalidate([key])
    for lease in leases:
        assert not await cache.fill(key, b"old", lease=lease, ttl=60)


async def test_a_set_ends_running_leases(cache: Cache, key: str) -> None:
    lease = await leased(cache, key)
    await cache.set(key, b"set", ttl=60)
    assert not await cache.fill(key, b"old", lease=lease, ttl=60)
    assert await cache.get(key) == b"set"


async def test_many_keys_are_invalidated_in_one_call(cache: Cache, key: str) -> None:
    keys = [f"{key}:{number}" for number in range(2500)]
    some = keys[::25]
    await asyncio.gather(*(cache.set(each, b"v", ttl=60) for each in some))
    assert set(await asyncio.gather(*map(cache.get, some))) == {b"v"}
    await cache.invalidate(keys)
    assert set(await asyncio.gather(*map(cache.get, some))) == {None}


async def test_invalidating_nothing_and_the_unknown_is_fine(cache: Cache, key: str) -> None:
    await cache.invalidate([])
    await cache.invalidate([key, key])


async def test_a_value_is_gone_after_its_ttl(cache: Cache, key: str) -> None:
    await cache.set(key, b"short", ttl=0.02)
    async with asyncio.timeout(5):
        while await cache.get(key) is not None:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("name", ["a b", "{x}y", "{}", "a}b{", "emoji \U0001f600", "\x00", "%7B"])
async def test_hostile_keys_are_kept_apart(cache: Cache, key: str, name: str) -> None:
    mine, other = f"{key}:{name}", f"{key}:{name}:"
    lease = await leased(cache, mine)
    assert await cache.fill(mine, b"mine", lease=lease, ttl=60)
    assert await cache.get(other) is None
    await cache.invalidate([other])
    assert await cache.get(mine) == b"mine"


async def test_a_hundred_loaders_agree_on_one_value(cache: Cache, key: str) -> None:
    async def load(number: int) -> bytes | None:
        value, lease = await cache.lease(key)
        if value is None:
            await cache.fill(key, b"%d" % number, lease=lease, ttl=60)
        return await cache.get(key)

    values = set(await asyncio.gather(*map(load, range(100))))
    assert len(values - {None}) == 1


async def test_tenants_have_places_of_their_own(cache: Cache) -> None:
    places = {cache.place("wallets", "1:0xab", tenant=uuid7()).key for _ in range(2)}
    assert len(places) == 2


async def test_a_data_type_that_is_never_cached_has_no_place(cache: Cache) -> None:
    with pytest.raises(UnsupportedError, match="sealed"):
        cache.place("sealed", "x")
