"""Versions of what a service has measured: cached answers hold while theirs is in the cache."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from neo_polystore.coalesce import Coalescer
from neo_polystore.ports.cache import Cache
from neo_polystore.records.metric_query import EPOCH, LATENESS
from neo_polystore.records.metrics import service_id
from neo_polystore.wrappers.cached.guard import CacheGuard

FAMILY: Final = "metrics"

_TTL: Final = 86_400.0
_ROUNDS: Final = 4
"""How often a reader looks for a version that somebody else is about to make."""

_MICROSECOND: Final = timedelta(microseconds=1)


class MetricVersions:
    """A service's versions: random texts, one for its open ranges and one for its closed ones.

    `longest` is the longest that an answer lives in the cache, in seconds.
    """

    def __init__(
        self, cache: Cache, guard: CacheGuard, *, clock: Callable[[], datetime], longest: float
    ):
        self._cache = cache
        self._guard = guard
        self._clock = clock
        self._longest = longest
        self._changed: set[str] = set()
        self._making = asyncio.Lock()
        # callers weigh nothing: all who wait share one message, and nobody is refused
        self._messages: Coalescer[None, None] = Coalescer(self._send, lanes=1, weigh=lambda _: 0)
        self._key = lru_cache(maxsize=4096)(self._new_key)

    async def current(self, service: str, *, closed: bool) -> bytes | None:
        """The version there is, or a new one, with the epoch of its key, which need not be on the
        server that has the answers; None where the cache does not take part."""
        key = self._key(service, closed)
        version = await self._version(key)
        return None if version is None else self._guard.epoch(key).encode() + version

    async def _version(self, key: str) -> bytes | None:
        if key in self._changed:
            await self._messages.call(None)
        if not await self._guard.usable(key):
            return None
        for _ in range(_ROUNDS):
            found = await self._guard.look(key)
            if found.value is not None or not (found.lease or found.wait):
                return found.value
            async with self._making:
                if found.lease:
                    version = secrets.token_hex(8).encode()
                    filled = await self._guard.fill(key, version, lease=found.lease, ttl=_TTL)
                    return version if filled else None
            # somebody else makes it: look again, because it may have ended since he did
        return None

    async def end(self, services: Iterable[str], *, oldest: int) -> None:
        """End the versions that points of these services may have changed.

        `oldest` is the time of the oldest point in microseconds since the epoch: where it is
        recent, closed ranges stay as they are. Half of the lateness is left for clocks that
        differ, so what is recent for a writer is in no range that is closed for a reader.
        """
        recent = oldest >= (self._clock() - LATENESS / 2 - EPOCH) // _MICROSECOND
        for service in services:
            self._changed.add(self._key(service, False))
            if not recent:
                self._changed.add(self._key(service, True))
        await self._messages.call(None)

    async def _send(self, callers: list[None]) -> list[None]:
        """Tell the cache for all who wait. No await stands between taking the keys and the guard's
        note of them, so a key is always in one of both."""
        changed = list(self._changed)
        self._changed.clear()
        if changed:
            await self._guard.invalidate(changed, ttl=self._longest)
        return callers

    def _new_key(self, service: str, closed: bool) -> str:
        kind = "closed" if closed else "open"
        return self._cache.in_family(FAMILY, f"{kind}:{service_id(service)}").key
