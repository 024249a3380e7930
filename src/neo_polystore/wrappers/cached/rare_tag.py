"""The tag of a data type whose records are written once: told to the cache only if it is used.

A query that was cached under the tag has made it in the cache. So a writer who ends the tag learns
whether anybody uses it. If nobody does, he need not ask again for `QUIET` seconds, because readers
wait twice as long before they cache anything under a new tag: by then every writer asks again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from neo_polystore.coalesce import Coalescer
from neo_polystore.ports.cache import Place
from neo_polystore.wrappers.cached.guard import CacheGuard

QUIET: Final = 1.0
"""Seconds for which a writer may take an unused tag for unused."""
SETTLED: Final = 2 * QUIET
"""Seconds that a tag must be old before anything is cached under it. Writers count from before
their question, by a clock of their own, hence the factor."""


class RareTag:
    """The tag at one place of the cache. Writers who wait share one message."""

    def __init__(
        self, guard: CacheGuard, place: Place, *, clock: Callable[[], float] = time.monotonic
    ):
        self._guard = guard
        self._place = place
        self._clock = clock
        self._unused_until = -math.inf
        self._messages: Coalescer[None, None] = Coalescer(
            self._send, lanes=1, weigh=lambda _: 0, gather=True
        )

    def is_idle(self) -> bool:
        """Whether nobody can have cached anything that a change of now would end."""
        return self._clock() < self._unused_until

    async def end(self) -> None:
        """End what was cached under the tag before this was called."""
        await self._messages.call(None)

    async def _send(self, callers: list[None]) -> list[None]:
        if not self.is_idle():
            asked = self._clock()
            if not await self._guard.invalidate([self._place.key], ttl=self._place.ttl):
                self._unused_until = asked + QUIET
        return callers
