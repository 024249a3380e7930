"""What a unit of work has changed of cached records, to be announced before its commit."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from neo_polystore.ports.cache import Place
from neo_polystore.wrappers.cached_guard import CacheGuard


class Touched:
    """Keys of the cache, each with the guard of its data type."""

    def __init__(self) -> None:
        self._places: dict[CacheGuard, dict[str, float]] = {}
        self._change = secrets.token_hex(8)

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
            await guard.begin(places, change=self._change)

    @asynccontextmanager
    async def invalidated(self) -> AsyncIterator[None]:
        """Around the work and its commit: invalidates at the end, whatever came of it."""
        try:
            yield
        finally:
            for guard, places in self._places.items():
                await guard.invalidate(places, ttl=max(places.values()), change=self._change)
