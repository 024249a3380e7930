"""A process of many readers who all miss the same key at once; each load is counted in Redis.

Its arguments: the Redis configuration as JSON, the key, how many readers. Starts to read when its
standard input says so, and prints how many got the record.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from neo_polystore.records.networks import Network
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.wrappers.cached.data_types import cached

LOAD_SECONDS = 0.1


class SlowPrimary:
    """One network, whose every load takes a while and is counted."""

    record = Network

    def __init__(self, store: RedisStore):
        self._client: Any = store._client

    async def get(self, key: str) -> Network:
        await self._client.run("test", "INCR", f"loads:{key}")
        await asyncio.sleep(LOAD_SECONDS)
        return Network(chain_id=int(key), name="cold", rpc_endpoint="http://localhost")


async def _main(config: str, key: str, readers: int) -> None:
    store = RedisStore(RedisConfig.model_validate_json(config))
    await store.connect()
    port = cached("networks", SlowPrimary(store), store.port("cache"), budget=10)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    found = await asyncio.gather(*(port.get(key) for _ in range(readers)))
    print(sum(record.name == "cold" for record in found), flush=True)
    await port.settled()
    await store.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
