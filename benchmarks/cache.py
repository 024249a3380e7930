"""`cache`: reads from Redis and cold reads, 50 callers, and stale reads against two caches.

`read` compares facade reads, decoded and checked, with `redis.asyncio` GET call by call,
which decodes nothing; `local_read` those that the process's own memory answers. `write_...` is
what the cache adds to a write. `miss` reads records that nobody has cached; its reference is the
primary's read, by the same facade without its cache, and by an asyncpg pool. The peers get the
same records from the same server, and the same race: a record changes and is invalidated while it
is loaded.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import asyncpg
from redis.asyncio import Redis

from benchmarks.platform import embedded_platform
from benchmarks.routing import CHAIN, READ, prepared
from benchmarks.runner import Report
from neo_polystore import Polystore
from neo_polystore.records.networks import Network
from neo_polystore.records.transactions import Transaction
from neo_polystore.wrappers.cached.data_types import NearSize, cached

CALLERS: Final = 50
STORED: Final = 2_000
READS: Final = 10_000
WRITES: Final = 1_000
RACES: Final = 200

Read = Callable[[str], Awaitable[Any]]


async def run() -> Report:
    """Run the comparisons."""
    report = Report("cache")
    async with embedded_platform(
        ("networks", "transactions", "cache"), neo_cache_budget_ms=10_000
    ) as polystore:
        await polystore.networks.write(
            [Network(chain_id=CHAIN, name="bench", rpc_endpoint="https://rpc.example.org")]
        )
        records = prepared(STORED)
        await polystore.transactions.write(records)
        driver = _driver(polystore)
        try:
            await _cached_read(report, polystore, driver, records)
            await _local_read(report, polystore, driver, records)
            await _writes(report, polystore)
            await _misses(report, polystore, records)
            await _peers(report, polystore, records)
        finally:
            await driver.aclose()
    return report


def _driver(polystore: Polystore) -> Redis:
    config = _redis(polystore)
    return Redis(host=config.host, port=config.port, password=config.password.get_secret_value())


def _redis(polystore: Polystore) -> Any:
    store: Any = polystore.stores["redis"]
    return store._client.config


async def _rate(read: Read, keys: Sequence[str], *, reads: int = READS) -> float:
    """Reads per second of 50 callers."""
    numbers = iter(range(reads))

    async def caller() -> None:
        for number in numbers:
            await read(keys[number % len(keys)])

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return reads / (time.perf_counter() - started)


async def _cached_read(
    report: Report, polystore: Polystore, driver: Redis, records: Sequence[Transaction]
) -> None:
    port: Any = polystore.transactions
    keys = [record.key for record in records]
    stored = [polystore.cache.place("transactions", key).key for key in keys]
    hits = port.counts.hits
    await report.compare(
        "cached_read",
        ours=lambda: _rate(port.get, keys),
        reference=lambda: _rate(driver.get, stored),
        reference_is="redis.asyncio, GET call by call, undecoded",
        unit="reads/s",
    )
    report.figures["share of hits, percent"] = (port.counts.hits - hits) / (6 * READS) * 100


async def _local_read(
    report: Report, polystore: Polystore, driver: Redis, records: Sequence[Transaction]
) -> None:
    """Reads that the process's own memory answers, once every record has been read twice."""
    facade: Any = polystore.transactions
    port = cached("transactions", facade.primary, polystore.cache, budget=10, near=NearSize())
    keys = [record.key for record in records]
    stored = [polystore.cache.place("transactions", key).key for key in keys]
    while len(port._near) < len(keys):
        await _rate(port.get, keys, reads=len(keys))
        await asyncio.sleep(0.01)
    await report.compare(
        "local_read",
        ours=lambda: _rate(port.get, keys, reads=20 * READS),
        reference=lambda: _rate(driver.get, stored),
        reference_is="redis.asyncio, GET call by call, undecoded",
        unit="reads/s",
    )


async def _writes(report: Report, polystore: Polystore) -> None:
    """CPU time of this process per write of one record, 50 callers, cached against bare."""
    chains = itertools.count(10**6)

    def network() -> Network:
        chain = next(chains)
        return Network(chain_id=chain, name=f"bench {chain}", rpc_endpoint="https://example.org")

    async def cost(port: Any, make: Callable[[], Any]) -> float:
        records = iter([make() for _ in range(WRITES)])

        async def caller() -> None:
            for record in records:
                await port.write([record])

        started = time.process_time()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return (time.process_time() - started) / WRITES * 1e6

    sides: tuple[tuple[str, Any, Callable[[], Any]], ...] = (
        ("write_transactions", polystore.transactions, lambda: prepared(1)[0]),
        ("write_networks", polystore.networks, network),
    )
    for name, port, make in sides:
        await report.compare(
            name,
            ours=lambda port=port, make=make: cost(port, make),  # type: ignore[misc]
            reference=lambda port=port, make=make: cost(port.primary, make),  # type: ignore[misc]
            reference_is="the facade without its cache, CPU time",
            unit="µs per write",
            lower_is_better=True,
        )


