"""Reading through a cache: hit, or one load at a time that fills under a lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from neo_polystore.ports.cache import Place
from neo_polystore.records.base import Record
from neo_polystore.wrappers.cached_entry import Entry, decode, encode
from neo_polystore.wrappers.cached_guard import CacheGuard

R = TypeVar("R", bound=Record)

NEGATIVE_TTL = 5.0
"""Seconds for which the absence of a record is remembered."""

_ROUNDS = 4
"""How often a reader looks again, when changes keep ending the loads that he waits for."""


@dataclass(slots=True)
class _Load:
    """One read of the primary. `open` until its fill is sent; `payload` what the fill stored;
    `futile` where the record cannot be cached, so that waiting for another load is no use."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    open: bool = True
    payload: bytes | None = None
    futile: bool = False


@dataclass(frozen=True, slots=True)
class Wanted(Generic[R]):
    """What a reader asks for. `load` reads the primary (None: no such record); `cacheable` says
    whether an invalidation will find what was loaded."""

    place: Place
    owner: str
    model: type[R]
    load: Callable[[], Awaitable[R | None]]
    cacheable: Callable[[R | None], bool]

    def decode(self, payload: bytes | None) -> Entry[R] | None:
        """The cached entry, where there is one for this reader."""
        if payload is None:
            return None
        return decode(payload, model=self.model, owner=self.owner)

    def encode(self, entry: Entry[R]) -> bytes | None:
        """What to cache, if anything."""
        if not self.cacheable(entry.record):
            return None
        return encode(entry, model=self.model, owner=self.owner)


class ReadThrough:
    """The readers of one process. Every answer was true at some time after its reader asked."""

    def __init__(self, guard: CacheGuard):
        self.guard = guard
        self._loads: dict[tuple[str, str], _Load] = {}

    async def get(self, wanted: Wanted[R]) -> Entry[R]:
        """From the cache, from a load that somebody else has begun, or by a load of one's own.

        A load is shared only by those who came before its fill was sent, and only if the fill
        was accepted: the cache has then confirmed that between lease and fill, so at least until
        they came, nothing was invalidated.
        """
        key, counts = wanted.place.key, self.guard.counts
        for _ in range(_ROUNDS):
            if not await self.guard.usable(key):
                break
            if (entry := wanted.decode(await self.guard.get(key))) is not None:
                counts.hits += 1
                return entry
            load = self._loads.get((key, wanted.owner))
            if load is None:
                return await self._load(wanted)
            in_time = load.open
            await load.done.wait()
            if in_time and (entry := wanted.decode(load.payload)) is not None:
                counts.shared += 1
                return entry
            if load.futile:
                break
        counts.bypassed += 1
        return Entry(await wanted.load())

    async def _load(self, wanted: Wanted[R]) -> Entry[R]:
        place, counts = wanted.place, self.guard.counts
        load = self._loads[place.key, wanted.owner] = _Load()
        try:
            payload, lease = await self.guard.lease(place.key)
            if (entry := wanted.decode(payload)) is not None:
                counts.hits += 1
                return entry
            counts.misses += 1
            if not lease:
                self._end(wanted, load)  # nobody needs to wait for what will not be cached
            entry = Entry(await wanted.load())
            payload = wanted.encode(entry)
            load.futile = payload is None
            if payload is not None and lease:
                load.open = False
                ttl = place.ttl if entry.record is not None else min(NEGATIVE_TTL, place.ttl)
                if await self.guard.fill(place.key, payload, lease=lease, ttl=ttl):
                    load.payload = payload
            return entry
        finally:
            self._end(wanted, load)

    def _end(self, wanted: Wanted[R], load: _Load) -> None:
        slot = (wanted.place.key, wanted.owner)
        if self._loads.get(slot) is load:
            del self._loads[slot]
        load.done.set()
