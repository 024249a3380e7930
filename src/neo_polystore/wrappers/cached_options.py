"""What all cached ports have in common: the cache, and how it is used."""

from __future__ import annotations

from dataclasses import dataclass

from neo_polystore.ports.cache import Cache
from neo_polystore.wrappers.cached_entry import LARGEST
from neo_polystore.wrappers.cached_guard import BUDGET, CacheGuard, Later
from neo_polystore.wrappers.cached_load import Loads
from neo_polystore.wrappers.cached_near import NearSize, NearTier
from neo_polystore.wrappers.cached_read import ReadThrough


@dataclass(frozen=True, slots=True)
class Caching:
    """`budget` is the seconds that one call to the cache may take, `largest` the bytes of the
    largest entry, `later` the outbox, `near` how much each data type keeps in this process."""

    cache: Cache
    budget: float = BUDGET
    largest: int = LARGEST
    later: Later | None = None
    near: NearSize | None = None

    def reading(self, data_type: str | None = None) -> ReadThrough:
        """A reader with counts of its own; of one data type, with copies in this process."""
        near = None
        if self.near is not None and data_type is not None:
            near = NearTier(self.near)
            self.cache.follow(data_type, near)
        guard = CacheGuard(self.cache, budget=self.budget, later=self.later, near=near)
        return ReadThrough(guard, Loads(guard, largest=self.largest))
