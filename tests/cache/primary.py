"""A primary of networks that several processes share: their names, in Redis beside the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neo_polystore.errors import NotFoundError
from neo_polystore.records.networks import Network
from neo_polystore.records.results import Written
from neo_polystore.stores.redis.store import RedisStore


class SharedPrimary:
    """Networks by chain id; `calls` counts this process's reads."""

    record = Network

    def __init__(self, store: RedisStore):
        self.calls = 0
        self._client: Any = store._client

    async def get(self, key: str) -> Network:
        self.calls += 1
        name = await self._client.run("test", "GET", f"primary:{key}")
        if name is None:
            raise NotFoundError(key)
        return network(int(key), name.decode())

    async def write(self, records: Sequence[Network]) -> Written:
        for record in records:
            await self._client.run("test", "SET", f"primary:{record.key}", record.name)
        return Written(replaced=len(records))


def network(key: int, name: str) -> Network:
    return Network(chain_id=key, name=name, rpc_endpoint="http://localhost")
