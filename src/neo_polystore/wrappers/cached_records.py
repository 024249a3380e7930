"""Read-through caching over any record port; the primary alone decides what is true.

`get` asks the cache, and on a miss takes a lease, reads the primary and fills. What changes a
record announces that to the cache, goes to the primary, and then invalidates what it touched,
whatever came of it: a call that failed or was cancelled may have committed. Between the two the
record is read from the primary, so a writer who dies leaves nothing stale behind. A write that the
primary only queued is invalidated now; whoever delivers it later invalidates again. Everything
else goes straight to the primary. `docs/decisions/0013` says who may read an old value when.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Generic, Self, TypeVar

from neo_polystore.errors import NotFoundError
from neo_polystore.ports.cache import Cache, Place
from neo_polystore.ports.records import Records
from neo_polystore.records.base import Record
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.wrappers.cached_entry import LARGEST
from neo_polystore.wrappers.cached_guard import BUDGET, CacheCounts, CacheGuard, Later
from neo_polystore.wrappers.cached_read import ReadThrough, Wanted
from neo_polystore.wrappers.cached_touched import Touched

R = TypeVar("R", bound=Record)
P = TypeVar("P", bound=Records[Any])


@dataclass(frozen=True, slots=True)
class Caching:
    """What cached ports have in common: the cache, and how it is used. `budget` is the seconds
    that one call to it may take, `largest` the bytes of the largest entry, `later` the outbox."""

    cache: Cache
    budget: float = BUDGET
    largest: int = LARGEST
    later: Later | None = None

    def reading(self) -> ReadThrough:
        """A reader with counts of its own."""
        guard = CacheGuard(self.cache, budget=self.budget, later=self.later)
        return ReadThrough(guard, largest=self.largest)


class CachedRecords(Generic[R, P]):
    """`Records[R]` over a primary port `P`, which is itself a `Records[R]`.

    A subclass binds both, says what is particular to its data type, and adds the port's own
    verbs: one that changes records wraps its call in `changing`.

    `tenant_owned`: entries are bound to the scope that loaded them and seen by no other; without
    a tenant the cache is not asked. `canonical`: the form of keys as records write them; only for
    such keys is absence remembered, because a write invalidates no other spelling. `written_once`:
    `write` changes no stored record, so it has nothing to announce; what it ends is absence, and
    the queries that did not find it.

    `joined` to a unit of work a port reads within that and changes nothing before its commit.
    """

    tenant_owned: ClassVar[bool] = True
    written_once: ClassVar[bool] = False
    canonical: ClassVar[re.Pattern[str] | None] = None

    def __init__(self, data_type: str, primary: P, caching: Caching):
        self.primary: P = primary
        self._model: type[R] = primary.record
        self._data_type = data_type
        self._cache = caching.cache
        self._reading = caching.reading()
        self._scope = NOBODY
        self._touched: Touched | None = None

    @property
    def record(self) -> type[R]:
        """The record model."""
        return self._model

    @property
    def counts(self) -> CacheCounts:
        """What the cache was good for, over all scopes."""
        return self._reading.guard.counts

    def within(self, scope: Scope) -> Self:
        """The same port, cache and counts, acting for a tenant and service."""
        bound = copy(self)
        bound.primary = self.primary.within(scope)
        bound._scope = scope
        return bound

    def joined(self, port: P, scope: Scope, touched: Touched) -> Self:
        """The port within a unit of work, whose changes are announced right before its commit."""
        bound = self.within(scope)
        bound.primary = port
        bound._touched = touched
        return bound

    async def settled(self) -> None:
        """Return when what was read so far is in the cache."""
        await self._reading.settled()

    async def get(self, key: str) -> R:
        """The record as the primary has it; raises NotFoundError."""
        if self._touched is not None or (self.tenant_owned and self._scope.tenant is None):
            return self._answer(key, await self._from_primary(key))
        wanted = Wanted(
            place=self._place(key),
            owner=self._owner,
            model=self._model,
            load=lambda: self._from_primary(key),
            cacheable=lambda record: self._is_findable(key, record),
        )
        return self._answer(key, (await self._reading.get(wanted)).record)

    async def write(self, records: Sequence[R]) -> Written:
        """Write to the primary, then invalidate."""
        keys = [record.key for record in records]
        async with self.changing(keys, announced=not self.written_once):
            return await self.primary.write(records)

    async def find(self, query: Query) -> Page[R]:
        """From the primary."""
        return await self.primary.find(query)

    async def count(self, query: Query) -> int:
        """From the primary."""
        return await self.primary.count(query)

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """From the primary."""
        return await self.primary.sum(query, field)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """From the primary."""
        return await self.primary.distinct(query, field)

    def changing(
        self, keys: Iterable[str], *, announced: bool = True
    ) -> AbstractAsyncContextManager[None]:
        """Around a call to the primary that may change these records: invalidates at the end."""
        return self.changing_places(self.places(keys), announced=announced)

    @asynccontextmanager
    async def changing_places(
        self, places: list[Place], *, announced: bool = True
    ) -> AsyncIterator[None]:
        """The same for entries and tags."""
        if self._touched is not None:
            self._touched.add(self._reading.guard, places)
            yield
        elif not places:
            yield
        else:
            touched, change = [place.key for place in places], secrets.token_hex(8)
            guard = self._reading.guard
            try:
                if announced:
                    await guard.begin(touched, change=change)
                yield
            finally:
                longest = max(place.ttl for place in places)
                await guard.invalidate(touched, ttl=longest, change=change if announced else "")

    def places(self, keys: Iterable[str]) -> list[Place]:
        """What a change of these records invalidates: their entries, and every query of them."""
        places = [self._place(key) for key in keys]
        if places:
            places.append(self.tag(self._data_type))
        return places

    def tag(self, name: str) -> Place:
        """The tag of this name, within the tenant whose records these are."""
        tenant = self._scope.tenant if self.tenant_owned else None
        return self._cache.in_family("tag", str(tenant or ""), name)

    def _is_findable(self, key: str, record: R | None) -> bool:
        """Whether a write of this record would invalidate it under this spelling of its key."""
        if record is not None:
            return record.key == key
        return self.canonical is not None and self.canonical.fullmatch(key) is not None

    @property
    def _owner(self) -> str:
        """For whom an entry was loaded: row-level security may look at tenant and service."""
        if not self.tenant_owned:
            return "-"
        return f"{self._scope.tenant} {(self._scope.service or '').encode().hex()}"

    def _place(self, key: str) -> Place:
        tenant = self._scope.tenant if self.tenant_owned else None
        return self._cache.place(self._data_type, key, tenant=tenant)

    async def _from_primary(self, key: str) -> R | None:
        try:
            record: R = await self.primary.get(key)
        except NotFoundError:
            return None
        return record

    def _answer(self, key: str, record: R | None) -> R:
        if record is None:
            raise NotFoundError(f"no {self._data_type} record with key {key!r}")
        return record
