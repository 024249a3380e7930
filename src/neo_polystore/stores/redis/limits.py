"""Rate limits: a fixed window, opened once and counted by a script on the server's clock."""

from __future__ import annotations

from neo_polystore.errors import UsageError
from neo_polystore.ports.limits import Decision, Limits
from neo_polystore.stores.redis.client import RedisClient, Script

_CHECK = Script("""
-- KEYS[1]; ARGV: increment, max_value, ttl in milliseconds.
-- Answers {new count, or -1 where it would pass max_value; count in force; milliseconds left}.
local count = tonumber(redis.call('GET', KEYS[1]) or '0')
local left = redis.call('PTTL', KEYS[1])
local window = tonumber(ARGV[3])
-- A counter without an expiry, or with a longer one than a window, would lock its client out.
if left == -1 or left > window then
  redis.call('PEXPIRE', KEYS[1], window)
  left = window
end
if count + tonumber(ARGV[1]) > tonumber(ARGV[2]) then
  return {-1, count, left}
end
count = redis.call('INCRBY', KEYS[1], ARGV[1])
if left < 0 then
  redis.call('PEXPIRE', KEYS[1], window)
  left = window
end
return {count, count, left}
""")

_LARGEST = 2**53 - 1
"""The largest whole number that Lua's arithmetic holds exactly."""
_LONGEST = 366 * 86400


class RedisLimits:
    """`ports.limits.Limits` on Redis, one key per client and endpoint."""

    def __init__(self, client: RedisClient):
        self._client = client

    async def check(
        self, client: str, endpoint: str, *, limit: int, window_seconds: int = 60, cost: int = 1
    ) -> Decision:
        """Admit or refuse; see `ports.limits`.

        Where a refused cost found no window open, `reset_seconds` is the length of one.
        """
        _positive("limit", limit, _LARGEST)
        _positive("window_seconds", window_seconds, _LONGEST)
        _positive("cost", cost, _LARGEST)
        keys = self._client.keys
        key = keys.stored(keys.family("rate_limit").key(client, endpoint))
        counted, used, left = await self._client.script(
            "limits.check", _CHECK, key, cost, limit, window_seconds * 1000
        )
        return Decision(
            allowed=counted >= 0,
            limit=limit,
            remaining=max(0, limit - used),
            reset_seconds=left / 1000 if left >= 0 else float(window_seconds),
        )


def _positive(name: str, value: int, largest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= largest:
        raise UsageError(f"{name} must be a whole number from 1 to {largest}, got {value!r}")


_: type[Limits] = RedisLimits
