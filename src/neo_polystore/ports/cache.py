"""Cache: values that may vanish at any time and must never be stale after an invalidation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is cached, and for how many seconds."""

    key: str
    ttl: float


class Cache(Protocol):
    """Bytes by key, with the TTL of the key's family.

    A miss hands out a lease; a fill counts only while that lease is the newest and no
    invalidation has come between, so that a slow load never brings back an old value. Where
    misses come faster than loads end, later ones may share the newest lease. A lease ends by
    itself after a bounded time. A TTL is an upper bound: the cache may spread expiry times.
    """

    def place(self, data_type: str, key: str, *, tenant: UUID | None = None) -> Place:
        """Where a record belongs; no I/O. UnsupportedError where its data type is not cached."""

    async def get(self, key: str) -> bytes | None:
        """The cached value, or None."""

    async def lease(self, key: str) -> tuple[bytes | None, str]:
        """The cached value, or None with a lease token under which `fill` will be accepted."""

    async def fill(self, key: str, value: bytes, *, lease: str, ttl: float) -> bool:
        """Store the value for `ttl` seconds if the lease still holds; answers whether it did."""

    async def set(self, key: str, value: bytes, *, ttl: float) -> None:
        """Store the value for `ttl` seconds, whatever is there; running leases end."""

    async def invalidate(self, keys: Sequence[str]) -> None:
        """Remove values and end running leases; after this returns no old value is served."""
