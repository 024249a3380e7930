"""Loads of what a cache has not, each of which fills it under a lease; early renewals."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from neo_polystore.records.base import Record
from neo_polystore.wrappers.cached.entry import LARGEST, Entry, encode, head
from neo_polystore.wrappers.cached.guard import CacheGuard
from neo_polystore.wrappers.cached.wanted import Seen, Wanted

R = TypeVar("R", bound=Record)

NEGATIVE_TTL = 5.0
"""Seconds for which the absence of a record is remembered."""

_MOST_TASKS = 1000
"""Renewals and fills under way at a time; beyond it what was loaded is not cached."""


class Load:
    """One read of the primary. `open` until its fill is sent; `payload` what the fill stored;
    `futile` where the record cannot be cached, so that waiting for another load is no use."""

    __slots__ = ("_ended", "_waiting", "futile", "open", "owner", "payload")

    def __init__(self, owner: str):
        self.open = True
        self.payload: bytes | None = None
        self.owner = owner
        self.futile = False
        self._ended = False
        self._waiting: list[asyncio.Future[None]] = []

    async def ended(self) -> None:
        """Return when it has ended."""
        if self._ended:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def end(self) -> None:
        """Wake up all who wait."""
        self._ended = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


class Loads:
    """The loads and fills of one process that are under way, one load at a time per slot.

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
        self.wall = wall
        self._guard = guard
        self._largest = largest
        self._eagerness = eagerness
        self._chance = chance
        self._running: dict[tuple[str, str], Load] = {}
        self._renewing: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def of(self, key: str, owner: str) -> Load | None:
        """The load under way, if any."""
        return self._running.get((key, owner))

    async def settled(self) -> None:
        """Return when every load and fill that was begun so far has ended."""
        await asyncio.gather(*self._tasks, *[load.ended() for load in self._running.values()])

    async def load(self, wanted: Wanted[R], seen: Seen) -> R | None:
        """Read the primary, and begin to fill with what it answers."""
        started = time.perf_counter()
        load = self._running[wanted.slot] = Load(wanted.owned(seen.found.versions))
        filling = False
        try:
            self._guard.counts.misses += 1
            record = await wanted.load()
            payload, ttl = self._encoded(wanted, record, load.owner, seen.epoch, started)
            load.futile = payload is None
            if payload is not None:
                load.open = False
                filling = True
                self._fill(wanted, load, payload, seen.found.lease, ttl)
            return record
        finally:
            if not filling:
                self._end(wanted, load)  # nobody should wait for what will not come
                self._spawn(self._guard.give_up(wanted.place.key))

    def renew_early(self, wanted: Wanted[R], entry: Entry[R], payload: bytes, owner: str) -> None:
        """Load a hot entry again before it ends, in the background."""
        if wanted.slot not in self._renewing and len(self._tasks) < _MOST_TASKS:
            self._renewing.add(wanted.slot)
            self._spawn(self._renew(wanted, payload, owner))

    def is_due(self, entry: Entry[R]) -> bool:
        """Whether to renew now: the likelier, the nearer its end and the more its load cost
        ("Optimal Probabilistic Cache Stampede Prevention", Vattani et al., 2015)."""
        ahead = entry.cost * self._eagerness
        left = entry.expires - self.wall()
        return left <= 40 * ahead and left <= -ahead * math.log(self._chance())

    def _fill(self, wanted: Wanted[R], load: Load, payload: bytes, lease: str, ttl: float) -> None:
        def done(filled: bool) -> None:
            if filled:
                load.payload = payload
            self._end(wanted, load)

        self._guard.begin_fill(wanted.place.key, payload, lease=lease, ttl=ttl, done=done)

    def _encoded(
        self, wanted: Wanted[R], record: R | None, owner: str, epoch: str, started: float
    ) -> tuple[bytes | None, float]:
        """What to cache of it, if anything, and for how long."""
        ttl = wanted.place.ttl if record is not None else min(NEGATIVE_TTL, wanted.place.ttl)
        payload = None
        if wanted.cacheable(record):
            payload = encode(
                Entry(record, self.wall() + ttl, time.perf_counter() - started),
                model=wanted.model,
                owner=owner,
                epoch=epoch,
                largest=self._largest,
            )
        if payload is None:
            self._guard.counts.uncacheable += 1
        return payload, ttl

    async def _renew(self, wanted: Wanted[R], payload: bytes, owner: str) -> None:
        started, epoch = time.perf_counter(), self._guard.epoch(wanted.place.key)
        try:
            record = await wanted.load()
            newer, ttl = self._encoded(wanted, record, owner, epoch, started)
            if newer is not None:
                await self._guard.renew(wanted.place.key, newer, seen=head(payload), ttl=ttl)
        except Exception:  # noqa: S110
            pass  # the entry is good until its end, and whoever misses it then gets the error
        finally:
            self._renewing.discard(wanted.slot)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self, wanted: Wanted[R], load: Load) -> None:
        if self._running.get(wanted.slot) is load:
            del self._running[wanted.slot]
        load.end()
