"""Redis Cluster: three servers, each of which has a third of the keys and refuses the others."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.crc import key_slot

from neo_polystore.errors import ConfigError
from neo_polystore.ports.limits import ALGORITHMS, Check, Limit
from neo_polystore.records.networks import Network
from neo_polystore.stores.redis import diagnostics
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.wrappers.cached.data_types import Caching, NearSize, cached, queries
from neo_polystore.wrappers.cached.query import QueryCache, cached_query
from tests.cache.primary import SharedPrimary, network
from tests.redis_cluster import redis_cluster

BUDGET = 0.25
SLACK = 1.0
"""Seconds that a busy machine may add to any call."""


@asynccontextmanager
async def opened(config: RedisConfig) -> AsyncIterator[RedisStore]:
    store = RedisStore(config)
    await store.connect()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def config(cluster_config: RedisConfig) -> RedisConfig:
    return cluster_config.model_copy(update={"namespace": f"{uuid4().hex}:"})


@pytest_asyncio.fixture(loop_scope="session")
async def store(config: RedisConfig) -> AsyncIterator[RedisStore]:
    async with opened(config) as store:
        yield store


async def test_what_is_cached_is_spread_over_all_servers_and_read_back(store: RedisStore) -> None:
    port: Any = cached("networks", SharedPrimary(store), store.port("cache"), budget=10)
    records = [network(random.getrandbits(60), str(number)) for number in range(200)]
    await port.write(records)
    for _ in range(2):
        found = await asyncio.gather(*(port.get(record.key) for record in records))
        assert [each.name for each in found] == [record.name for record in records]
        await port.settled()
    assert (port.counts.hits, port.counts.misses, port.counts.failures) == (200, 200, 0)
    client: Any = store._client
    sizes = [await client.run("test", "DBSIZE", server=server) for server in client.servers]
    assert len(sizes) == 3
    assert min(sizes) > 30


async def test_a_change_ends_entries_and_queries_in_whatever_slots_they_are(
    store: RedisStore,
) -> None:
    cache = store.port("cache")
    primary = SharedPrimary(store)
    port: Any = cached("networks", primary, cache, budget=10)
    results = queries(Caching(cache, budget=10))
    record = network(random.getrandbits(60), "old")
    await port.write([record])

    @cached_query(tags=("networks",))
    async def name_of(source: QueryCache, number: int) -> str:
        return (await primary.get(record.key)).name

    slots = {key_slot(f"query:{number}".encode()) for number in range(30)}
    assert len(slots) > 20
    for _ in range(2):
        names = await asyncio.gather(*(name_of(results, number) for number in range(30)))
        assert set(names) == {"old"}
        await results._reading.loads.settled()
    assert results.counts.hits == 30
    await port.write([network(record.chain_id, "new")])
    names = await asyncio.gather(*(name_of(results, number) for number in range(30)))
    assert set(names) == {"new"}


async def test_scripts_come_back_to_every_server_that_forgot_them(store: RedisStore) -> None:
    cache, client = store.port("cache"), store._client
    keys = [uuid4().hex for _ in range(20)]
    for _ in range(2):
        for server in client.servers:
            await client.run("test", "SCRIPT FLUSH", server=server)
        found = await asyncio.gather(*map(cache.look, keys))
        assert all(each.lease or each.wait for each in found)
        await cache.invalidate(keys)
    limits = store.port("limits")
    for server in client.servers:
        await client.run("test", "SCRIPT FLUSH", server=server)
    decisions = await asyncio.gather(*(limits.check(key, "e", limit=2) for key in keys))
    assert {decision.remaining for decision in decisions} == {1}


async def test_all_limits_of_a_client_share_a_slot(store: RedisStore) -> None:
    checks = [Check("e", Limit(5, 60, algorithm)) for algorithm in ALGORITHMS]
    limits = store.port("limits")
    decisions = await limits.check_all("alice {x}", checks)
    assert [decision.remaining for decision in decisions] == [4] * 4
    names = [f"client-{number}" for number in range(60)]
    assert len({key_slot(name.encode()) for name in names}) > 50
    answers = await asyncio.gather(*(limits.check_all(name, checks) for name in names))
    assert {decision.remaining for answer in answers for decision in answer} == {4}


async def test_a_copy_in_memory_ends_whichever_server_has_the_record(
    store: RedisStore, config: RedisConfig
) -> None:
    here: Any = cached(
        "networks", SharedPrimary(store), store.port("cache"), budget=10, near=NearSize()
    )
    node = store._client.driver.get_node_from_key
    records, servers = list[Network](), set[str]()
    while len(records) < 12 or len(servers) < 3:
        records.append(network(random.getrandbits(60), "old"))
        servers.add(node(f"{config.namespace}network:{records[-1].key}").name)
    async with opened(config) as another, asyncio.timeout(30):
        there: Any = cached("networks", SharedPrimary(another), another.port("cache"), budget=10)
        await there.write(records)
        while len(here._near) < len(records):
            await asyncio.gather(*(here.get(record.key) for record in records))
            await here.settled()
        for record in records:
            assert (await here.get(record.key)).name == "old"
            assert here.counts.local
            await there.write([network(record.chain_id, "new")])
            written = time.monotonic()
            while (await here.get(record.key)).name == "old":
                assert time.monotonic() - written < 1.0
                await asyncio.sleep(0)


async def test_a_slot_that_moves_takes_its_entries_along_and_leaves_nothing_old(
    store: RedisStore, config: RedisConfig
) -> None:
    primary = SharedPrimary(store)
    port: Any = cached("networks", primary, store.port("cache"), budget=10)
    record = network(random.getrandbits(60), "old")
    await port.write([record])
    await port.get(record.key)
    await port.settled()
    stored = f"{config.namespace}network:{record.key}"
    client = store._client
    async with opened(config) as other:
        writer: Any = cached("networks", SharedPrimary(other), other.port("cache"), budget=10)
        source = client.driver.get_node_from_key(stored)
        target = next(each for each in client.servers if each.name != source.name)
        await client.run("test", "SCRIPT FLUSH", server=target)
        try:
            await _move(client, key_slot(stored.encode()), source, target)
            assert (await port.get(record.key)).name == "old"
            await writer.write([network(record.chain_id, "new")])
            assert (await port.get(record.key)).name == "new"
            assert (await writer.get(record.key)).name == "new"
            assert port.counts.failures == writer.counts.failures == 0
        finally:
            await _move(client, key_slot(stored.encode()), target, source)


async def _move(client: Any, slot: int, source: Any, target: Any) -> None:
    """Move a slot with its keys, as an operator does."""
    names = [await client.run("test", "CLUSTER MYID", server=each) for each in (source, target)]

    async def set_slot(server: Any, *words: Any) -> None:
        plain: Any = Redis(host=server.host, port=server.port)
        await plain.execute_command("CLUSTER", "SETSLOT", slot, *words)
        await plain.aclose()

    await set_slot(target, "IMPORTING", names[0])
    await set_slot(source, "MIGRATING", names[1])
    plain: Any = Redis(host=source.host, port=source.port)
    while keys := await plain.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
        await plain.execute_command("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
    await plain.aclose()
    for server in (target, source):
        await set_slot(server, "NODE", names[1])


async def test_sessions_that_are_tagged_by_their_user_end_with_him(store: RedisStore) -> None:
    """Entry and tag are in different slots, and ended together."""
    cache = store.port("cache")
    entry, tag = cache.in_family("session", "s1").key, cache.in_family("tag", "", "g1").key
    found = await cache.look(entry, tags=[tag])
    assert found.lease
    assert all(found.versions)
    assert await cache.fill(entry, b"x", lease=found.lease, ttl=60)
    again = await cache.look(entry, tags=[tag])
    assert (again.value, again.versions) == (b"x", found.versions)
    await cache.begin_change([tag, entry], change="c")
    assert (await cache.look(entry, tags=[tag])).versions == ("",)
    await cache.invalidate([tag, entry], change="c")
    after = await cache.look(entry, tags=[tag])
    assert after.value is None
    assert after.versions != found.versions


async def test_status_keys_and_flush_see_every_server(store: RedisStore) -> None:
    cache = store.port("cache")
    await asyncio.gather(*(cache.set(f"network:{n}", b"x" * 50, ttl=60) for n in range(40)))
    figures, _ = await diagnostics.status(store._client)
    assert len(figures) == 3
    assert all(each["used_memory"] > 0 for each in figures.values())
    sample = await diagnostics.families(store._client, budget=100_000)
    assert sample.complete
    assert {row.family: row.keys for row in sample.families}["network"] == 40
    assert await diagnostics.flush(store._client, "network", dry_run=True) == 40
    assert await diagnostics.flush(store._client, "network", dry_run=False) == 40
    assert await diagnostics.flush(store._client, "network", dry_run=True) == 0
    health = await store.health()
    assert (health.status, health.facts["servers"]) == ("healthy", 3)


async def test_a_cluster_that_was_not_configured_is_refused_with_the_reason(
    config: RedisConfig,
) -> None:
    with pytest.raises(ConfigError, match="REDIS_CLUSTER"):
        await RedisStore(config.model_copy(update={"cluster": False})).connect()


async def test_a_server_that_is_none_of_a_cluster_is_refused_with_the_reason(
    redis_config: RedisConfig,
) -> None:
    with pytest.raises(ConfigError, match="REDIS_CLUSTER"):
        await RedisStore(redis_config.model_copy(update={"cluster": True})).connect()


@pytest.mark.long
async def test_nothing_old_is_read_after_a_replica_has_taken_over(tmp_path: Path) -> None:
    """The first server dies under load, its replica takes over with what it had got."""
    async with redis_cluster(tmp_path, replicas=1) as servers:
        config = RedisConfig(port=servers[1].port, cluster=True, command_timeout=1.0)
        async with opened(config) as first, opened(config) as second:
            primary, outbox = MemoryPrimary(), list[list[str]]()

            async def later(keys: list[str]) -> None:
                outbox.append(keys)

            ports: list[Any] = [
                cached("networks", primary, each.port("cache"), budget=BUDGET, later=later)
                for each in (first, second)
            ]
            chance = random.Random(3)
            keys = [chance.getrandbits(60) for _ in range(60)]
            await ports[0].write([network(key, "0") for key in keys])
            written, old, stop = dict.fromkeys(keys, 0), list[str](), asyncio.Event()
            slowest, announced = 0.0, [0]

            async def write(port: Any, mine: list[int]) -> None:
                while not stop.is_set():
                    key, deferred = chance.choice(mine), port.counts.deferred
                    version = int(primary.stored[str(key)].name) + 1
                    await port.write([network(key, str(version))])
                    if port.counts.deferred == deferred:  # otherwise the relay has to tell
                        written[key] = version
                        announced[0] += 1
                    await asyncio.sleep(0.005)

            async def read(port: Any) -> None:
                nonlocal slowest
                while not stop.is_set():
                    key = chance.choice(keys)
                    least, started = written[key], time.perf_counter()
                    seen = int((await port.get(str(key))).name)
                    slowest = max(slowest, time.perf_counter() - started)
                    if seen < least:
                        old.append(f"{seen} after {least}")
                    await asyncio.sleep(0.001)

            work = [asyncio.create_task(write(ports[n], keys[n::2])) for n in range(2)]
            work += [asyncio.create_task(read(ports[n % 2])) for n in range(4)]
            await asyncio.sleep(1.0)
            await servers[0].stop()
            async with asyncio.timeout(60):
                while any(server.port == servers[0].port for server in first._client.servers):
                    await asyncio.sleep(0.05)
                hits, before = [port.counts.hits + 100 for port in ports], announced[0]
                while announced[0] == before or any(
                    port.counts.hits < hit for port, hit in zip(ports, hits, strict=True)
                ):
                    await asyncio.sleep(0.05)
            stop.set()
            await asyncio.gather(*work)
            assert not old
            assert len(first._client.servers) == 3
            assert slowest < 2 * BUDGET + SLACK
            for keys_told in outbox:
                await first.port("cache").begin_change(keys_told, change="relayed")
            for port, key in itertools.product(ports, keys):
                assert (await port.get(str(key))).name == primary.stored[str(key)].name


class MemoryPrimary:
    """Networks in a dict."""

    record = Network

    def __init__(self) -> None:
        self.stored: dict[str, Network] = {}

    async def get(self, key: str) -> Network:
        await asyncio.sleep(0)
        return self.stored[key]

    async def write(self, records: Any) -> Any:
        await asyncio.sleep(0)
        self.stored |= {record.key: record for record in records}
