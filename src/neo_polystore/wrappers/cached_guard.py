"""A cache that never fails its user: bounded in time, and never read where it may be stale."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from neo_polystore.errors import PolystoreError
from neo_polystore.ports.cache import Cache

T = TypeVar("T")

BUDGET = 0.25
"""Seconds that one call to a cache may take, where nothing else is said."""

_BATCH = 1000


@dataclass(slots=True)
class CacheCounts:
    """What happened since the start. `bypassed` reads did not ask the cache; `failures` are
    calls to it that failed or took too long; `uncertain` keys wait for their invalidation."""

    hits: int = 0
    misses: int = 0
    shared: int = 0
    bypassed: int = 0
    filled: int = 0
    refused: int = 0
    failures: int = 0
    uncertain: int = 0


class CacheGuard:
    """A Cache port behind a time limit, a pause after failures, and a list of uncertain keys.

    A key is *uncertain* from the moment its record was changed until the cache has confirmed
    the invalidation. Uncertain keys are not read from the cache, and their invalidation is
    tried again before anything else is asked of it. So this process never serves what it has
    itself overwritten, whether the cache was down meanwhile or not. Another process may, where
    the cache was down for the writer and kept its data: until the entry's TTL ends.

    `budget` is the seconds that one call may take; after a failure the cache is left alone for
    `pause` seconds. Beyond `most_uncertain` keys the list is dropped and the cache not read
    until every entry of that time has expired: `longest_fill` after the last such change, plus
    the TTL.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        budget: float = BUDGET,
        pause: float = 1.0,
        most_uncertain: int = 10_000,
        longest_fill: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.counts = CacheCounts()
        self._cache = cache
        self._budget = budget
        self._pause = pause
        self._most_uncertain = most_uncertain
        self._longest_fill = longest_fill
        self._clock = clock
        self._uncertain: dict[str, int] = {}
        self._changes = 0
        self._settling = False
        self._resting_until = -math.inf
        self._distrusted_until = -math.inf

    async def usable(self, key: str) -> bool:
        """Whether the cache may be asked for this key now."""
        if self._uncertain and not self._settling and not self._is_resting():
            self._settling = True
            try:
                await self._settle(list(self._uncertain))
            finally:
                self._settling = False
        return self._is_usable(key)

    async def get(self, key: str) -> bytes | None:
        """The cached value; None also where the cache may not be asked or fails."""
        return await self._call(self._cache.get(key)) if self._is_usable(key) else None

    async def lease(self, key: str) -> tuple[bytes | None, str]:
        """Value or lease; neither (an empty token) where the cache may not be asked or fails."""
        if not self._is_usable(key):
            return None, ""
        return await self._call(self._cache.lease(key)) or (None, "")

    async def fill(self, key: str, value: bytes, *, lease: str, ttl: float) -> bool:
        """Whether the value is in the cache, and no change has come since the lease."""
        if not lease or not self._is_usable(key):
            return False
        filled = await self._call(self._cache.fill(key, value, lease=lease, ttl=ttl)) or False
        if filled:
            self.counts.filled += 1
        else:
            self.counts.refused += 1
        return filled and key not in self._uncertain

    async def invalidate(self, keys: Iterable[str], *, ttl: float) -> None:
        """The records under these keys have changed; `ttl` is the longest that an entry lives.

        What has to be remembered is remembered before the first await, so that cancelling the
        caller loses nothing.
        """
        self._changes += 1
        changed = list(dict.fromkeys(keys))
        self._uncertain.update(dict.fromkeys(changed, self._changes))
        self.counts.uncertain = len(self._uncertain)
        await self._settle(changed)
        if len(self._uncertain) > self._most_uncertain:
            self._uncertain.clear()
            until = self._clock() + ttl + self._longest_fill
            self._distrusted_until = max(self._distrusted_until, until)
            self.counts.uncertain = 0
        elif self._uncertain:
            await self.usable("")  # the cache may be back: settle what earlier changes left

    async def _settle(self, keys: list[str]) -> None:
        """Invalidate uncertain keys, a batch at a time, until done or the cache fails."""
        for start in range(0, len(keys), _BATCH):
            if self._is_resting():
                break
            batch = {key: self._uncertain.get(key) for key in keys[start : start + _BATCH]}
            if await self._call(self._done(self._cache.invalidate(list(batch)))):
                for key, change in batch.items():
                    if self._uncertain.get(key) == change:  # not changed again meanwhile
                        self._uncertain.pop(key, None)
        self.counts.uncertain = len(self._uncertain)

    def _is_usable(self, key: str) -> bool:
        return (
            key not in self._uncertain
            and not self._is_resting()
            and self._clock() >= self._distrusted_until
        )

    @staticmethod
    async def _done(work: Awaitable[None]) -> bool:
        await work
        return True

    async def _call(self, work: Awaitable[T]) -> T | None:
        """The answer, or None and a pause where the cache fails or is slow."""
        try:
            async with asyncio.timeout(self._budget):
                return await work
        except (PolystoreError, TimeoutError):
            self.counts.failures += 1
            self._resting_until = self._clock() + self._pause
            return None

    def _is_resting(self) -> bool:
        return self._clock() < self._resting_until
