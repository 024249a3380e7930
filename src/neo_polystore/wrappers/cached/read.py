"""Reading through a cache: hit, or one load at a time that fills under a lease; and the cache
with its options, which all cached ports have in common."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, TypeVar

from neo_polystore.ports.cache import Cache, Look
from neo_polystore.records.base import Record
from neo_polystore.wrappers.cached.codec import codec
from neo_polystore.wrappers.cached.entry import LARGEST, Entry, decode, fault, is_for
from neo_polystore.wrappers.cached.guard import BUDGET, CacheGuard, Later
from neo_polystore.wrappers.cached.load import Loads
from neo_polystore.wrappers.cached.near import NearSize, NearTier
from neo_polystore.wrappers.cached.wanted import Seen, Wanted

R = TypeVar("R", bound=Record)

_ROUNDS = 4
"""How often a reader looks again, when changes keep ending the loads that he waits for."""

_FIRST_NAP, _LONGEST_NAP = 0.002, 0.02
"""Seconds between two looks at what another process is loading."""


class ReadThrough:
    """The readers of one process. Every answer was true at some time after its reader asked."""

    def __init__(self, guard: CacheGuard, loads: Loads):
        self.guard = guard
        self.loads = loads
        self._near = guard.near

    async def glance(self, key: str, owner: str, model: type[R]) -> R | Seen | None:
        """The record, where it is in the cache and nothing else has to be thought of; otherwise
        what was found, if anything, for `get` to begin with."""
        guard, loads = self.guard, self.loads
        if not guard.open_to(key) or (len(loads) and loads.of(key, owner) is not None):
            return None
        epoch = guard.epoch(key)
        near = self._near if self._near is not None and self._near.asks(key) else None
        kept = False
        try:
            found = await guard.look(key)
        finally:
            if near is not None:
                kept = near.answered(key)
        if found.value is None:
            return Seen(found, epoch)
        entry = decode(found.value, model=model, owner=owner, epoch=guard.epoch(key))
        if entry is None or entry.record is None or loads.is_due(entry):
            return Seen(found, epoch)
        if near is not None and kept and codec(model).shareable:
            left = entry.expires - loads.wall()
            near.keep(key, owner, entry.record, size=len(found.value), seconds=left)
        guard.counts.hits += 1
        return entry.record

    async def get(self, wanted: Wanted[R], seen: Seen | None = None) -> Entry[R]:
        """From the cache, from a load that somebody else has begun, or by a load of one's own.

        A load is shared only by those who came before its fill was sent, and only if the fill
        was accepted: the cache has then confirmed that between lease and fill, so at least until
        they came, nothing was invalidated.
        """
        key, counts = wanted.place.key, self.guard.counts
        instead_of = b""
        for _ in range(_ROUNDS):
            load = self.loads.of(key, wanted.owner)
            if load is None:
                if not await self.guard.usable(key):
                    break
                seen = await self._seen(wanted, instead_of, seen)
                found = seen.found
                if found.value is not None:
                    owner = wanted.owned(found.versions)
                    if (entry := self._decode(wanted, found.value, owner)) is not None:
                        counts.hits += 1
                        if self.loads.is_due(entry):
                            self.loads.renew_early(wanted, entry, found.value, owner)
                        return entry
                    seen, instead_of = None, self._useless(wanted, found.value, owner)
                    if instead_of:
                        continue
                    break
                if found.lease:
                    return Entry(await self.loads.load(wanted, seen))
                seen = None
                load = self.loads.of(key, wanted.owner)
                if load is None:
                    break
            in_time = load.open
            await load.ended()
            shared = load.payload if in_time else None
            if shared and (entry := self._decode(wanted, shared, load.owner)) is not None:
                counts.shared += 1
                return entry
            if load.futile:
                break
        counts.bypassed += 1
        return Entry(await wanted.load())

    async def _seen(self, wanted: Wanted[R], instead_of: bytes, seen: Seen | None) -> Seen:
        """What there is. Where another process has just begun to load it, look until there is an
        answer, at most for the budget of one call."""
        guard, key = self.guard, wanted.place.key
        if seen is None:
            seen = await self._look(wanted, instead_of)
        if not seen.found.wait or self.loads.of(key, wanted.owner) is not None:
            return seen
        guard.counts.waited += 1
        nap, until = _FIRST_NAP, time.monotonic() + guard.budget
        while (
            seen.found.wait
            and self.loads.of(key, wanted.owner) is None
            and time.monotonic() < until
        ):
            await asyncio.sleep(nap)
            nap = min(_LONGEST_NAP, nap * 2)
            seen = await self._look(wanted, b"")
        return seen

    async def _look(self, wanted: Wanted[Any], instead_of: bytes) -> Seen:
        epoch = self.guard.epoch(wanted.place.key)
        found: Look = await self.guard.look(
            wanted.place.key, tags=wanted.tags, instead_of=instead_of, settled=wanted.settled
        )
        return Seen(found, epoch)

    def _decode(self, wanted: Wanted[R], payload: bytes, owner: str) -> Entry[R] | None:
        epoch = self.guard.epoch(wanted.place.key)
        return decode(payload, model=wanted.model, owner=owner, epoch=epoch)

    def _useless(self, wanted: Wanted[Any], payload: bytes, owner: str) -> bytes:
        """Count a value that is no entry for this reader; its beginning, if it may be removed."""
        epoch = self.guard.epoch(wanted.place.key)
        why = fault(payload, model=wanted.model, owner=owner, epoch=epoch)
        if why == "foreign" and not is_for(payload, wanted.owner):
            return b""
        if why == "corrupt":
            self.guard.counts.corrupt += 1
        else:
            self.guard.counts.outdated += 1
        return payload[:256]


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
