"""What is about to change of cached records: announced before, invalidated afterwards; or where the
cache could not be told, through the outbox to whoever can tell it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from neo_polystore.ports.cache import INVALIDATION_TOPIC, Place
from neo_polystore.ports.outbox import Draft, Outbox
from neo_polystore.wrappers.cached.guard import CacheGuard, Later

_PART: Final = 500


class Touched:
    """Keys of the cache, each with the guard of its data type."""

    def __init__(self) -> None:
        self._places: dict[CacheGuard, dict[str, float]] = {}
        self._change = f"{random.getrandbits(64):x}"
        self._told: dict[CacheGuard, str] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def add(self, guard: CacheGuard, places: Sequence[Place]) -> None:
        """These are about to change."""
        if places:
            kept = self._places.setdefault(guard, {})
            kept.update((place.key, place.ttl) for place in places)

    async def announce(self) -> None:
        """Tell the caches, right before the commit."""
        for guard, places in self._places.items():
            self._told[guard] = await guard.begin(places, change=self._change)

    @asynccontextmanager
    async def invalidated(self) -> AsyncIterator[None]:
        """Around the work and its commit: invalidates at the end, whatever came of it."""
        try:
            yield
        finally:
            for guard, places in self._places.items():
                told = self._told.get(guard, "")
                await guard.invalidate(places, ttl=max(places.values()), change=told)


class Changing:
    """Around a change of these places: at once, or with the unit of work that it belongs to."""

    __slots__ = ("_change", "_guard", "_keys", "_places", "_touched")

    def __init__(self, guard: CacheGuard, places: Sequence[Place], touched: Touched | None):
        self._guard = guard
        self._places = places
        self._touched = touched
        self._keys = [place.key for place in places]
        self._change = f"{random.getrandbits(64):x}"

    async def __aenter__(self) -> None:
        if self._touched is not None:
            self._touched.add(self._guard, self._places)
        elif self._places:
            try:
                self._change = await self._guard.begin(self._keys, change=self._change)
            except BaseException:
                await self._end()
                raise

    async def __aexit__(self, *_: object) -> None:
        if self._touched is None and self._places:
            await self._end()

    async def _end(self) -> None:
        longest = max(place.ttl for place in self._places)
        await self._guard.invalidate(self._keys, ttl=longest, change=self._change)


def publishing(outbox: Outbox) -> Later:
    """Publishes what is about to change, durably, before the change is made.

    The relay announces it to the cache as soon as it reaches that; then the keys stay empty for
    as long as a change may take, so that it does not matter whether it was committed before.
    """

    async def later(keys: list[str]) -> None:
        await outbox.publish(
            [
                Draft(INVALIDATION_TOPIC, part[0], {"keys": part})
                for part in (keys[at : at + _PART] for at in range(0, len(keys), _PART))
            ]
        )

    return later
