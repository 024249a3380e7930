"""A cache that never fails its user: bounded in time, and never read where it may be stale."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from neo_polystore.errors import PolystoreError
from neo_polystore.ports.cache import Cache, Look
from neo_polystore.wrappers.cached.counts import CacheCounts
from neo_polystore.wrappers.cached.near import NearTier

BUDGET = 0.25
"""Seconds that one call to a cache may take, where nothing else is said."""

_BATCH = 1000
NOTHING = Look(None)

_log = logging.getLogger(__name__)

Later = Callable[[list[str]], Awaitable[None]]
"""Makes durable that these keys are about to change, for whoever reaches the cache later."""


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
    the TTL. `clock` is monotonic. Copies in `near` end with what is changed here.
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
        near: NearTier | None = None,
    ):
        self.near = near
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
        self._behind = False  # some uncertain keys' invalidation has failed and is not under way
        self._settling = False
        self._closed_until = -math.inf
        self._resting_until = -math.inf

    def epoch(self, key: str) -> str:
        """The cache's."""
        return self._cache.epoch(key)

    def open_to(self, key: str) -> bool:
        """Whether the cache may be asked for this key, and nothing has to be done before."""
        return not self._behind and self._is_usable(key)

    async def usable(self, key: str) -> bool:
        """Whether the cache may be asked for this key, after trying what is to be done before."""
        if self._behind:
            await self._catch_up()
        return self._is_usable(key)

    async def get(self, key: str) -> bytes | None:
        """The cached value; None also where the cache may not be asked or fails."""
        if not self._is_usable(key):
            return None
        try:
            async with asyncio.timeout(self.budget):
                return await self._cache.get(key)
        except (PolystoreError, TimeoutError):
            self._failed()
            return None

    async def look(
        self, key: str, *, tags: Sequence[str] = (), instead_of: bytes = b"", settled: float = 0.0
    ) -> Look:
        """As `Cache.look`; neither value nor lease where the cache may not be asked or fails."""
        if not (self._is_usable(key) and (not tags or all(map(self._is_usable, tags)))):
            return NOTHING
        try:
            found = await self._cache.look(
                key, tags=tags, instead_of=instead_of, settled=settled, deadline=self._deadline()
            )
        except PolystoreError:
            self._failed()
            return NOTHING
        return NOTHING if key in self._uncertain else found

    async def fill(self, key: str, value: bytes, *, lease: str, ttl: float) -> bool:
        """Whether the value is in the cache, and no change has come since the lease."""
        filled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def done(answer: bool) -> None:
            if not filled.done():
                filled.set_result(answer)

        self.begin_fill(key, value, lease=lease, ttl=ttl, done=done)
        return await filled

    def begin_fill(
        self, key: str, value: bytes, *, lease: str, ttl: float, done: Callable[[bool], None]
    ) -> None:
        """Begin to fill; `done` is told what `fill` answers."""
        if not lease or not self._is_usable(key):
            done(False)
            return
        try:
            filling = asyncio.ensure_future(
                self._cache.fill(key, value, lease=lease, ttl=ttl, deadline=self._deadline())
            )
        except PolystoreError:
            self._failed()
            done(False)
            return
        filling.add_done_callback(lambda filled: done(self._filled(key, filled)))

    def _filled(self, key: str, filling: asyncio.Future[bool]) -> bool:
        try:
            filled = filling.result()
        except asyncio.CancelledError:
            return False
        except PolystoreError:
            self._failed()
            filled = False
        if filled:
            self.counts.filled += 1
        else:
            self.counts.refused += 1
        return filled and key not in self._uncertain

    async def renew(self, key: str, value: bytes, *, seen: bytes, ttl: float) -> None:
        """Replace the value that was seen, where nothing has changed since."""
        if not self._is_usable(key):
            return
        try:
            async with asyncio.timeout(self.budget):
                renewed = await self._cache.renew(key, value, seen=seen, ttl=ttl)
        except (PolystoreError, TimeoutError):
            self._failed()
            return
        if renewed:
            self.counts.renewed += 1
        else:
            self.counts.refused += 1

    async def give_up(self, key: str) -> None:
        """End the lease of a load that has failed; other loads of the key then fill nothing."""
        if self._is_usable(key):
            await self._invalidate([key], "")

    async def begin(self, keys: Iterable[str], *, change: str) -> str:
        """Announce a change of these keys; answers the id to be given to `invalidate` afterwards,
        an empty one where the cache could not be told.

        Then `later` is, which must be durable before the change is. Where neither can, other
        processes may read the old value until it expires. So the cache is told even during the
        pause after a failure: others may reach it.
        """
        changed, told = list(dict.fromkeys(keys)), change
        if self.near is not None:
            self.near.evict(changed)
        for start in range(0, len(changed), _BATCH):
            batch = changed[start : start + _BATCH]
            if await self._announced(batch, change):
                continue
            told = ""
            if self._later is not None:
                try:
                    await self._later(batch)
                    self.counts.deferred += len(batch)
                except PolystoreError:
                    self.counts.failures += 1
        return told

    async def invalidate(self, keys: Iterable[str], *, ttl: float, change: str = "") -> bool:
        """The records under these keys have changed; `ttl` is the longest that an entry lives.
        Whether there may have been anything under them.

        What has to be remembered is remembered before the first await, so that cancelling the
        caller loses nothing.
        """
        self._changes += 1
        changed = list(dict.fromkeys(keys))
        if self.near is not None:
            self.near.evict(changed)
        self._uncertain.update(dict.fromkeys(changed, self._changes))
        self.counts.uncertain = len(self._uncertain)
        held = await self._settle(changed, change)
        if len(self._uncertain) > self._most_uncertain:
            self._uncertain.clear()
            self._behind = False
            until = self._clock() + ttl + self._longest_fill
            self._closed_until = max(self._closed_until, until)
            self.counts.uncertain = 0
        elif self._behind:
            await self._catch_up()
        return held

    async def _catch_up(self) -> None:
        """The cache may be back: invalidate what earlier changes have left."""
        if self._settling or self._is_resting():
            return
        self._settling, self._behind = True, False
        try:
            await self._settle(list(self._uncertain))
        finally:
            self._settling = False

    async def _announced(self, keys: list[str], change: str) -> bool:
        try:
            await self._cache.begin_change(keys, change=change, deadline=self._deadline())
        except PolystoreError:
            self._failed()
            return False
        return True

    async def _settle(self, keys: list[str], change: str = "") -> bool:
        """Invalidate uncertain keys, a batch at a time, until done or the cache fails. A change
        that it was told of is ended even during the pause after a failure."""
        held = done = False
        try:
            for start in range(0, len(keys), _BATCH):
                if not change and self._is_resting():
                    return True
                batch = keys if len(keys) <= _BATCH else keys[start : start + _BATCH]
                numbers = [self._uncertain.get(key) for key in batch]
                told = await self._invalidate(batch, change)
                if told is None:
                    return True
                held = held or told
                for key, number in zip(batch, numbers, strict=True):
                    if self._uncertain.get(key) == number:  # not changed again meanwhile
                        self._uncertain.pop(key, None)
            done = True
        finally:
            self._behind = self._behind or not done
            self.counts.uncertain = len(self._uncertain)
        return held

    async def _invalidate(self, keys: list[str], change: str) -> bool | None:
        """Whether there was anything; None where the cache failed."""
        try:
            return await self._cache.invalidate(keys, change=change, deadline=self._deadline())
        except PolystoreError:
            self._failed()
            return None

    def _is_usable(self, key: str) -> bool:
        return key not in self._uncertain and self._clock() >= self._closed_until

    def _failed(self) -> None:
        self.counts.failures += 1
        # once, twice, four times ... since the start: a cache that stays away fills no disk
        if self.counts.failures & (self.counts.failures - 1) == 0:
            _log.warning("cache failed", extra={"failures": self.counts.failures})
        self._resting_until = self._clock() + self._pause
        self._closed_until = max(self._closed_until, self._resting_until)

    def _is_resting(self) -> bool:
        return self._clock() < self._resting_until

    def _deadline(self) -> float:
        return time.monotonic() + self.budget
