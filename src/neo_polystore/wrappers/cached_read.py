"""Reading through a cache: hit, or one load at a time that fills under a lease."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from neo_polystore.ports.cache import Look, Place
from neo_polystore.records.base import Record
from neo_polystore.wrappers.cached_entry import LARGEST, Entry, decode, encode, fault
from neo_polystore.wrappers.cached_guard import CacheGuard

R = TypeVar("R", bound=Record)

NEGATIVE_TTL = 5.0
"""Seconds for which the absence of a record is remembered."""

_ROUNDS = 4
"""How often a reader looks again, when changes keep ending the loads that he waits for."""

_FIRST_NAP, _LONGEST_NAP = 0.002, 0.02
"""Seconds between two looks at what another process is loading."""

_MOST_FILLS = 1000
"""Fills under way at a time; beyond it what was loaded is not cached."""


@dataclass(slots=True)
class _Load:
    """One read of the primary. `open` until its fill is sent; `payload` what the fill stored;
    `futile` where the record cannot be cached, so that waiting for another load is no use."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    open: bool = True
    payload: bytes | None = None
    owner: str = ""
    futile: bool = False


@dataclass(slots=True)
class Wanted(Generic[R]):
    """What a reader asks for. `load` reads the primary (None: no such record); `cacheable` says
    whether an invalidation will find what was loaded; an invalidation of any of the `tags` (keys
    of the cache) ends the entry as well."""

    place: Place
    owner: str
    model: type[R]
    load: Callable[[], Awaitable[R | None]]
    cacheable: Callable[[R | None], bool]
    tags: tuple[str, ...] = ()

    def owned(self, versions: tuple[str, ...]) -> str:
        """For whom an entry is, and under which versions of its tags."""
        return f"{self.owner} {' '.join(versions)}" if versions else self.owner


