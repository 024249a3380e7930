"""A cache that never fails its user: bounded in time, and never read where it may be stale."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from neo_polystore.errors import PolystoreError
from neo_polystore.ports.cache import Cache, Look

T = TypeVar("T")

BUDGET = 0.25
"""Seconds that one call to a cache may take, where nothing else is said."""

_BATCH = 1000
NOTHING = Look(None)

Later = Callable[[list[str]], Awaitable[None]]
"""Makes durable that these keys are about to change, for whoever reaches the cache later."""


@dataclass(slots=True)
class CacheCounts:
    """What happened since the start.

    `hits` came from the cache, `local` of this process's memory, `shared` from a load that
    another caller had begun, `misses` were loaded. `bypassed` reads did not use the cache.
    Of the loads, `filled` were stored; `refused` were not, because the record changed meanwhile:
    each is a stale value prevented; `uncacheable` ones must not be. `corrupt` and `outdated`
    entries were thrown away, `renewed` ones loaded ahead of their end. `waited` reads waited for
    another process's load. `failures` are calls that failed or took too long; `uncertain` keys
    wait for their invalidation; `deferred` keys went into the outbox.
    """

    hits: int = 0
    misses: int = 0
    shared: int = 0
    bypassed: int = 0
    filled: int = 0
    refused: int = 0
    failures: int = 0
    uncertain: int = 0
    local: int = 0
    waited: int = 0
    renewed: int = 0
    corrupt: int = 0
    outdated: int = 0
    uncacheable: int = 0
    deferred: int = 0


class CacheGuard:
    """A Cache port behind a time limit, a pause after failures, and a list of uncertain keys.

    A key is *uncertain* from the moment its record was changed until the cache has confirmed
    the invalidation. Uncertain keys are not read from the cache, and their invalidation is
    tried again before anything else is asked of it. So this process never serves what it has
    itself overwritten, whether the cache was down meanwhile or not. For other processes the
    change is announced before it is made: to the cache, or where that fails to `later`.

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
        later: Later | None = None,
    ):
        self.counts = CacheCounts()
        self.budget = budget
        self._cache = cache
        self._pause = pause
        self._most_uncertain = most_uncertain
        self._longest_fill = longest_fill
        self._clock = clock
        self._later = later
        self._uncertain: dict[str, int] = {}
        self._changes = 0
        self._settling = False
        self._resting_until = -math.inf
        self._distrusted_until = -math.inf

    @property
    def epoch(self) -> str:
        """The cache's."""
        return self._cache.epoch

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

    async def look(self, key: str, *, tags: Sequence[str] = (), instead_of: bytes = b"") -> Look:
        """As `Cache.look`; neither value nor lease where the cache may not be asked or fails."""
        if not (self._is_usable(key) and (not tags or all(map(self._is_usable, tags)))):
            return NOTHING
        found = await self._call(self._cache.look(key, tags=tags, instead_of=instead_of))
        return found if found is not None and key not in self._uncertain else NOTHING

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

    async def renew(self, key: str, value: bytes, *, seen: bytes, ttl: float) -> None:
        """Replace the value that was seen, where nothing has changed since."""
        if not self._is_usable(key):
            return
        if await self._call(self._cache.renew(key, value, seen=seen, ttl=ttl)):
            self.counts.renewed += 1
        else:
            self.counts.refused += 1

    async def give_up(self, key: str) -> None:
        """End the lease of a load that has failed; other loads of the key then fill nothing."""
        if self._is_usable(key):
            await self._call(self._done(self._cache.invalidate([key])))

    async def begin(self, keys: Iterable[str], *, change: str) -> None:
        """Announce a change of these keys, under an id that is given to `invalidate` afterwards.

        Where the cache cannot be told, `later` is, which must be durable before the change is.
        Where neither can, other processes may read the old value until it expires.
        """
        changed = list(dict.fromkeys(keys))
        for start in range(0, len(changed), _BATCH):
            batch = changed[start : start + _BATCH]
            told = not self._is_resting() and await self._call(
                self._done(self._cache.begin_change(batch, change=change))
            )
            if not told and self._later is not None:
                try:
                    await self._later(batch)
                    self.counts.deferred += len(batch)
                except PolystoreError:
                    self.counts.failures += 1

    async def invalidate(self, keys: Iterable[str], *, ttl: float, change: str = "") -> None:
        """The records under these keys have changed; `ttl` is the longest that an entry lives.

        What has to be remembered is remembered before the first await, so that cancelling the
        caller loses nothing.
        """
        self._changes += 1
        changed = list(dict.fromkeys(keys))
        self._uncertain.update(dict.fromkeys(changed, self._changes))
        self.counts.uncertain = len(self._uncertain)
        await self._settle(changed, change)
        if len(self._uncertain) > self._most_uncertain:
            self._uncertain.clear()
            until = self._clock() + ttl + self._longest_fill
            self._distrusted_until = max(self._distrusted_until, until)
            self.counts.uncertain = 0
        elif self._uncertain:
            await self.usable("")  # the cache may be back: settle what earlier changes left

    async def _settle(self, keys: list[str], change: str = "") -> None:
        """Invalidate uncertain keys, a batch at a time, until done or the cache fails."""
        for start in range(0, len(keys), _BATCH):
            if self._is_resting():
                break
            batch = {key: self._uncertain.get(key) for key in keys[start : start + _BATCH]}
            options = {"change": change} if change else {}
            if await self._call(self._done(self._cache.invalidate(list(batch), **options))):
                for key, number in batch.items():
                    if self._uncertain.get(key) == number:  # not changed again meanwhile
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
            async with asyncio.timeout(self.budget):
                return await work
        except (PolystoreError, TimeoutError):
            self.counts.failures += 1
            self._resting_until = self._clock() + self._pause
            return None

    def _is_resting(self) -> bool:
        return self._clock() < self._resting_until