async def _misses(report: Report, polystore: Polystore, records: Sequence[Transaction]) -> None:
    port: Any = polystore.transactions
    config: Any = polystore.stores["postgres"]
    keys = [record.key for record in records]
    places = [polystore.cache.place("transactions", key).key for key in keys]
    pool = await asyncpg.create_pool(**config.config.connect_arguments(), min_size=20, max_size=20)

    async def cold() -> float:
        await port.settled()
        await polystore.cache.invalidate(places)
        rate = await _rate(port.get, keys, reads=len(keys))
        return 1e6 / rate

    async def uncached() -> float:
        return 1e6 / await _rate(port.primary.get, keys, reads=len(keys))

    async def pooled(key: str) -> None:
        async with pool.acquire() as connection:
            await connection.fetchrow(READ, CHAIN, key.partition(":")[2])

    async def bare() -> float:
        return 1e6 / await _rate(pooled, keys, reads=len(keys))

    sides = (
        ("miss", uncached, "the facade without its cache"),
        ("miss_driver", bare, "an asyncpg pool of 20"),
    )
    for name, reference, what in sides:
        await report.compare(
            name, ours=cold, reference=reference, reference_is=what, unit="µs per read",
            lower_is_better=True,
        )  # fmt: skip
    await pool.close()


async def _peers(report: Report, polystore: Polystore, records: Sequence[Transaction]) -> None:
    from aiocache import RedisCache
    from aiocache.serializers import PickleSerializer
    from cashews import Cache

    config = _redis(polystore)
    password = config.password.get_secret_value()
    cashews = Cache()
    cashews.setup(f"redis://:{password}@{config.host}:{config.port}/5")
    aio = RedisCache(
        endpoint=config.host, port=config.port, password=password, db=6,
        serializer=PickleSerializer(), pool_max_size=CALLERS,
    )  # fmt: skip
    port: Any = polystore.transactions
    by_key = {record.key: record for record in records}
    keys = list(by_key)

    @cashews(ttl="5m", key="{key}")  # type: ignore[untyped-decorator,unused-ignore]
    async def from_cashews(key: str) -> Transaction:
        return by_key[key]

    async def from_aiocache(key: str) -> Transaction:
        found: Transaction | None = await aio.get(key)
        if found is None:
            found = by_key[key]
            await aio.set(key, found, ttl=300)
        return found

    peers: tuple[tuple[str, Read], ...] = (("cashews", from_cashews), ("aiocache", from_aiocache))
    for name, read in peers:
        await report.compare(
            f"read_{name}",
            ours=lambda: _rate(port.get, keys),
            reference=lambda read=read: _rate(read, keys, reads=READS // 4),  # type: ignore[misc]
            reference_is=f"{name} on the same server",
            unit="reads/s",
        )
    await _stale(report, polystore, cashews, aio)
    await cashews.close()
    await aio.close()


async def _stale(report: Report, polystore: Polystore, cashews: Any, aio: Any) -> None:
    """Old values read after an invalidation that came during a load."""
    stored: dict[str, int] = {}

    async def load(key: str) -> int:
        version = stored[key]
        await asyncio.sleep(0.002)
        return version

    class Slow:
        record = Network

        async def get(self, key: str) -> Network:
            return Network(chain_id=int(key), name=str(await load(key)), rpc_endpoint="x")

        async def write(self, records: Sequence[Network]) -> Any:
            stored.update((record.key, int(record.name)) for record in records)

    ours = cached("networks", Slow(), polystore.cache, budget=10)

    @cashews(ttl="5m", key="race:{key}")  # type: ignore[untyped-decorator,unused-ignore]
    async def from_cashews(key: str) -> int:
        return await load(key)

    async def by_cashews(key: str) -> int:
        return int(await from_cashews(key))

    async def by_aiocache(key: str) -> int:
        found = await aio.get(f"race:{key}")
        if found is None:
            found = await load(key)
            await aio.set(f"race:{key}", found, ttl=300)
        return int(found)

    async def by_us(key: str) -> int:
        return int((await ours.get(key)).name)

    async def write_ours(key: str) -> None:
        await ours.write([Network(chain_id=int(key), name="2", rpc_endpoint="x")])

    async def write_cashews(key: str) -> None:
        stored[key] = 2
        await cashews.delete(f"race:{key}")

    async def write_aiocache(key: str) -> None:
        stored[key] = 2
        await aio.delete(f"race:{key}")

    sides: dict[str, tuple[Callable[[str], Awaitable[int]], Read]] = {
        "ours": (by_us, write_ours),
        "cashews": (by_cashews, write_cashews),
        "aiocache": (by_aiocache, write_aiocache),
    }
    for name, (read, write) in sides.items():
        stale = 0
        for number in range(RACES):
            key = str(10**9 + number)
            stored[key] = 1
            loading = asyncio.ensure_future(read(key))
            await asyncio.sleep(0.001)
            await write(key)
            await loading
            stale += await read(key) != 2
        report.figures[f"stale reads in {RACES} races, {name}"] = stale