class ReadThrough:
    """The readers of one process. Every answer was true at some time after its reader asked.

    `largest` is the bytes of the largest entry; `wall` is the Unix time; `chance` answers (0, 1].
    """

    def __init__(
        self,
        guard: CacheGuard,
        *,
        largest: int = LARGEST,
        eagerness: float = 1.0,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = lambda: 1.0 - random.random(),  # noqa: S311
    ):
        self.guard = guard
        self._largest = largest
        self._eagerness = eagerness
        self._wall = wall
        self._chance = chance
        self._loads: dict[tuple[str, str], _Load] = {}
        self._renewing: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, wanted: Wanted[R]) -> Entry[R]:
        """From the cache, from a load that somebody else has begun, or by a load of one's own.

        A load is shared only by those who came before its fill was sent, and only if the fill
        was accepted: the cache has then confirmed that between lease and fill, so at least until
        they came, nothing was invalidated.
        """
        key, counts = wanted.place.key, self.guard.counts
        instead_of = b""
        for _ in range(_ROUNDS):
            load = self._loads.get((key, wanted.owner))
            if load is None:
                if not await self.guard.usable(key):
                    break
                epoch = self.guard.epoch
                found = await self._look(wanted, instead_of)
                if found.value is not None:
                    owner = wanted.owned(found.versions)
                    if (entry := self._decode(wanted, found.value, owner)) is not None:
                        counts.hits += 1
                        self._renew_early(wanted, entry, owner)
                        return entry
                    instead_of = self._useless(wanted, found.value, owner)
                    if instead_of:
                        continue
                    break
                if found.lease:
                    return await self._load(wanted, found, epoch)
                load = self._loads.get((key, wanted.owner))
                if load is None:
                    break
            in_time = load.open
            await load.done.wait()
            shared = load.payload if in_time else None
            if shared and (entry := self._decode(wanted, shared, load.owner)) is not None:
                counts.shared += 1
                return entry
            if load.futile:
                break
        counts.bypassed += 1
        return Entry(await wanted.load())

    async def settled(self) -> None:
        """Return when every fill that was begun so far has ended."""
        await asyncio.gather(*self._tasks)

    async def _look(self, wanted: Wanted[R], instead_of: bytes) -> Look:
        """Look until there is an answer, at most for the budget of one call."""
        guard, key = self.guard, wanted.place.key
        found = await guard.look(key, tags=wanted.tags, instead_of=instead_of)
        if not found.wait or (key, wanted.owner) in self._loads:
            return found
        guard.counts.waited += 1
        nap, until = _FIRST_NAP, time.monotonic() + guard.budget
        while found.wait and (key, wanted.owner) not in self._loads and time.monotonic() < until:
            await asyncio.sleep(nap)
            nap = min(_LONGEST_NAP, nap * 2)
            found = await guard.look(key, tags=wanted.tags)
        return found

    def _decode(self, wanted: Wanted[R], payload: bytes, owner: str) -> Entry[R] | None:
        return decode(payload, model=wanted.model, owner=owner, epoch=self.guard.epoch)

    def _useless(self, wanted: Wanted[R], payload: bytes, owner: str) -> bytes:
        """Count a value that is no entry for this reader; its beginning, if it may be removed."""
        why = fault(payload, model=wanted.model, owner=owner, epoch=self.guard.epoch)
        if why == "foreign" and not payload.split(b" ", 2)[2].startswith(
            f"{wanted.owner} ".encode()
        ):
            return b""
        if why == "corrupt":
            self.guard.counts.corrupt += 1
        else:
            self.guard.counts.outdated += 1
        return payload[:256]

    async def _load(self, wanted: Wanted[R], found: Look, epoch: str) -> Entry[R]:
        place, lease, started = wanted.place, found.lease, time.perf_counter()
        owner = wanted.owned(found.versions)
        load = self._loads[place.key, wanted.owner] = _Load(owner=owner)
        filling = False
        try:
            self.guard.counts.misses += 1
            record = await wanted.load()
            payload, ttl = self._encoded(wanted, record, owner, lease, epoch, started)
            load.futile = payload is None
            if payload is not None and len(self._tasks) < _MOST_FILLS:
                load.open = False
                filling = True
                self._spawn(self._fill(wanted, load, payload, lease, ttl))
            return Entry(record)
        finally:
            if not filling:
                self._end(wanted, load)  # nobody should wait for what will not come
                self._spawn(self.guard.give_up(place.key))

    def _encoded(
        self,
        wanted: Wanted[R],
        record: R | None,
        owner: str,
        lease: str,
        epoch: str,
        started: float,
    ) -> tuple[bytes | None, float]:
        """What to cache of it, if anything, and for how long."""
        ttl = wanted.place.ttl if record is not None else min(NEGATIVE_TTL, wanted.place.ttl)
        payload = None
        if wanted.cacheable(record):
            entry = Entry(record, self._wall() + ttl, time.perf_counter() - started)
            payload = encode(
                entry,
                model=wanted.model,
                owner=owner,
                epoch=epoch,
                lease=lease,
                largest=self._largest,
            )
        if payload is None:
            self.guard.counts.uncacheable += 1
        return payload, ttl

    async def _fill(
        self, wanted: Wanted[R], load: _Load, payload: bytes, lease: str, ttl: float
    ) -> None:
        try:
            if await self.guard.fill(wanted.place.key, payload, lease=lease, ttl=ttl):
                load.payload = payload
        finally:
            self._end(wanted, load)

    def _renew_early(self, wanted: Wanted[R], entry: Entry[R], owner: str) -> None:
        """Load a hot entry again before it ends: the likelier, the nearer its end and the more
        its load cost ("Optimal Probabilistic Cache Stampede Prevention", Vattani et al., 2015).
        """
        ahead = entry.cost * self._eagerness
        left = entry.expires - self._wall()
        if left > 40 * ahead or left > -ahead * math.log(self._chance()):
            return
        slot = (wanted.place.key, wanted.owner)
        if slot not in self._renewing and len(self._tasks) < _MOST_FILLS:
            self._renewing.add(slot)
            self._spawn(self._renew(wanted, entry, owner))

    async def _renew(self, wanted: Wanted[R], entry: Entry[R], owner: str) -> None:
        started, epoch = time.perf_counter(), self.guard.epoch
        try:
            record = await wanted.load()
            lease = f"{random.getrandbits(64):x}"
            payload, ttl = self._encoded(wanted, record, owner, lease, epoch, started)
            if payload is not None:
                await self.guard.renew(wanted.place.key, payload, seen=entry.head, ttl=ttl)
        except Exception:  # noqa: S110
            pass  # the entry is good until its end, and whoever misses it then gets the error
        finally:
            self._renewing.discard((wanted.place.key, wanted.owner))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self, wanted: Wanted[R], load: _Load) -> None:
        slot = (wanted.place.key, wanted.owner)
        if self._loads.get(slot) is load:
            del self._loads[slot]
        load.done.set()
