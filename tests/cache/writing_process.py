"""A process that changes one network through its own cached port, and ends.

Its arguments: the Redis configuration as JSON, the chain id, and the new name.
"""

from __future__ import annotations

import asyncio
import sys

from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.wrappers.cached.data_types import cached
from tests.cache.primary import SharedPrimary, network


async def _main(config: str, key: str, name: str) -> None:
    store = RedisStore(RedisConfig.model_validate_json(config))
    await store.connect()
    port = cached("networks", SharedPrimary(store), store.port("cache"), budget=10)
    await port.write([network(int(key), name)])
    await store.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:4]))
