"""The cache: values as plain strings, and leases that stand in a value's place until it is there.

A key holds either a value (a string, byte for byte as given) or a lease (a hash with its token),
never both. So every operation touches one key only, which is what a cluster asks for; whatever
removes or sets a value ends the running lease with it; and any client can read the values.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence
from uuid import UUID

from neo_polystore.ports.cache import Cache, Place
from neo_polystore.stores.redis.client import RedisClient, Script
from neo_polystore.stores.redis.errors import translated

_LEASE = Script("""
-- KEYS[1]; ARGV: token, milliseconds. Answers {value} or {false, token of the lease}.
if redis.call('TYPE', KEYS[1]).ok == 'string' then
  return {redis.call('GET', KEYS[1])}
end
-- The newest lease wins. But where loads take longer than the pause between misses, each would
-- end the one before and nothing would ever be filled: from the fifth on they share a lease,
-- which is just as safe, because any invalidation ends it.
if redis.call('HINCRBY', KEYS[1], 'taken', 1) > 4 then
  return {false, redis.call('HGET', KEYS[1], 'token')}
end
redis.call('HSET', KEYS[1], 'token', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {false, ARGV[1]}
""")

_FILL = Script("""
-- KEYS[1]; ARGV: token, value, milliseconds. Answers 1 where the lease was still in force.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash'
   or redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")

_BATCH = 1000


class RedisCache:
    """`ports.cache.Cache` on Redis. `random_part` answers [0, 1) and spreads expiry times."""

    def __init__(self, client: RedisClient, *, random_part: Callable[[], float] = random.random):
        self._client = client
        self._random_part = random_part

    def place(self, data_type: str, key: str, *, tenant: UUID | None = None) -> Place:
        """Key and TTL of a record; see `keys.Keys.of_record`."""
        return Place(*self._client.keys.of_record(data_type, key, tenant))

    async def get(self, key: str) -> bytes | None:
        """The cached value, or None. (MGET is a GET that answers a lease with nothing.)"""
        [value] = await self._client.run("cache.get", "MGET", self._client.keys.stored(key))
        return value  # type: ignore[no-any-return]

    async def lease(self, key: str) -> tuple[bytes | None, str]:
        """The value and no token, or None and the token of a lease."""
        answer = await self._client.script(
            "cache.lease",
            _LEASE,
            self._client.keys.stored(key),
            secrets.token_hex(8),
            int(self._client.config.lease_seconds * 1000),
        )
        return (answer[0], "") if len(answer) == 1 else (None, answer[1].decode())

    async def fill(self, key: str, value: bytes, *, lease: str, ttl: float) -> bool:
        """Put the value in its lease's place, if that is still there."""
        stored = self._client.keys.stored(key)
        answer = await self._client.script(
            "cache.fill", _FILL, stored, lease, value, self._milliseconds(ttl)
        )
        return bool(answer)

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Store the value over whatever is there."""
        stored = self._client.keys.stored(key)
        await self._client.run("cache.set", "SET", stored, value, "PX", self._milliseconds(ttl))

    async def invalidate(self, keys: Sequence[str]) -> None:
        """Remove values and leases, a thousand to a round trip."""
        stored = [self._client.keys.stored(key) for key in keys]
        for start in range(0, len(stored), _BATCH):
            with translated("cache.invalidate"):
                # One command per key: a cluster refuses keys of different slots in one.
                pipeline = self._client.driver.pipeline(transaction=False)
                for key in stored[start : start + _BATCH]:
                    pipeline.unlink(key)
                await pipeline.execute()

    def _milliseconds(self, ttl: float) -> int:
        """The TTL less its random part, never below a millisecond."""
        jitter = self._client.config.ttl_jitter * self._random_part()
        return max(1, int(ttl * 1000 * (1 - jitter)))


_: type[Cache] = RedisCache
