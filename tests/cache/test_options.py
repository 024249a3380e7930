"""Early renewal, and the TTLs that the settings give to key families."""

from __future__ import annotations

import random
from typing import Any
from uuid import uuid4

import pytest

from neo_polystore.addresses import EmbeddedAddresses
from neo_polystore.errors import ConfigError
from neo_polystore.settings import Settings
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.wrappers.cached.data_types import cached
from tests.cache.primary import SharedPrimary, network


@pytest.mark.parametrize(("eagerness", "renewed"), [(1e9, 1), (0.0, 0)])
async def test_an_entry_near_its_end_is_loaded_again_in_the_background(
    redis_config: RedisConfig, eagerness: float, renewed: int
) -> None:
    store = RedisStore(redis_config)
    await store.connect()
    primary = SharedPrimary(store)
    port: Any = cached("networks", primary, store.port("cache"), budget=10)
    port._reading.loads._eagerness = eagerness
    port._reading.loads._chance = lambda: 0.5
    record = network(random.getrandbits(60), "a")
    await port.write([record])
    for _ in range(2):
        assert await port.get(record.key) == record
        await port.settled()
    assert (port.counts.hits, port.counts.renewed, primary.calls) == (1, renewed, 1 + renewed)
    assert await port.get(record.key) == record
    await store.close()


async def test_the_settings_give_a_family_its_ttl(settings: Settings) -> None:
    ttls = {"network": 7.0, "session": 600.0}
    chosen = settings.model_copy(
        update={"neo_cache_ttls": ttls, "neo_redis_namespace": f"{uuid4().hex}:"}
    )
    addresses = await EmbeddedAddresses.open(chosen)
    try:
        store = RedisStore(await addresses.config("redis"))
        await store.connect()
        cache: Any = store.port("cache")
        assert cache.place("networks", "1").ttl == 7.0
        assert cache.in_family("session", "x").ttl == 600.0
        assert cache.place("transactions", "1:0x").ttl == 60
        port: Any = cached("networks", SharedPrimary(store), cache, budget=10)
        record = network(random.getrandbits(60), "a")
        await port.write([record])
        await port.get(record.key)
        await port.settled()
        key = cache._stored(cache.place("networks", record.key).key)
        assert 0 < await store._client.run("test", "PTTL", key) <= 7_000
        await store.close()
    finally:
        await addresses.close()


def test_a_ttl_of_an_unknown_family_is_refused(redis_config: RedisConfig) -> None:
    with pytest.raises(ConfigError, match="no key family nowhere"):
        RedisStore(redis_config.model_copy(update={"ttls": {"nowhere": 1.0}}))
