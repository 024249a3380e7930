"""Redis away, restarted and back: reads go on, writes go on, and nothing old is served after."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest_asyncio

from neo_polystore.ops.relay import Relay, RelayOptions
from neo_polystore.ops.sinks import CacheSink
from neo_polystore.ports.cache import INVALIDATION_TOPIC, Cache
from neo_polystore.records.networks import Network
from neo_polystore.records.results import Written
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.wrappers.cached.changes import publishing
from neo_polystore.wrappers.cached.data_types import cached
from tests.proxy import Proxy
from tests.redis_server import RedisServer

BUDGET = 0.25
SLACK = 1.0
"""Seconds that a busy machine may add to any call."""


class Primary:
    """Networks in a dict; `calls` counts reads."""

    record = Network

    def __init__(self) -> None:
        self.calls = 0
        self.stored: dict[str, Network] = {}

    async def get(self, key: str) -> Network:
        self.calls += 1
        await asyncio.sleep(0)
        return self.stored[key]

    async def write(self, records: Sequence[Network]) -> Written:
        await asyncio.sleep(0)
        self.stored |= {record.key: record for record in records}
        return Written(replaced=len(records))


def network(key: int, version: int) -> Network:
    return Network(chain_id=key, name=str(version), rpc_endpoint="http://localhost")


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[RedisServer]:
    options = ("--appendonly", "yes", "--appendfsync", "everysec")
    async with RedisServer(tmp_path, unused_tcp_port, *options) as server:
        yield server


async def opened(port: int) -> RedisStore:
    store = RedisStore(RedisConfig(port=port, command_timeout=1.0))
    await store.connect()
    return store


async def test_nothing_old_is_read_while_redis_is_killed_and_restarted_under_load(
    server: RedisServer,
) -> None:
    primary = Primary()
    stores = [await opened(server.port) for _ in range(3)]
    processes = [
        cached("networks", primary, store.port("cache"), budget=BUDGET) for store in stores
    ]
    chance = random.Random(7)
    keys = [chance.getrandbits(60) for _ in range(20)]
    written = dict.fromkeys(keys, 0)
    await processes[0].write([network(key, 0) for key in keys])
    old: list[str] = []
    slowest, stop = 0.0, asyncio.Event()

    async def write(process: Any, mine: list[int]) -> None:
        while not stop.is_set():
            key = chance.choice(mine)
            version = written[key] + 1
            await process.write([network(key, version)])
            written[key] = version
            await asyncio.sleep(chance.random() * 0.01)

    async def read() -> None:
        nonlocal slowest
        while not stop.is_set():
            key = chance.choice(keys)
            least, started = written[key], time.perf_counter()
            seen = int((await chance.choice(processes).get(str(key))).name)
            slowest = max(slowest, time.perf_counter() - started)
            if seen < least:
                old.append(f"{seen} after {least}")
            await asyncio.sleep(0)

    async with asyncio.timeout(120):
        work = [asyncio.create_task(write(processes[n], keys[n::3])) for n in range(3)]
        work += [asyncio.create_task(read()) for _ in range(6)]
        for _ in range(3):
            await asyncio.sleep(0.4)
            await server.stop()
            await asyncio.sleep(0.3)
            await server.start()
            hits = sum(process.counts.hits for process in processes)
            while sum(process.counts.hits for process in processes) < hits + 20:
                await asyncio.sleep(0.02)  # the cache fills itself again
        stop.set()
        await asyncio.gather(*work)
    assert not old
    assert sum(process.counts.bypassed for process in processes) > 0
    assert slowest < 2 * BUDGET + SLACK
    for store in stores:
        await store.close()


async def test_what_a_restart_brings_back_is_not_served(server: RedisServer) -> None:
    primary = Primary()
    store = await opened(server.port)
    here = cached("networks", primary, store.port("cache"), budget=10)
    await here.write([network(5, 1)])
    await here.get("5")
    await here.settled()
    client: Any = store._client
    assert await client.run("test", "WAIT", 0, 0) == 0
    await asyncio.sleep(1.2)  # until the append-only file has it: once a second
    primary.stored["5"] = network(5, 2)  # its invalidation is what the crash has lost
    await server.stop()
    await server.start()
    other = await opened(server.port)
    assert await other.port("cache").get("network:5") is not None
    there = cached("networks", primary, other.port("cache"), budget=10)
    assert (await there.get("5")).name == "2"
    assert there.counts.outdated == 1
    for each in (store, other):
        await each.close()


async def test_a_change_that_redis_was_not_told_of_is_delivered_by_the_relay(
    redis_config: RedisConfig, postgres: PostgresStore
) -> None:
    primary = Primary()
    config = redis_config.model_copy(update={"namespace": f"{uuid4().hex}:"})
    async with Proxy(config.host, config.port) as proxy:
        cut_off = RedisStore(config.model_copy(update={"port": proxy.port}))
        whole = RedisStore(config)
        for store in (cut_off, whole):
            await store.connect()
        caches = [cast(Cache, store.port("cache")) for store in (cut_off, whole)]
        later = publishing(postgres.outbox)
        writer = cached("networks", primary, caches[0], budget=10, later=later)
        reader = cached("networks", primary, caches[1], budget=10)
        await writer.write([network(6, 1)])
        for _ in range(2):
            assert (await reader.get("6")).name == "1"
            await reader.settled()
        proxy.cut()
        await writer.write([network(6, 2)])
        assert writer.counts.deferred == 2  # the record, and the tag of its data type
        assert (await writer.get("6")).name == "2"
        sink, stop = CacheSink(caches[1]), asyncio.Event()
        relay = Relay(
            postgres.feed,
            lambda topic: sink if topic == INVALIDATION_TOPIC else None,
            holder="test",
            options=RelayOptions(poll=0.02),
        )
        running = asyncio.create_task(relay.run_forever(stop))
        async with asyncio.timeout(20):
            while not relay.counts[INVALIDATION_TOPIC].delivered:
                await asyncio.sleep(0.01)
        assert (await reader.get("6")).name == "2"
        stop.set()
        await running
        for store in (cut_off, whole):
            await store.close()


async def test_writes_to_a_cache_that_hangs_are_announced_within_one_budget_each(
    server: RedisServer,
) -> None:
    primary, store, told = Primary(), await opened(server.port), list[list[str]]()

    async def later(keys: list[str]) -> None:
        told.append(keys)

    port: Any = cached("networks", primary, store.port("cache"), budget=BUDGET, later=later)
    await port.write([network(7, 0)])
    deferred = len(told)
    with server.frozen():
        for version in range(1, 4):
            started, failures = time.perf_counter(), port.counts.failures
            await port.write([network(7, version)])
            assert port.counts.failures == failures + 1  # one call that waited for its budget
            assert time.perf_counter() - started < BUDGET + SLACK
            assert len(told) == deferred + version  # in the pause after a failure, too
            assert (await port.get("7")).name == str(version)
        started = time.perf_counter()
        await asyncio.gather(*(port.write([network(key, 1)]) for key in range(100, 150)))
        assert time.perf_counter() - started < 2 * BUDGET + SLACK
    async with asyncio.timeout(20):
        while port.counts.uncertain:
            assert (await port.get("7")).name == "3"
            await asyncio.sleep(0.05)
    await store.close()
